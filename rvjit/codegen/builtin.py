"""Native functions as built-in functions of Python: a call takes a fifth of the time of ctypes'.

`caller` is native code with the signature that the interpreter calls, written around a function
``i64 f(ptr)``; `Builtin` makes a Python function of it, for an argument that stays the same. All
that is used of Python is in its stable interface, and where an object of bytes has its bytes. The
interpreter lock is held during a call.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable

from rvjit.codegen.arena import address_of

_BYTES_AT = bytes.__basicsize__ - 1  # there is a zero byte after them
_BOUND = struct.Struct("@PP")  # the argument, and the function that makes an int of the result
_METH_NOARGS = 4


def caller(name: str) -> str:
    """Return IR of ``NAME_call``: it calls *name* with the word that its first argument holds."""
    return f"""
define ptr @{name}_call(ptr %self, ptr %none) nounwind {{
  %p.argument = getelementptr i8, ptr %self, i64 {_BYTES_AT}
  %argument = load ptr, ptr %p.argument
  %p.make = getelementptr i8, ptr %p.argument, i64 8
  %make = load ptr, ptr %p.make
  %result = call i64 @{name}(ptr %argument)
  %object = call ptr %make(i64 %result)
  ret ptr %object
}}
"""


class _MethodDef(ctypes.Structure):
    """CPython's PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


class Builtin:
    """The function *name* whose `caller` is at *address*; made once for each function."""

    def __init__(self, name: str, address: int) -> None:
        self._definition = _MethodDef(name.encode(), address, _METH_NOARGS, None)
        # Functions that are freed look at it, even while the interpreter ends.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._definition))
        self._new = ctypes.pythonapi.PyCFunction_NewEx
        self._new.restype = ctypes.py_object
        self._new.argtypes = [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p]

    def bound(self, argument: int) -> Callable[[], int]:
        """Return a function of nothing that calls it with *argument*, an address."""
        words = _BOUND.pack(argument, address_of(ctypes.pythonapi.PyLong_FromUnsignedLongLong))
        made: Callable[[], int] = self._new(ctypes.addressof(self._definition), words, None)
        return made
