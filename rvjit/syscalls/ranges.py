"""A set of addresses kept as sorted, disjoint ranges that do not touch each other."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class Ranges:
    """Half-open ranges. Each change costs one binary search and one move of two flat lists."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in ranges:
            self.add(start, end)

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self._starts, self._ends, strict=True))

    def add(self, start: int, end: int) -> None:
        """Add ``[start, end)``; the number of ranges grows by at most one."""
        if start >= end:
            return
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        if first < last:
            start = min(start, self._starts[first])
            end = max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    def remove(self, start: int, end: int) -> None:
        """Take ``[start, end)`` out; the number of ranges grows by at most one."""
        if start >= end:
            return
        first = bisect_right(self._ends, start)
        last = bisect_left(self._starts, end)
        if first >= last:
            return
        left, right = self._starts[first], self._ends[last - 1]
        kept = [(left, start)] * (left < start) + [(end, right)] * (end < right)
        self._starts[first:last] = [each[0] for each in kept]
        self._ends[first:last] = [each[1] for each in kept]

    def within(self, start: int, end: int) -> list[tuple[int, int]]:
        """Return the parts of ``[start, end)`` that are in the set, ascending."""
        first = bisect_right(self._ends, start)
        last = bisect_left(self._starts, end)
        return [
            (max(self._starts[index], start), min(self._ends[index], end))
            for index in range(first, last)
        ]

    def meets(self, start: int, end: int) -> bool:
        """Whether any of ``[start, end)`` is in the set."""
        first = bisect_right(self._ends, start)
        return start < end and first < len(self._starts) and self._starts[first] < end

    def covers(self, start: int, end: int) -> bool:
        """Whether all of ``[start, end)`` is in the set."""
        index = bisect_right(self._starts, start) - 1
        return start >= end or (index >= 0 and self._ends[index] >= end)

    def highest_gap(self, size: int, low: int, high: int) -> int | None:
        """Return the highest start in ``[low, high - size]`` of *size* free addresses, or None."""
        starts, ends = self._starts, self._ends
        index = bisect_left(starts, high) - 1
        top = high
        while top - size >= low:
            bottom = max(ends[index], low) if index >= 0 else low
            if top - size >= bottom:
                return top - size
            if index < 0:
                return None
            top = min(top, starts[index])
            index -= 1
        return None
