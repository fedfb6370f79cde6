"""The reference engine: plain Python generated from the definitions, no LLVM."""
