"""What becomes of a region, as text: guest code, LLVM IR before and after its passes, host code."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rvjit.codegen.blocks import Node, RegionSource, find_region
from rvjit.errors import ConfigError
from rvjit.isa import disassemble
from rvjit.jit.dispatch import executable_end
from rvjit.machine.machine import Machine
from rvjit.machine.pages import PAGE_SIZE

Names = Callable[[int], str]


def dump_region(machine: Machine, pc: int, name: Names = hex) -> str:
    """Return the texts of the region that is entered at *pc*, made from memory as it is now.

    *name* shows an address. Nothing is run, and nothing about *machine* changes. Raises
    `ConfigError` where no region can begin, `EngineUnavailable` where nothing can be compiled.
    """
    source = find_region(machine, pc, frozenset())
    if source is None:
        raise ConfigError(f"no region begins at {name(pc)}: no instruction there can be compiled")
    from rvjit.codegen.emit import RegionEmitter
    from rvjit.codegen.llvm import compiler

    llvm = compiler()
    memory = machine.memory
    slots = executable_end(memory) * PAGE_SIZE // 2
    emitter = RegionEmitter(
        source, machine.rules, memory.base, memory.size, slots, pclmul=llvm.pclmul
    )
    written = emitter.emit()
    optimised, assembly = llvm.explain(written)
    return "\n".join(
        [
            f"; region {name(pc)}: {source.insn_count} instructions, {len(source.nodes)} blocks",
            *_guest_code(source, name),
            "; LLVM IR as it is written",
            written.strip(),
            "; LLVM IR after the passes",
            optimised.strip(),
            "; host code",
            assembly.expandtabs().strip(),
        ]
    )


def _guest_code(source: RegionSource, name: Names) -> Iterator[str]:
    yield "; guest code"
    for node in source.nodes.values():
        yield f"; {node.label}:{''.join(_facts(node, name))}"
        pc = node.block.pc
        for operation in node.block.operations:
            yield f";   {pc:x}: {disassemble(operation, pc)}"
            pc += operation.length


def _facts(node: Node, name: Names) -> Iterator[str]:
    if node.checkpoint:
        yield f" checkpoint, {node.bound} cycles at most to the next;"
    if node.loops:
        yield " loops on itself;"
    if node.calls:
        target = node.block.target
        yield f" calls {'through a register' if target is None else name(target)};"
    following = dict.fromkeys(node.successors)  # cases of a jump table may be equal
    if following:
        yield f" then {', '.join(name(pc) for _, pc in following)}"
