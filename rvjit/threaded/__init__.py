"""The threaded engine: a native interpreter generated from the definitions."""
