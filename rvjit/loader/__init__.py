"""From file to machine: ELF files to immutable programs, and programs into guest memory.

`elf` reads static Linux executables, `ckb` does what CKB-VM does, `install` and `install_ckb` put
either into memory. `kept` knows what was loaded before, and spares the parsing.
"""
