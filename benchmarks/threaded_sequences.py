"""Count which pairs of instructions run most; print the table of `rvjit.codegen.threaded_pairs`.

    python -m benchmarks.threaded_pairs [COUNT]

Every guest weighs the same: the examples, and the benchmark guests with and without Zba, Zbb, Zbs.
"""

from __future__ import annotations

import itertools
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import rvjit
from benchmarks.guests import build
from benchmarks.programs import BY_NAME, HELLO, PROGRAMS, size_for
from rvjit.codegen.threaded import make_plan, named_forms
from rvjit.codegen.threaded_decoder import Kind
from rvjit.codegen.threaded_handlers import form_of
from rvjit.codegen.threaded_pairs import Pair
from rvjit.examples import EXAMPLES
from rvjit.isa import Insn
from rvjit.isa.registers import RA
from rvjit.machine.fetch import fetch
from rvjit.machine.stop import Stop

WARM_UP, COUNTED = 1_000_000, 60_000  # instructions
DEFAULT_COUNT = 280


def guests() -> Iterator[Path]:
    """The programs that are counted."""
    for example in EXAMPLES:
        if example.name not in (HELLO, *build.FROM_EXAMPLES):
            yield rvjit.example(example.name)
    for program in PROGRAMS:
        for kind in ("rv64", "imac"):
            yield build.HERE / kind / f"{program.name}.elf"


def trace(path: Path) -> Iterator[Insn]:
    """Instructions of a run, from after its start on."""
    size = size_for(BY_NAME[path.stem], 0.1) if path.stem in BY_NAME else 0  # 0: the default
    vm = rvjit.VM.from_elf(path, args=[str(size)], engine="threaded", stdout=lambda _: None)
    vm.run(cycle_limit=WARM_UP)
    machine = vm.machine
    machine.cycle_limit = WARM_UP + 2 * COUNTED
    known: dict[int, Insn] = {}
    for _ in range(COUNTED):
        pc = machine.pc
        if pc not in known:
            known[pc] = fetch(machine.memory, machine.rules.isa, pc)
        yield known[pc]
        if vm.engine.step(1) is not Stop.STEP:
            return


def added(insn: Insn, kind: Kind) -> int:
    """What the operands add to the number of the handler, as the native decoder has it."""
    if kind is Kind.PLAIN:
        return 0
    if insn.rd and kind is not Kind.BRANCH:
        return 2
    return int(insn.rs1 != RA if kind is Kind.INDIRECT else insn.imm <= 0)


def count_pairs() -> Counter[Pair]:
    """How often each pair ran that could be one handler, in parts of a guest's instructions."""
    rules = rvjit.Profile("linux").rules
    choices = make_plan(rules).choices
    names = named_forms(rules.isa)
    found: Counter[Pair] = Counter()
    for path in guests():
        insns = list(trace(path))
        forms = [form_of(insn.spelling or insn.spec) for insn in insns]
        for (first, form), (second, other) in itertools.pairwise(zip(insns, forms, strict=True)):
            if first.spec.effects.ends_block or second.spec.effects.system is not None:
                continue
            forwards = (first.rd == second.rs1) | (first.rd == second.rs2) << 1 if first.rd else 0
            pair = Pair(names[form], names[other], added(second, choices[other].kind), forwards)
            found[pair] += 1 / len(insns)
    return found


def main() -> None:
    """Print the table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_COUNT
    lines: dict[str, list[str]] = {}
    for pair, _ in count_pairs().most_common(count):
        first, second = str(pair).split(" ")
        lines.setdefault(first, []).append(second)
    for first in sorted(lines):
        text = f"{first}: {' '.join(sorted(lines[first]))}"
        print(
            textwrap.fill(
                text, 96, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
            )
        )


if __name__ == "__main__":
    main()
