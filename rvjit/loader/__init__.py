"""From file to machine: ELF files to immutable programs, and programs into guest memory.

`elf` reads static Linux executables, `ckb` does what CKB-VM does, `install` puts either into
memory.
"""

from rvjit.loader.ckb import CkbElf, CkbElfError, LoadAction, init_pages, load_actions, load_ckb
from rvjit.loader.elf import load_linux
from rvjit.loader.install import Image, install_ckb, install_linux
from rvjit.loader.program import Program, Segment, SymbolTable
from rvjit.loader.stack import build_ckb_stack, build_linux_stack
from rvjit.loader.window import LinuxWindow

__all__ = [
    "CkbElf",
    "CkbElfError",
    "Image",
    "LinuxWindow",
    "LoadAction",
    "Program",
    "Segment",
    "SymbolTable",
    "build_ckb_stack",
    "build_linux_stack",
    "init_pages",
    "install_ckb",
    "install_linux",
    "load_actions",
    "load_ckb",
    "load_linux",
]
