"""Blocks that loop on themselves: what can be checked once for many turns.

Addresses that move by the same distance in every turn are known for any number of turns before. So
the number of turns that are certain to stay inside the memory window, to store to pages that are
ready for it only, and to stay under the cycle limit is computed at the entry, and a copy of the
block runs that many without looking again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rvjit.codegen import abi
from rvjit.codegen.affine import ZERO, Affine
from rvjit.codegen.blocks import Node
from rvjit.codegen.groups import BlockPlan, Plan, Range
from rvjit.codegen.text import FunctionText, signed
from rvjit.machine.pages import PAGE_SHIFT, PAGE_SIZE, STORE_FAST
from rvjit.machine.rules import Rules

# Turns after which a quick copy looks at the limit word again: a pause waits for no more.
MAX_TURNS = 1 << 14

# Below so many turns the preparation is not worth its cost.
MIN_TURNS = 4


# Pages whose flags are looked at together, a word of them. Pages are not made ready here: a page
# that no turn stores to must not become dirty.
_PAGES_AHEAD = 8
ALL_FAST = int.from_bytes(bytes([STORE_FAST]) * _PAGES_AHEAD, "little")

# Above so many instructions a turn, not looking at the limit alone is not worth a copy.
_LONGEST_BARE = 32

# A turn that moves a store farther than this is not worth looking ahead for.
_FARTHEST = _PAGES_AHEAD * PAGE_SIZE // MIN_TURNS


@dataclass(frozen=True)
class Proven:
    """Numbers of instructions whose range checks, or looks at page flags, hold for all turns."""

    checks: frozenset[int] = frozenset()
    ready: frozenset[int] = frozenset()


NOTHING_PROVEN = Proven()


class LoopEntry:
    """Writes the preparation of quick copies; *read* gives names of guest registers."""

    def __init__(
        self, text: FunctionText, read: Callable[[int], str], rules: Rules, base: int, size: int
    ) -> None:
        self._text = text
        self._read = read
        self._rules = rules
        self._base = base
        self._size = size

    def pays(self, node: Node, plan: BlockPlan) -> bool:
        """Whether *node* loops on itself, and a quick copy would save enough to be worth making."""
        context, _ = node.key
        if not node.loops or context:  # what was taken in is small, and seldom loops for long
            return False
        return len(node.block.insns) <= _LONGEST_BARE or any(
            _change(access, plan) is not None for access in plan.plans.values()
        )

    def prepare(self, node: Node, plan: BlockPlan, plain: str) -> tuple[Proven, str]:
        """Count the turns; go to the block *plain* where they are too few.

        Returns what holds for all these turns, and the name of the cycle count up to which a
        further turn may start.
        """
        text = self._text
        price = node.block.price(self._rules.prices)
        checks: set[int] = set()
        ready: set[int] = set()
        turns = str(MAX_TURNS)
        for index, access in plan.plans.items():
            change = _change(access, plan)
            if change is None:
                continue
            if access.ready is not None and (change.terms or 0 <= change.const <= _FARTHEST):
                ready.add(index)
                turns = self._least(turns, self._turns(access, access.ready, change, stores=True))
            if access.check is not None:
                checks.add(index)
                if index not in ready or access.check != access.ready:
                    turns = self._least(turns, self._turns(access, access.check, change))
        cycles = text.value("load i64, ptr %cy")
        limit = text.limit()
        room = text.value(f"call i64 @llvm.usub.sat.i64(i64 {limit}, i64 {node.bound})")
        more = text.value(f"add i64 {turns}, -1")
        far = text.value(f"mul i64 {more}, {price}")
        last = text.value(f"add i64 {cycles}, {far}")
        last = self._least(last, room)
        few = text.value(f"icmp ult i64 {turns}, {MIN_TURNS}")
        soon = text.value(f"icmp ugt i64 {cycles}, {last}")
        bad = text.value(f"or i1 {few}, {soon}")
        # A limit smaller than the bound leaves no room at all, not even at count 0.
        short = text.value(f"icmp ult i64 {limit}, {node.bound}")
        bad = text.value(f"or i1 {bad}, {short}")
        go_on = text.new_label()
        text.emit(f"br i1 {bad}, label %{plain}, label %{go_on}, {abi.UNLIKELY}")
        text.start(go_on)
        return Proven(frozenset(checks), frozenset(ready)), last

    def _turns(self, access: Plan, covered: Range, change: Affine, *, stores: bool = False) -> str:
        """How many turns the *covered* range of *access* stays inside the window; 0 for none.

        With *stores*, inside pages that are ready for stores.
        """
        text = self._text
        offset = self._sum(access.address.moved(covered.low - self._base))
        span = covered.high - covered.low
        last = str(self._size - span)
        outside = text.value(f"icmp ugt i64 {offset}, {last}")
        if stores:
            end = self._ready_end(offset, outside)
            inside = text.value(f"add i64 {offset}, {span}")
            crossing = text.value(f"icmp ugt i64 {inside}, {end}")
            outside = text.value(f"or i1 {outside}, {crossing}")
            last = text.value(f"sub i64 {end}, {span}")
        if change == ZERO:
            count = str(MAX_TURNS)
        elif not change.terms:
            room = text.value(f"sub i64 {last}, {offset}") if change.const > 0 else offset
            count = text.value(f"udiv i64 {room}, {abs(change.const)}")
            count = text.value(f"add i64 {count}, 1")
        else:
            # A distance that is known only now; only forward ones are worth the division.
            distance = self._sum(change)
            less = text.value(f"add i64 {distance}, -1")
            most = _FARTHEST if stores else self._size
            unfit = text.value(f"icmp uge i64 {less}, {most}")
            outside = text.value(f"or i1 {outside}, {unfit}")
            safe = text.value(f"select i1 {unfit}, i64 1, i64 {distance}")
            room = text.value(f"sub i64 {last}, {offset}")
            count = text.value(f"udiv i64 {room}, {safe}")
            count = text.value(f"add i64 {count}, 1")
        return text.value(f"select i1 {outside}, i64 0, i64 {count}")

    def _ready_end(self, offset: str, outside: str) -> str:
        """Where the pages from *offset* on end that are ready for stores, a few pages ahead."""
        text = self._text
        known = text.value(f"select i1 {outside}, i64 0, i64 {offset}")
        page = text.value(f"lshr i64 {known}, {PAGE_SHIFT}")
        # Never past the last flag: the word is loaded lower there, and shifted.
        highest = (self._size >> PAGE_SHIFT) - _PAGES_AHEAD
        at = self._least(page, str(highest))
        where = text.value(f"getelementptr inbounds i8, ptr %flags, i64 {at}")
        word = text.value(f"load i64, ptr {where}, align 1")
        surplus = text.value(f"sub i64 {page}, {at}")
        surplus = text.value(f"shl i64 {surplus}, 3")
        word = text.value(f"lshr i64 {word}, {surplus}")
        missing = text.value(f"xor i64 {word}, -1")
        missing = text.value(f"and i64 {missing}, {ALL_FAST}")
        bits = text.value(f"call i64 @llvm.cttz.i64(i64 {missing}, i1 false)")
        count = text.value(f"lshr i64 {bits}, 3")
        end = text.value(f"add i64 {page}, {count}")
        return text.value(f"shl i64 {end}, {PAGE_SHIFT}")

    def _sum(self, value: Affine) -> str:
        """Compute *value* from the registers as they are here, the block's start."""
        text = self._text
        total = ""
        for register, factor in value.terms:
            name = self._read(register)
            if factor != 1:
                name = text.value(f"mul i64 {name}, {signed(factor)}")
            total = text.value(f"add i64 {total}, {name}") if total else name
        return text.sum(total or "0", value.const)

    def _least(self, first: str, second: str) -> str:
        return self._text.value(f"call i64 @llvm.umin.i64(i64 {first}, i64 {second})")


def _change(access: Plan, plan: BlockPlan) -> Affine | None:
    """What a turn adds to the address of *access*, if that is the same in every turn."""
    total = ZERO
    for register, factor in access.address.terms:
        change = plan.changes.get(register)
        if change is None:
            return None
        total = total.plus(change, factor)
    return total
