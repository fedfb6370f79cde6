"""Choose the sequences of instructions that get handlers; print `rvjit.codegen.threaded_sequences`.

    python -m benchmarks.threaded_sequences [COUNT]

Every guest weighs the same: the examples, and the benchmark guests with and without Zba, Zbb, Zbs.
The sequence that saves most dispatches, with those chosen before it, comes next. Its beginnings
have handlers, too, since the decoder makes handlers longer by one instruction at a time.
"""

from __future__ import annotations

import itertools
import sys
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import rvjit
from benchmarks.guests import build
from benchmarks.programs import BY_NAME, HELLO, PROGRAMS, size_for
from rvjit.codegen.threaded import make_plan, named_forms
from rvjit.codegen.threaded_abi import LONGEST_SEQUENCE
from rvjit.codegen.threaded_decoder import Kind
from rvjit.codegen.threaded_handlers import form_of
from rvjit.codegen.threaded_sequences import Sequence, Step
from rvjit.examples import EXAMPLES
from rvjit.isa import Insn
from rvjit.isa.registers import RA
from rvjit.machine.fetch import fetch
from rvjit.machine.stop import Stop

WARM_UP, COUNTED = 1_000_000, 60_000  # instructions
DEFAULT_COUNT = 360
TRIED = 8  # candidates that are compared at each step
UNSURE = 0.4  # what a candidate is thought to save where it only takes from the next handler
LESS = 0.9  # what a sequence is worth that forwards less than it could


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


def straight_runs() -> Counter[Sequence]:
    """What ran between two jumps, weighted by how often, in parts of a guest's instructions."""
    rules = rvjit.Profile("linux").rules
    choices = make_plan(rules).choices
    names = named_forms(rules.isa)
    found: Counter[Sequence] = Counter()
    for path in guests():
        runs: Counter[Sequence] = Counter()
        run: list[Step] = []
        rd = 0
        for insn in trace(path):
            effects = insn.spec.effects
            form = form_of(insn.spelling or insn.spec)
            forwards = (rd == insn.rs1) | (rd == insn.rs2) << 1 if run and rd else 0
            run.append(Step(names[form], added(insn, choices[form].kind), forwards))
            rd = insn.rd
            if effects.ends_block or effects.system is not None:
                if effects.system is not None:  # has a handler of its own always
                    runs[tuple(run[:-1])] += 1
                    run = []
                runs[tuple(run)] += 1
                run = []
        total = sum(len(run) * count for run, count in runs.items())
        for each, count in runs.items():
            found[each] += count / total
    return found


@dataclass(eq=False)
class Handler:
    """A handler of *steps*, and those that are longer by one."""

    steps: Sequence
    longer: dict[Step, Handler] = field(default_factory=dict)


class Chooser:
    """Sequences are chosen one after the other for *runs*."""

    def __init__(self, runs: Counter[Sequence]) -> None:
        self._runs = list(runs.items())
        self._singles: dict[Step, Handler] = {}
        self._having: dict[str, set[int]] = defaultdict(set)  # runs by what is in them
        for index, (run, _) in enumerate(self._runs):
            for step in run:
                self._having[step.name].add(index)
                alone = replace(step, forwards=0)
                self._singles.setdefault(alone, Handler((alone,)))
        self._dispatches = [len(self._parse(run)) for run, _ in self._runs]

    def choose(self) -> Sequence | None:
        """Choose another; None where none saves anything."""
        candidates: Counter[tuple[Handler, Step]] = Counter()
        for run, weight in self._runs:
            parsed = self._parse(run)
            for (_, handler, end), (_, _, stop) in itertools.pairwise(parsed):
                if len(handler.steps) < LONGEST_SEQUENCE:
                    saved = 1 if stop == end + 1 else UNSURE
                    candidates[handler, run[end]] += weight * saved
        best, most, tried = None, 0.0, 0
        for (handler, step), guess in candidates.most_common():
            if tried >= TRIED or guess <= most:
                break
            for wanted in dict.fromkeys((step, replace(step, forwards=0))):
                if wanted not in handler.longer:
                    saved = self._saved(handler, wanted) * (1 if wanted == step else LESS)
                    tried += saved > 0
                    if saved > most:
                        best, most = (handler, wanted), saved
        if best is None:
            return None
        self._add(*best)
        for index in self._affected(*best):
            self._dispatches[index] = len(self._parse(self._runs[index][0]))
        return (*best[0].steps, best[1])

    def _affected(self, handler: Handler, step: Step) -> set[int]:
        return set.intersection(*(self._having[each.name] for each in (*handler.steps, step)))

    def _saved(self, handler: Handler, step: Step) -> float:
        """Dispatches that are fewer with one more handler."""
        self._add(handler, step)
        saved = 0.0
        for index in self._affected(handler, step):
            run, weight = self._runs[index]
            saved += weight * (self._dispatches[index] - len(self._parse(run)))
        del handler.longer[step]
        return saved

    def _add(self, handler: Handler, step: Step) -> None:
        handler.longer[step] = Handler((*handler.steps, step))

    def _parse(self, run: Sequence) -> list[tuple[int, Handler, int]]:
        """Return what is dispatched: start, handler, end."""
        parsed = []
        at = 0
        while at < len(run):
            handler, end = self._singles[replace(run[at], forwards=0)], at + 1
            while end < len(run):
                step = run[end]
                longer = handler.longer.get(step) or handler.longer.get(replace(step, forwards=0))
                if longer is None:
                    break
                handler, end = longer, end + 1
            parsed.append((at, handler, end))
            at = end
        return parsed

    @property
    def dispatches(self) -> float:
        """Dispatches for each instruction, the mean of the guests."""
        weighted = zip(self._runs, self._dispatches, strict=True)
        count = sum(weight * len(run) for run, weight in self._runs)
        return sum(weight * each for (_, weight), each in weighted) / count


def main() -> None:
    """Print the table; say on the standard error stream what it does."""
    chooser = Chooser(straight_runs())
    lines: dict[str, list[str]] = {}
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_COUNT):
        sequence = chooser.choose()
        if sequence is None:
            break
        *before, last = map(str, sequence)
        lines.setdefault(" ".join(before), []).append(last)
    sys.stderr.write(f"{chooser.dispatches:.3f} dispatches for each instruction\n")
    for first in sorted(lines, key=lambda line: (line.count(" "), line)):
        text = f"{first}: {' '.join(sorted(lines[first]))}"
        print(
            textwrap.fill(
                text, 96, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
            )
        )


if __name__ == "__main__":
    main()
