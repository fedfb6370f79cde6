"""Which guest registers an exit has to store, and which ones an entry has to load.

Registers are bits of an int, x0 never among them. A register is *dirty* where some path since the
entry, or since the last call, has written it: the state buffer may then be stale. Hot registers are
always dirty. It is *live* where its value is read, or stored by an exit, before it is written.
"""

from __future__ import annotations

from dataclasses import dataclass

from rvjit.codegen.abi import HOT_MASK
from rvjit.codegen.blocks import Key, Node
from rvjit.isa import Insn
from rvjit.isa.expr import Op


def reads(insn: Insn) -> int:
    """Registers that *insn* names as sources."""
    return (1 << insn.rs1 | 1 << insn.rs2) & ~1


def writes(insn: Insn) -> int:
    """The register that *insn* writes, if any."""
    return 1 << insn.rd & ~1


def may_leave(insn: Insn) -> bool:
    """Whether a check of *insn* can leave the region before it has run."""
    effects = insn.spec.effects
    return effects.load is not None or effects.store is not None or effects.uses(Op.SC_OK)


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
    """The outcome for each node: dirty at its start, live at its start."""

    dirty: dict[Key, int]
    live: dict[Key, int]


def analyse(nodes: dict[Key, Node]) -> Flow:
    """Solve both problems for the nodes of a region."""
    dirty = _dirty(nodes)
    return Flow(dirty, _live(nodes, dirty))


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


def _live(nodes: dict[Key, Node], dirty: dict[Key, int]) -> dict[Key, int]:
    live = dict.fromkeys(nodes, 0)
    before: dict[Key, list[Key]] = {key: [] for key in nodes}
    for key, node in nodes.items():
        for follower in node.jumps:
            before[follower].append(key)
    queue = list(nodes)
    while queue:
        key = queue.pop()
        found = _live_at_start(nodes, key, dirty[key], live)
        if found != live[key]:
            live[key] = found
            queue += before[key]
    return live


def _live_at_start(nodes: dict[Key, Node], key: Key, dirty: int, live: dict[Key, int]) -> int:
    node = nodes[key]
    masks = []
    for insn in node.block.insns:
        masks.append(dirty)
        dirty |= writes(insn)
    resumed = {segment.start for segment in segments(node.block.insns)}
    mask = 0
    if node.leaves:
        mask |= dirty  # what goes out stores what is dirty
    for follower in node.jumps:
        mask |= live[follower]
    for index in reversed(range(len(masks))):
        insn = node.block.insns[index]
        mask = mask & ~writes(insn) | reads(insn)
        if index in resumed:
            mask |= masks[index]
    if node.checkpoint:
        mask |= masks[0]
    return mask
