"""How far down the host's stack the running thread may go."""

from __future__ import annotations

import ctypes
import threading

from rvjit.errors import EngineUnavailable

# Left for signal handlers and for what Python does when compiled code comes back.
_RESERVE = 256 << 10
_ATTRIBUTES_SIZE = 128  # more than pthread_attr_t has on any Linux

_known = threading.local()


def lowest_stack_address() -> int:
    """Return the lowest address that guest calls may use on this thread's stack."""
    found: int | None = getattr(_known, "lowest", None)
    if found is None:
        found = _known.lowest = _ask() + _RESERVE
    return found


def _ask() -> int:
    libc = ctypes.CDLL(None)
    libc.pthread_self.restype = ctypes.c_void_p
    attributes = ctypes.create_string_buffer(_ATTRIBUTES_SIZE)
    thread = ctypes.c_void_p(libc.pthread_self())
    if libc.pthread_getattr_np(thread, attributes):
        raise EngineUnavailable("jit: cannot find the bounds of the host's stack")
    low, size = ctypes.c_void_p(), ctypes.c_size_t()
    libc.pthread_attr_getstack(attributes, ctypes.byref(low), ctypes.byref(size))
    libc.pthread_attr_destroy(attributes)
    return int(low.value or 0)
