"""Memory accesses of a block that can share one check.

Accesses whose addresses differ from one another by constants (have one root) need one range check,
at the first of them. Stores among them that nothing can come between need one look at the page
flags.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from rvjit.codegen.affine import ZERO, Affine, Terms, changes, displacement, registers_at
from rvjit.codegen.block import Block
from rvjit.machine.rules import Rules

# Bytes that one check may cover; well under a page, so a range touches two pages at most.
MAX_SPAN = 1024


@dataclass
class Range:
    """Bytes ``[low, high)`` relative to the address of the access where they are checked."""

    low: int
    high: int


@dataclass
class Plan:
    """What to do at one access.

    *check* is the range to compare with the window here, None where an earlier access did; *ready*
    is the range of stores to make ready here, None where an earlier store did or there is none. The
    access is at *address*, as far as registers at the block's start say.
    """

    check: Range | None = None
    ready: Range | None = None
    address: Affine = ZERO


class BlockPlan:
    """The plans of a block's plain accesses by instruction number, and its `changes`."""

    def __init__(self, block: Block, plans: dict[int, Plan]) -> None:
        self._block = block
        self.plans = plans

    @cached_property
    def changes(self) -> dict[int, Affine]:
        """What a turn adds to each register; asked for where a block is a loop."""
        return changes(self._block)


@dataclass
class _Group:
    """Accesses off one root so far: the first's index and offset, and the range of all."""

    first: int
    offset: int
    low: int
    high: int


def plan_block(block: Block, rules: Rules) -> BlockPlan:
    """Plan the plain loads and stores of *block*, by instruction number; atomics are left out.

    With strict loads every load has a check of its own, which can leave.
    """
    plans: dict[int, Plan] = {}
    groups: dict[Terms, _Group] = {}
    if not any(insn.spec.effects.load or insn.spec.effects.store for insn in block.insns):
        return BlockPlan(block, plans)
    registers = registers_at(block)
    run: tuple[Terms, int, int] | None = None  # stores that share a look: root, first, its offset
    for index, insn in enumerate(block.insns):
        effects = insn.spec.effects
        access = effects.load or effects.store
        if effects.atomic is not None:
            run = None
        elif access is not None:
            address = registers[index][insn.rs1].moved(displacement(insn, access))
            root, offset = address.terms, address.const
            plan = plans[index] = Plan(address=address)
            size = access.size + rules.misses_end(effects)
            group = groups.get(root)
            if group is not None and _fits(group, offset, size):
                group.low = min(group.low, offset)
                group.high = max(group.high, offset + size)
                checked = plans[group.first].check
                assert checked is not None
                checked.low = group.low - group.offset
                checked.high = group.high - group.offset
            else:
                # A check of its own can leave here: stores before and behind it do not mix.
                groups[root] = _Group(index, offset, offset, offset + size)
                plan.check = Range(0, size)
                run = None
            if rules.strict_loads and effects.load is not None:
                run = None
            if effects.store is not None:
                run = _join(plans, run, index, root, offset, access.size)
    return BlockPlan(block, plans)


def _join(
    plans: dict[int, Plan],
    run: tuple[Terms, int, int] | None,
    index: int,
    root: Terms,
    offset: int,
    size: int,
) -> tuple[Terms, int, int]:
    """Let the store at *index* share the run's look at the flags, or start a run of its own."""
    if run is not None and run[0] == root:
        ready = plans[run[1]].ready
        assert ready is not None
        low = min(ready.low, offset - run[2])
        high = max(ready.high, offset - run[2] + size)
        if high - low <= MAX_SPAN:
            ready.low, ready.high = low, high
            return run
    plans[index].ready = Range(0, size)
    return root, index, offset


def _fits(group: _Group, offset: int, size: int) -> bool:
    return max(group.high, offset + size) - min(group.low, offset) <= MAX_SPAN
