"""State: the one description of the memory that compiled code and Python share.

Offsets in compiled code, snapshots and debuggers derive from `State`; nobody else writes an offset
down. `LAYOUT_VERSION` changes with every change here, and is part of every key and snapshot.
"""

from __future__ import annotations

import ctypes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

LAYOUT_VERSION = 2

NO_LIMIT = (1 << 63) - 1  # cycles; also the largest limit that a caller may set
NO_RESERVATION = (1 << 64) - 1  # initial value of the LR/SC reservation (CKB-VM's)
NOT_A_PC = (1 << 64) - 1  # what a region returns for every exit that is not a jump


class State(ctypes.Structure):
    """One hart's registers and the control words around them; all fields are 64-bit words.

    ============= =====================================================================
    written by    fields
    ============= =====================================================================
    engines       x, pc, cycles, reservation*, exit_*, dirty_count
    any thread    limit_word (only zeroed by threads other than the running one)
    running thread the rest
    ============= =====================================================================
    """

    _fields_: ClassVar = [
        ("x", ctypes.c_uint64 * 32),  # x[0] stays 0
        ("pc", ctypes.c_uint64),
        ("cycles", ctypes.c_uint64),  # charged so far
        ("limit_word", ctypes.c_uint64),  # what running code compares with; 0 = leave now
        ("cycle_limit", ctypes.c_uint64),  # the caller's limit, absolute
        ("reservation", ctypes.c_uint64),  # address, or NO_RESERVATION
        ("reservation_size", ctypes.c_uint64),  # bytes; 0 without a reservation
        # Why compiled code came back (an `Exit` number).
        ("exit_reason", ctypes.c_uint64),
        # Addresses of the buffers below; fixed for the life of the machine.
        ("memory", ctypes.c_uint64),
        ("page_flags", ctypes.c_uint64),
        ("dirty_list", ctypes.c_uint64),  # u32 page indices, in order of first write
        ("dirty_count", ctypes.c_uint64),
        # Entry points of compiled code: slot (pc - dispatch_base) / 2, of dispatch_slots.
        ("dispatch", ctypes.c_uint64),
        ("dispatch_base", ctypes.c_uint64),
        ("dispatch_slots", ctypes.c_uint64),
        ("store_slow", ctypes.c_uint64),  # address of the native slow path of stores
        # The host's stack: lowest address that the running thread may use, and, set by `enter`,
        # the lowest at which a region may still call another.
        ("host_stack_low", ctypes.c_uint64),
        ("host_stack_limit", ctypes.c_uint64),
    ]


WORDS = ctypes.sizeof(State) // 8


def offset_of(field: str) -> int:
    """Byte offset of *field* in `State`."""
    return int(getattr(State, field).offset)


def word_of(field: str) -> int:
    """Index of *field* in `State` seen as an array of 64-bit words."""
    return offset_of(field) // 8
