"""From effects to machine code: the only package that imports llvmlite."""
