"""All extensions with their definitions."""

from __future__ import annotations

from rvjit.isa.ext.a import A
from rvjit.isa.ext.c import C
from rvjit.isa.ext.fence_any import FENCE_ANY
from rvjit.isa.ext.link_first import LINK_FIRST
from rvjit.isa.ext.m import M
from rvjit.isa.ext.rv64i import I
from rvjit.isa.ext.zb import ZBA, ZBB, ZBC, ZBS
from rvjit.isa.ext.zicond import ZICOND
from rvjit.isa.spec import Extension

# In the order of `rvjit.isa.isa.NAMES`; the others are chosen by flags, not by name.
EXTENSIONS: tuple[Extension, ...] = (
    I, M, A, C, ZBA, ZBB, ZBC, ZBS, ZICOND, FENCE_ANY, LINK_FIRST,
)  # fmt: skip
