"""VM: load a program, run it, look at it; the facade that most users import."""
