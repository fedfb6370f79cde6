"""The engine that runs compiled regions."""
