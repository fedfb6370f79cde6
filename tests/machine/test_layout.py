"""The state buffer: nothing but 64-bit words, and nothing moves without a new version."""

from __future__ import annotations

import ctypes

from rvjit.machine.layout import (
    LAYOUT_VERSION,
    NO_LIMIT,
    NO_RESERVATION,
    NOT_A_PC,
    WORDS,
    State,
    offset_of,
    word_of,
)

# Fields and words of version 2. Whoever changes `State` changes the version, and then this.
VERSION_2 = {
    "x": 0, "pc": 32, "cycles": 33, "limit_word": 34, "cycle_limit": 35, "reservation": 36,
    "reservation_size": 37, "exit_reason": 38, "memory": 39, "page_flags": 40, "dirty_list": 41,
    "dirty_count": 42, "dispatch": 43, "dispatch_base": 44, "dispatch_slots": 45,
    "store_slow": 46, "host_stack_low": 47, "host_stack_limit": 48,
}  # fmt: skip


def test_the_layout_is_the_one_of_its_version() -> None:
    assert LAYOUT_VERSION == 2
    assert {field[0]: word_of(field[0]) for field in State._fields_} == VERSION_2
    assert WORDS == 49


def test_all_fields_are_words() -> None:
    end = 0
    for field in State._fields_:
        name, kind = field[0], field[1]
        assert offset_of(name) == end == 8 * word_of(name)
        assert ctypes.sizeof(kind) % 8 == 0
        end += ctypes.sizeof(kind)
    assert end == ctypes.sizeof(State)


def test_marks_are_no_possible_values() -> None:
    assert NO_LIMIT == (1 << 63) - 1
    assert NO_RESERVATION == (1 << 64) - 1
    assert NOT_A_PC & 1  # pc is even, always
