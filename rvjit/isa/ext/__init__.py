"""The extensions: one module each, definitions only."""
