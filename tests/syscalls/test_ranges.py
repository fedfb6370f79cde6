"""Ranges against a set of numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rvjit.syscalls.ranges import Ranges

TOP = 40
POINT = st.integers(0, TOP)
STEPS = st.lists(st.tuples(st.booleans(), POINT, POINT), max_size=30)


def build(steps):
    ranges, model = Ranges(), set()
    for add, start, end in steps:
        before = len(ranges)
        if add:
            ranges.add(start, end)
            model |= set(range(start, end))
        else:
            ranges.remove(start, end)
            model -= set(range(start, end))
        assert len(ranges) <= before + 1
    return ranges, model


@given(STEPS, POINT, POINT)
def test_ranges_are_the_set_they_stand_for(steps, start, end):
    ranges, model = build(steps)
    assert {point for low, high in ranges for point in range(low, high)} == model
    flat = [point for pair in ranges for point in pair]
    assert flat == sorted(set(flat))  # sorted, disjoint, and never touching
    wanted = set(range(start, end))
    assert ranges.covers(start, end) == (wanted <= model)
    assert ranges.meets(start, end) == bool(wanted & model)
    parts = ranges.within(start, end)
    assert [p for low, high in parts for p in range(low, high)] == sorted(wanted & model)


@given(STEPS, st.integers(1, 10), POINT, POINT)
def test_the_highest_gap_is_the_highest(steps, size, low, high):
    ranges, model = build(steps)
    fitting = [
        start
        for start in range(low, high - size + 1)
        if not model & set(range(start, start + size))
    ]
    assert ranges.highest_gap(size, low, high) == (max(fitting) if fitting else None)
