"""Which guest registers an exit has to store, and which ones an entry has to load.

Registers are bits of an int, x0 never among them. A register is *dirty* where some path since the
entry, or since the last call, has written it: the state buffer may then be stale. Hot registers are
always dirty.
"""

from __future__ import annotations

from dataclasses import dataclass

from rvjit.codegen.abi import HOT_MASK
from rvjit.codegen.blocks import Key, Node
from rvjit.isa import Insn


def reads(insn: Insn) -> int:
    """Registers that *insn* names as sources."""
    return (1 << insn.rs1 | 1 << insn.rs2) & ~1


def writes(insn: Insn) -> int:
    """The register that *insn* writes, if any."""
    return 1 << insn.rd & ~1


def may_leave(insn: Insn) -> bool:
    """Whether a check of *insn* can leave the region before it has run."""
    effects = insn.spec.effects
    return effects.load is not None or effects.store is not None


def has_effect(insn: Insn) -> bool:
    """Whether *insn* changes more than registers, so that it must not run twice."""
    effects = insn.spec.effects
    return effects.store is not None or effects.atomic is not None


def segments(insns: tuple[Insn, ...]) -> list[range]:
    """Split a block behind each instruction with an effect, by instruction numbers.

    A check that fails goes back to the start of its segment: what ran since then may run again.
    Segments without a check are left out.
    """
    found = []
    start = 0
    for index, insn in enumerate(insns):
        if has_effect(insn) or index == len(insns) - 1:
            segment = range(start, index + 1)
            if any(may_leave(insns[each]) for each in segment):
                found.append(segment)
            start = index + 1
    return found


@dataclass
class Flow:
    """The outcome for each node.

    *dirty* at its start; registers to load from the state buffer at its *start*, at its *end* for
    those that follow, and where the region is entered there (*entry*), as by the return of a call.
    *registers* are all that the region names, and the hot ones.
    """

    registers: int
    dirty: dict[Key, int]
    start: dict[Key, int]
    end: dict[Key, int]
    entry: dict[Key, int]


def analyse(nodes: dict[Key, Node]) -> Flow:
    """Solve all problems for the nodes of a region.

    Loads are delayed to where every way on needs them: a loop that calls functions would otherwise
    load again behind each call what only the code behind the loop reads.
    """
    registers = HOT_MASK
    for node in nodes.values():
        for insn in node.block.insns:
            registers |= reads(insn) | writes(insn)
    dirty = _dirty(nodes)
    expected = _expected(nodes, registers)
    needed = {key: dirty[key] | expected[key] for key in nodes}
    before: dict[Key, list[Key]] = {key: [] for key in nodes}
    for key, node in nodes.items():
        for follower in node.jumps:
            before[follower].append(key)
    entered = {next(iter(nodes))} | {
        node.resumed for node in nodes.values() if node.resumed is not None
    }
    valid = _valid(nodes, needed, before, entered)
    flow = Flow(registers, dirty, dict.fromkeys(nodes, 0), dict.fromkeys(nodes, 0), {})
    for key in nodes:
        missing = [needed[key] & ~valid[each] for each in before[key]]
        if key in entered:
            missing.append(needed[key] & ~HOT_MASK)
        everywhere = needed[key]
        for mask in missing:
            everywhere &= mask
        flow.start[key] = everywhere
        for each in before[key]:
            flow.end[each] |= needed[key] & ~valid[each] & ~everywhere
        if key in entered:
            flow.entry[key] = needed[key] & ~HOT_MASK & ~everywhere
    return flow


def _dirty(nodes: dict[Key, Node]) -> dict[Key, int]:
    dirty = dict.fromkeys(nodes, HOT_MASK)
    written = {key: _written(node) for key, node in nodes.items()}
    queue = list(nodes)
    while queue:
        key = queue.pop()
        node = nodes[key]
        after = dirty[key] | written[key]
        for follower in node.jumps:
            if after & ~dirty[follower]:
                dirty[follower] |= after
                queue.append(follower)
    return dirty


def _written(node: Node) -> int:
    mask = 0
    for insn in node.block.insns:
        mask |= writes(insn)
    return mask


def _expected(nodes: dict[Key, Node], registers: int) -> dict[Key, int]:
    """Registers that every way on from a node's start reads before writing them.

    A way out of the region reads nothing, and so does a call: what it has to store is dirty.
    """
    reading, writing = {}, {}
    for key, node in nodes.items():
        read = written = 0
        for insn in node.block.insns:
            read |= reads(insn) & ~written
            written |= writes(insn)
        reading[key], writing[key] = read, written
    expected = dict.fromkeys(nodes, registers)
    changed = True
    while changed:
        changed = False
        for key, node in reversed(nodes.items()):
            onward = 0 if node.leaves else registers
            for follower in node.jumps:
                onward &= expected[follower]
            found = reading[key] | onward & ~writing[key]
            if found != expected[key]:
                expected[key] = found
                changed = True
    return expected


def _valid(
    nodes: dict[Key, Node],
    needed: dict[Key, int],
    before: dict[Key, list[Key]],
    entered: set[Key],
) -> dict[Key, int]:
    """Registers whose value is at hand at a node's end, if what is needed is at hand at starts."""
    valid = dict.fromkeys(nodes, ~1)
    changed = True
    while changed:
        changed = False
        for key, node in nodes.items():
            arriving = HOT_MASK if key in entered else ~1
            for each in before[key]:
                arriving &= valid[each]
            found = arriving | needed[key] | HOT_MASK | _written(node)
            if found != valid[key]:
                valid[key] = found
                changed = True
    return valid
