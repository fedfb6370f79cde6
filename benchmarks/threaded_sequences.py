"""Choose the sequences of instructions that get handlers; print `rvjit.codegen.threaded_sequences`.

    python -m benchmarks.threaded_sequences [COUNT]

Every program weighs the same: the examples, the benchmark guests, and `guests/library`, which runs
parts of the C library and of the compiler's own, each with and without Zba, Zbb, Zbs. It needs the
pinned compiler and ten minutes.

The sequence that saves most dispatches, with those chosen before it, comes next. Its beginnings
have handlers, too, since the decoder makes handlers longer by one instruction at a time. At first
savings in the program that gains most do not count, since what is common to two programs is likely
to be so in one that is not counted here.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
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
from rvjit.machine.layout import NO_LIMIT
from rvjit.machine.stop import Stop

# Instructions: how many are counted at a time, and after how many for the first time. Then it is
# after twice as many each time.
COUNTED, FIRST, TIMES = 5000, 30_000, 12
DEFAULT_COUNT = 400
COMMON = 260  # so many of them are chosen by what they save in all programs but one
TRIED = 8  # candidates that are compared at each step
UNSURE = 0.4  # what a candidate is thought to save where it only takes from the next handler
LESS = 0.9  # what a sequence is worth that forwards less than it could

LIBRARY = build.HERE / "library"
COMPILE = {
    ".c": "cc -std=c11 -O2 -D_GNU_SOURCE -fno-sanitize=undefined -static -o {}",
    ".zig": "build-exe -O ReleaseFast -fsingle-threaded -static -femit-bin={}",
}

Runs = dict[Sequence, dict[str, float]]  # their part of a program's instructions, by its name


def build_library(folder: Path) -> None:
    """Build the programs of `guests/library` with and without Zba, Zbb, Zbs."""
    compiler = build.load(build.EXAMPLES / "build.py", "rvjit_examples_build")
    problem = compiler.why_ziglang_is_unusable()
    if problem is not None:
        raise SystemExit(problem)
    for kind, extensions in (("rv64", "+zba+zbb+zbs"), ("imac", "")):
        (folder / kind).mkdir()
        for source in sorted(LIBRARY.iterdir()):
            options = COMPILE[source.suffix].format(folder / kind / f"{source.stem}.elf")
            subprocess.run(
                [
                    *(sys.executable, "-m", "ziglang", *options.split(), str(source)),
                    *("-target", "riscv64-linux-musl", f"-mcpu=baseline_rv64-f-d{extensions}"),
                ],
                check=True,
            )


def programs(library: Path) -> Iterator[Path]:
    """The programs that are counted, those of one name being the same one."""
    for example in EXAMPLES:
        if example.name not in (HELLO, *build.FROM_EXAMPLES):
            yield rvjit.example(example.name)
    for kind in ("rv64", "imac"):
        for program in PROGRAMS:
            yield build.HERE / kind / f"{program.name}.elf"
        yield from sorted((library / kind).iterdir())


def traces(path: Path) -> Iterator[Iterator[tuple[Insn, bool]]]:
    """Instructions of a run, at several times, each with whether it went elsewhere."""
    size = size_for(BY_NAME[path.stem], 0.1) if path.stem in BY_NAME else 0  # 0: the default
    vm = rvjit.VM.from_elf(path, args=[str(size)], engine="threaded", stdout=lambda _: None)
    known: dict[int, Insn] = {}
    for doublings in range(TIMES):
        if vm.run(cycle_limit=FIRST << doublings).exit_code is not None:
            return
        vm.machine.cycle_limit = NO_LIMIT
        yield trace(vm, known)


def trace(vm: rvjit.VM, known: dict[int, Insn]) -> Iterator[tuple[Insn, bool]]:
    """Instructions that run now, each with whether it went elsewhere."""
    machine = vm.machine
    for _ in range(COUNTED):
        pc = machine.pc
        if pc not in known:
            known[pc] = fetch(machine.memory, machine.rules.isa, pc)
        insn = known[pc]
        stop = vm.engine.step(1)
        yield insn, machine.pc != pc + insn.length
        if stop is not Stop.STEP:
            return


def added(insn: Insn, kind: Kind) -> int:
    """What the operands add to the number of the handler, as the native decoder has it."""
    if kind is Kind.PLAIN:
        return 0
    if insn.rd and kind is not Kind.BRANCH:
        return 2
    return int(insn.rs1 != RA if kind is Kind.INDIRECT else insn.imm <= 0)


def straight_runs(paths: list[Path]) -> Runs:
    """What ran between two jumps that were taken."""
    rules = rvjit.Profile("linux").rules
    choices = make_plan(rules).choices
    names = named_forms(rules.isa)
    found: Runs = defaultdict(Counter)
    builds = Counter(path.stem for path in paths)
    for path in paths:
        runs: Counter[Sequence] = Counter()
        for insns in traces(path):
            run: list[Step] = []
            rd = 0
            for insn, elsewhere in insns:
                effects = insn.spec.effects
                form = form_of(insn.spelling or insn.spec)
                forwards = (rd == insn.rs1) | (rd == insn.rs2) << 1 if run and rd else 0
                step = Step(names[form], added(insn, choices[form].kind), int(forwards))
                rd = insn.rd
                if effects.system is not None:  # has a handler of its own always
                    runs[tuple(run)] += 1
                    run = []
                else:
                    run.append(step)
                if effects.jump is not None and elsewhere:
                    runs[tuple(run)] += 1
                    run = []
        total = sum(len(run) * count for run, count in runs.items())
        for each, count in runs.items():
            found[each][path.stem] += count / total / builds[path.stem]
    return found


@dataclass(eq=False)
class Handler:
    """A handler of *steps*, and those that are longer by one."""

    steps: Sequence
    longer: dict[Step, Handler] = field(default_factory=dict)


class Chooser:
    """Sequences are chosen one after the other for *runs*."""

    def __init__(self, runs: Runs) -> None:
        self._runs = list(runs.items())
        self._singles: dict[Step, Handler] = {}
        self._having: dict[str, set[int]] = defaultdict(set)  # runs by what is in them
        for index, (run, _) in enumerate(self._runs):
            for step in run:
                self._having[step.name].add(index)
                alone = replace(step, forwards=0)
                self._singles.setdefault(alone, Handler((alone,)))
        self._parsed = [self._parse(run) for run, _ in self._runs]

    def choose(self, *, common: bool) -> Sequence | None:
        """Choose another; None where none saves anything.

        With *common*, what it saves in one program does not count.
        """
        best, most, tried = None, 0.0, 0
        for guess, handler, step in self._candidates(common=common):
            if tried >= TRIED or guess <= most:
                break
            if step not in handler.longer:
                saved = worth(self._saved(handler, step), step, common=common)
                tried += saved > 0
                if saved > most:
                    best, most = (handler, step), saved
        if best is None:
            return None
        self._add(*best)
        for index in self._affected(*best):
            self._parsed[index] = self._parse(self._runs[index][0])
        return (*best[0].steps, best[1])

    def _candidates(self, *, common: bool) -> list[tuple[float, Handler, Step]]:
        """What could be made longer, and what that might save, most first."""
        found: dict[tuple[Handler, Step], dict[str, float]] = defaultdict(Counter)
        for (run, weights), parsed in zip(self._runs, self._parsed, strict=True):
            for (_, handler, end), (_, _, stop) in itertools.pairwise(parsed):
                if len(handler.steps) < LONGEST_SEQUENCE:
                    saved = 1 if stop == end + 1 else UNSURE
                    for step in dict.fromkeys((run[end], replace(run[end], forwards=0))):
                        for name, weight in weights.items():
                            found[handler, step][name] += weight * saved
        guesses = [
            (worth(saved, step, common=common), handler, step)
            for (handler, step), saved in found.items()
        ]
        return sorted(guesses, key=lambda each: -each[0])

    def _affected(self, handler: Handler, step: Step) -> set[int]:
        return set.intersection(*(self._having[each.name] for each in (*handler.steps, step)))

    def _saved(self, handler: Handler, step: Step) -> dict[str, float]:
        """Dispatches of each program that are fewer with one more handler."""
        self._add(handler, step)
        saved: dict[str, float] = Counter()
        for index in self._affected(handler, step):
            run, weights = self._runs[index]
            fewer = len(self._parsed[index]) - len(self._parse(run))
            if fewer:
                for name, weight in weights.items():
                    saved[name] += weight * fewer
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

    def dispatches(self) -> dict[str, float]:
        """Dispatches for each instruction of each program."""
        found: dict[str, float] = Counter()
        for (_, weights), parsed in zip(self._runs, self._parsed, strict=True):
            for name, weight in weights.items():
                found[name] += weight * len(parsed)
        return found


def worth(saved: Mapping[str, float], step: Step, *, common: bool) -> float:
    """What it is worth that a sequence with *step* at its end saves so much in each program."""
    most = max(saved.values(), default=0.0) if common else 0.0
    return (sum(saved.values()) - most) * (1 if step.forwards else LESS)


def choose_all(runs: Runs, count: int) -> tuple[list[Sequence], Chooser]:
    """Choose up to *count* sequences."""
    chooser = Chooser(runs)
    chosen = []
    for common in (True, False):
        while len(chosen) < (min(COMMON, count) if common else count):
            sequence = chooser.choose(common=common)
            if sequence is None:
                break
            chosen.append(sequence)
    return chosen, chooser


def main() -> None:
    """Print the table; say on the standard error stream what it does."""
    with tempfile.TemporaryDirectory() as folder:
        build_library(Path(folder))
        runs = straight_runs(list(programs(Path(folder))))
    chosen, chooser = choose_all(runs, int(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_COUNT)
    lines: dict[str, list[str]] = {}
    for sequence in chosen:
        *before, last = map(str, sequence)
        lines.setdefault(" ".join(before), []).append(last)
    for name, dispatches in sorted(chooser.dispatches().items()):
        sys.stderr.write(f"{dispatches:.3f} dispatches for each instruction of {name}\n")
    for first in sorted(lines, key=lambda line: (line.count(" "), line)):
        text = f"{first}: {' '.join(sorted(lines[first]))}"
        print(
            textwrap.fill(
                text, 96, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
            )
        )


if __name__ == "__main__":
    main()
