"""Choose the sequences of instructions that get handlers; print `rvjit.codegen.threaded_sequences`.

    python -m benchmarks.threaded_sequences [COUNT]

Every program weighs the same: the examples, the benchmark guests, and `guests/library`, which runs
parts of the C library and of the compiler's own, each with and without Zba, Zbb, Zbs. It needs the
pinned compiler and ten minutes.

The sequence that saves most dispatches, with those chosen before it, comes next; it is one that is
there already, and an instruction. At first savings in the program that gains most do not count,
since what is common to two programs is likely to be so in one that is not counted here. More are
chosen than wanted, and those that are least dispatched go again: they only began others.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

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
DEFAULT_COUNT = 550
GROWN = 145  # so many are chosen at first, in percent of what is wanted
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
Numbers = npt.NDArray[np.float64]


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


class Chooser:
    """Sequences are chosen one after the other for *runs*; then those that matter least go.

    Steps are numbers here, and so are handlers: those of one instruction and the beginnings of
    sequences, of which `_kept` have code.
    """

    def __init__(self, runs: Runs) -> None:
        self._programs = sorted({name for weights in runs.values() for name in weights})
        self._steps: list[Step] = []
        self._numbers: dict[Step, int] = {}
        self._alone: list[int] = []  # the same step without forwards, by number
        self._runs = [tuple(map(self._number, run)) for run in runs if run]
        self._weights = np.array(
            [[each.get(name, 0) for name in self._programs] for run, each in runs.items() if run]
        )
        self._parts: list[tuple[int, ...]] = []  # of each handler
        self._longer: list[dict[int, int]] = []  # handlers that are longer by a step
        self._singles = {step: self._handler((step,)) for step in set(self._alone)}
        self._kept = set(self._singles.values())
        self._having: dict[tuple[str, str], set[int]] = defaultdict(set)  # runs by what is in them
        for index, run in enumerate(self._runs):
            for pair in itertools.pairwise(run):
                self._having[self._names(*pair)].add(index)
        self._parsed = [self._parse(run) for run in self._runs]
        # What could be made longer, and what that might save in each program.
        self._candidates: dict[tuple[int, int], int] = {}
        self._guesses = np.zeros((1 << 16, len(self._programs)))
        for index in range(len(self._runs)):
            self._guess(index, 1)

    def grow(self, *, common: bool) -> bool:
        """Choose another sequence; whether any saves something.

        With *common*, what it saves in one program does not count.
        """
        forwards = [bool(self._steps[step].forwards) for _, step in self._candidates]
        guesses = worth(self._guesses[: len(forwards)], np.array(forwards), common=common)
        candidates = list(self._candidates)
        best, most, tried = None, 0.0, 0
        for place in np.argsort(-guesses, kind="stable"):
            if tried >= TRIED or guesses[place] <= most:
                break
            handler, step = candidates[place]
            if step not in self._longer[handler]:
                saved = float(worth(self._saved(handler, step), forwards[place], common=common))
                tried += saved > 0
                if saved > most:
                    best, most = (handler, step), saved
        if best is None:
            return False
        affected = self._affected(*best)
        for index in affected:
            self._guess(index, -1)
        self._add(*best)
        for index in affected:
            self._parsed[index] = self._parse(self._runs[index])
            self._guess(index, 1)
        return True

    def prune(self, count: int) -> None:
        """Keep only *count* sequences: those that are dispatched most."""
        while True:
            sequences = [each for each in self._kept if len(self._parts[each]) > 1]
            dispatched = np.zeros((len(self._parts), len(self._programs)))
            for weights, parsed in zip(self._weights, self._parsed, strict=True):
                for handler, _, _ in parsed:
                    dispatched[handler] += weights
            if len(sequences) <= count:
                return
            value = dispatched.sum(axis=-1) - dispatched.max(axis=-1) / 2
            sequences.sort(key=lambda each: value[each])
            at_once = min(max(len(sequences) // 50, 1), len(sequences) - count)
            self._kept.difference_update(sequences[:at_once])
            self._parsed = [self._parse(run) for run in self._runs]

    def sequences(self) -> list[Sequence]:
        """What was chosen."""
        kept = (self._parts[each] for each in sorted(self._kept))
        return [tuple(self._steps[step] for step in parts) for parts in kept if len(parts) > 1]

    def dispatches(self) -> dict[str, float]:
        """Dispatches for each instruction of each program."""
        counts = [len(parsed) for parsed in self._parsed]
        return dict(zip(self._programs, np.array(counts) @ self._weights, strict=True))

    def _number(self, step: Step) -> int:
        if step not in self._numbers:
            number = self._numbers[step] = len(self._steps)
            self._steps.append(step)
            self._alone.append(number)
            self._alone[number] = self._number(replace(step, forwards=0))
        return self._numbers[step]

    def _names(self, first: int, second: int) -> tuple[str, str]:
        return self._steps[first].name, self._steps[second].name

    def _handler(self, parts: tuple[int, ...]) -> int:
        self._parts.append(parts)
        self._longer.append({})
        return len(self._parts) - 1

    def _add(self, handler: int, step: int) -> int:
        longer = self._longer[handler][step] = self._handler((*self._parts[handler], step))
        self._kept.add(longer)
        return longer

    def _affected(self, handler: int, step: int) -> list[int]:
        return sorted(self._having[self._names(self._parts[handler][-1], step)])

    def _saved(self, handler: int, step: int) -> Numbers:
        """Dispatches of each program that are fewer with one more handler."""
        longer = self._add(handler, step)
        saved = np.zeros(len(self._programs))
        for index in self._affected(handler, step):
            fewer = len(self._parsed[index]) - len(self._parse(self._runs[index]))
            saved += self._weights[index] * fewer
        del self._longer[handler][step], self._longer[longer], self._parts[longer]
        self._kept.remove(longer)
        return saved

    def _guess(self, index: int, sign: int) -> None:
        """Add what handlers that are longer might save in a run, or take it away."""
        run = self._runs[index]
        for (handler, _, end), (_, _, stop) in itertools.pairwise(self._parsed[index]):
            if len(self._parts[handler]) < LONGEST_SEQUENCE:
                saved = sign * self._weights[index] * (1 if stop == end + 1 else UNSURE)
                for step in dict.fromkeys((run[end], self._alone[run[end]])):
                    place = self._candidates.setdefault((handler, step), len(self._candidates))
                    self._guesses[place] += saved

    def _parse(self, run: tuple[int, ...]) -> list[tuple[int, int, int]]:
        """Return what is dispatched: handler, start, end."""
        parsed = []
        at = 0
        while at < len(run):
            handler = best = self._singles[self._alone[run[at]]]
            end = stop = at + 1
            while end < len(run):
                longer = self._longer[handler]
                step = run[end]
                found = longer.get(step, longer.get(self._alone[step]))
                if found is None:
                    break
                handler, end = found, end + 1
                if handler in self._kept:
                    best, stop = handler, end
            parsed.append((best, at, stop))
            at = stop
        return parsed


def worth(saved: Numbers, forwards: Numbers | bool, *, common: bool) -> Numbers:
    """What it is worth that sequences save so much in each program (the last axis).

    *forwards* is whether the last step of each does.
    """
    most = saved.max(axis=-1) if common else 0.0
    value: Numbers = (saved.sum(axis=-1) - most) * np.where(forwards, 1.0, LESS)
    return value


def choose(runs: Runs, count: int) -> Chooser:
    """Choose up to *count* sequences."""
    chooser = Chooser(runs)
    for number in range(count * GROWN // 100):
        if not chooser.grow(common=number < COMMON):
            break
    chooser.prune(count)
    return chooser


def main() -> None:
    """Print the table; say on the standard error stream what it does."""
    with tempfile.TemporaryDirectory() as folder:
        build_library(Path(folder))
        runs = straight_runs(list(programs(Path(folder))))
    chooser = choose(runs, int(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_COUNT)
    lines: dict[str, list[str]] = {}
    for sequence in chooser.sequences():
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
