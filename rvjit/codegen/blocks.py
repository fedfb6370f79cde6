"""Basic blocks and regions of guest code: what is translated together.

A region is a guest function as seen from one entry: direct branches and fall-through are followed,
calls return into the region, and small callees are taken in as if they stood there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from rvjit.codegen.block import Block
from rvjit.codegen.tables import JumpTable, find_table
from rvjit.errors import GuestFault
from rvjit.isa import Operation, PriceModel
from rvjit.isa.spec import System
from rvjit.machine.fetch import code_pages, fetch_operation
from rvjit.machine.machine import Machine

# Bounds of one region: large enough for most loops with all that is in them, since going from one
# region to another takes all registers through the state buffer.
MAX_INSNS = 1000
MAX_BLOCKS = 400

# With a jump table: leaving through it costs more than a larger region costs to compile.
MAX_SWITCH_INSNS = 2000
MAX_SWITCH_BLOCKS = 800

MAX_BLOCK_INSNS = 100

# A callee is taken in if it is at most this long, and so are its callees, to this depth.
MAX_INLINE_INSNS = 32
MAX_INLINE_DEPTH = 2

# The link registers of the calling convention; a call through another is taken for a jump.
LINKS = (1, 5)

# Where a block stands: its pc, and the return addresses of the calls it was taken in through.
Key = tuple[tuple[int, ...], int]


@dataclass
class Node:
    """A block in its place, and where control can go from it inside the region.

    Of the edges, None means outside. *taken* is the jump's (a callee taken in, or the return from
    one, counts as a jump), *fallen* the next instruction's, *resumed* where a call returns to.
    """

    key: Key
    block: Block
    taken: Key | None = None
    fallen: Key | None = None
    resumed: Key | None = None
    table: JumpTable | None = None
    cases: tuple[Key | None, ...] = ()  # where the entries of the table lead
    calls: bool = False  # ends with a call that is not taken in
    dispatches: bool = False  # goes on to a jump through a table, as an interpreter's loop does
    checkpoint: bool = False
    bound: int = 0  # at a checkpoint: price of the dearest path to the next one

    @property
    def label(self) -> str:
        """Name of the block in IR."""
        context, pc = self.key
        return "_".join([f"b{pc:x}", *(f"{address:x}" for address in context)])

    @property
    def loops(self) -> bool:
        """Whether the block branches back to its own start, as the body of a loop does."""
        again = self.key in (self.taken, self.fallen) and not self.calls
        return again and not self.dispatches

    @property
    def successors(self) -> list[Key]:
        """Edges inside the region, the return of a call included."""
        return [*self.jumps, self.resumed] if self.resumed is not None else self.jumps

    @property
    def jumps(self) -> list[Key]:
        """Edges inside the region that registers are carried along."""
        return [key for key in (self.taken, self.fallen, *self.cases) if key is not None]

    @property
    def leaves(self) -> bool:
        """Whether one of the edges goes out; a jump that should stay inside is taken to do so."""
        jump = self.block.last.spec.effects.jump
        if self.calls or jump is None:
            return self.fallen is None
        if jump.condition is not None:
            return self.taken is None or self.fallen is None
        return self.taken is None and (not self.cases or None in self.cases)


@dataclass(frozen=True)
class RegionSource:
    """The guest code of one region: its entry pc and its nodes, the entry's first.

    *reads* are all addresses whose bytes, or whose refusal to be fetched, had a part in it.
    """

    pc: int
    nodes: dict[Key, Node]
    pages: frozenset[int]
    pcs: frozenset[int] = field(repr=False)
    reads: tuple[range, ...] = field(repr=False)

    @property
    def insn_count(self) -> int:
        """Guest instructions in all blocks, those taken in twice counted twice."""
        return sum(len(node.block.insns) for node in self.nodes.values())


def find_region(machine: Machine, pc: int, barriers: AbstractSet[int]) -> RegionSource | None:
    """Collect the region that is entered at *pc*.

    Addresses in *barriers* (breakpoints) are never part of a region. None where not even the first
    instruction can be translated: it cannot be fetched, or is left to the exact engine.
    """
    finder = _Finder(machine, barriers)
    nodes = finder.collect(pc)
    if not nodes:
        return None
    _place_checkpoints(nodes, machine.rules.prices)
    memory, isa = machine.memory, machine.rules.isa
    blocks = [node.block for node in nodes.values()]
    pages = {
        page
        for block in blocks
        for page in code_pages(memory, isa, block.pc, block.next_pc - block.pc)
    }
    pcs = frozenset(insn_pc for block in blocks for insn_pc in block.pcs)
    return RegionSource(pc, nodes, frozenset(pages), pcs, finder.reads)


class _Finder:
    """Finds blocks, each pc once."""

    def __init__(self, machine: Machine, barriers: AbstractSet[int]) -> None:
        self._machine = machine
        self._barriers = barriers
        self._blocks: dict[int, Block | None] = {}

    def collect(self, pc: int) -> dict[Key, Node]:
        """Nodes reached from *pc* within the bounds of a region, breadth first."""
        nodes: dict[Key, Node] = {}
        start: Key = ((), pc)
        queue = deque([start])
        count = 0
        most_blocks, most_insns = MAX_BLOCKS, MAX_INSNS
        while queue and len(nodes) < most_blocks and count < most_insns:
            key = queue.popleft()
            if key in nodes:
                continue
            block = self._block(key[1])
            if block is None:
                continue
            node = self._node(key, block)
            if block.target is None and not node.calls and node.taken is None:
                self._find_table(node, nodes)
                if node.table is not None:
                    most_blocks, most_insns = MAX_SWITCH_BLOCKS, MAX_SWITCH_INSNS
            nodes[key] = node
            count += len(block.insns)
            queue.extend(node.successors)
        for node in nodes.values():
            node.taken, node.fallen, node.resumed = (
                key if key in nodes else None for key in (node.taken, node.fallen, node.resumed)
            )
            node.cases = tuple(key if key in nodes else None for key in node.cases)
            node.dispatches = any(nodes[key].table is not None for key in node.jumps)
        return nodes

    @property
    def reads(self) -> tuple[range, ...]:
        """Addresses that were looked at: blocks, and the instructions at which none could go on."""
        found = []
        for pc, block in self._blocks.items():
            end = pc if block is None else block.next_pc
            effects = None if block is None else block.last.spec.effects
            if effects is None or (effects.jump is None and effects.system is not System.ECALL):
                end += self._machine.rules.isa.reach
            found.append(range(pc, end))
        return tuple(found)

    def _find_table(self, node: Node, nodes: dict[Key, Node]) -> None:
        before = [each.block for each in nodes.values() if node.key in each.jumps]
        blocks = [each.block for each in nodes.values()]
        node.table = find_table(self._machine, node.block, before, blocks)
        if node.table is not None:
            node.cases = tuple((node.key[0], target) for target in node.table.targets)

    def _node(self, key: Key, block: Block) -> Node:
        context, _ = key
        node = Node(key, block)
        last = block.last
        effects = last.spec.effects
        following: Key = (context, block.next_pc)
        if effects.jump is None:
            if effects.system is not System.ECALL:
                node.fallen = following
            return node
        target = block.target
        if effects.jump.condition is not None:
            node.taken = None if target is None else (context, target)
            node.fallen = following
        elif last.rd:
            if target is not None and self._is_small(target, context, last.rd):
                node.taken = ((*context, block.next_pc), target)
            else:
                node.calls = True
                node.resumed = following
        elif target is not None:
            node.taken = (context, target)
        elif context and last.rs1 in LINKS and not last.imm:
            node.taken = (context[:-1], context[-1])
        return node

    def _is_small(self, pc: int, context: tuple[int, ...], link: int) -> bool:
        """Whether the function at *pc* is short and comes back through *link*."""
        if len(context) >= MAX_INLINE_DEPTH or link not in LINKS:
            return False
        seen: set[int] = set()
        queue = [pc]
        count = 0
        while queue:
            at = queue.pop()
            if at in seen:
                continue
            seen.add(at)
            block = self._block(at)
            if block is None:
                return False
            count += len(block.insns)
            if count > MAX_INLINE_INSNS:
                return False
            effects = block.last.spec.effects
            if effects.system is System.ECALL:
                return False
            if effects.jump is None:
                queue.append(block.next_pc)
            elif effects.jump.condition is not None:
                assert block.target is not None
                queue += [block.next_pc, block.target]
            elif block.last.rd:
                queue.append(block.next_pc)
            elif block.target is not None:
                queue.append(block.target)
            elif block.last.rs1 != link or block.last.imm:
                return False
        return True

    def _block(self, pc: int) -> Block | None:
        if pc not in self._blocks:
            self._blocks[pc] = None if pc in self._barriers else self._find_block(pc)
        return self._blocks[pc]

    def _find_block(self, start: int) -> Block | None:
        machine = self._machine
        rules = machine.rules
        found: list[Operation] = []
        pc = start
        while len(found) < MAX_BLOCK_INSNS:
            try:
                operation = fetch_operation(machine.memory, rules.isa, pc)
            except GuestFault:
                break
            effects = operation.steps[-1].spec.effects
            if effects.system is System.EBREAK and rules.ebreak_stops:
                break  # the exact engine makes it a fault
            found.append(operation)
            pc += operation.length
            ends = effects.jump is not None or effects.system is System.ECALL
            if ends or pc in self._barriers:
                break
        return Block(start, tuple(found), pc) if found else None


def _place_checkpoints(nodes: dict[Key, Node], prices: PriceModel) -> None:
    """Mark the entry, targets of retreating edges of a depth-first walk, and returns of calls.

    Every cycle of the graph contains such a target, so paths between checkpoints are finite, and
    `Node.bound` is the price of the dearest.
    """
    entry = next(iter(nodes))
    nodes[entry].checkpoint = True
    done: set[Key] = set()
    open_: set[Key] = set()
    order: list[Key] = []  # every node after all it leads to, but for retreating edges
    stack: list[tuple[Key, int]] = [(entry, 0)]
    while stack:
        key, index = stack.pop()
        if index == 0:
            open_.add(key)
        successors = nodes[key].successors
        if index < len(successors):
            stack.append((key, index + 1))
            follower = successors[index]
            if follower in open_:
                nodes[follower].checkpoint = True
            elif follower not in done:
                stack.append((follower, 0))
        else:
            open_.discard(key)
            done.add(key)
            order.append(key)
    for node in nodes.values():
        if node.resumed is not None:
            nodes[node.resumed].checkpoint = True
    dearest: dict[Key, int] = {}
    for key in order:
        node = nodes[key]
        onward = [
            dearest[follower] for follower in node.successors if not nodes[follower].checkpoint
        ]
        dearest[key] = node.bound = node.block.price(prices) + max(onward, default=0)
