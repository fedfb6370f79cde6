"""What snapshots cost, beside Unicorn's and beside copying the whole of memory.

    python -m benchmarks.snapshots [--quick] [--plot FILE] [--json FILE]

Microseconds, the least of many, called from Python; a machine with other work can only add to them.

- *going back*: the guest writes a word to each of k pages, then is restored: by `VM.restore`, by
  Unicorn's context with memory (`UC_CTL_CONTEXT_MODE`), by a copy of its whole memory and
  registers. Beside it what k writes cost Unicorn more in the run itself, where it makes copies, and
  `VM.restore` where all bytes of the pages have changed.
- *levels*: `push` and `pop`, and one memcpy of as many pages to compare; once where the guest wrote
  a word to each page, and once where all bytes of the pages have changed.
- *rounds*: how often a second a guest of some 100 instructions is restored, given an input and run
  to its exit.
- *clones*: `VM.clone` with k pages written since the last, and `from_elf`, which loads anew.
- *files*: taking and saving a dirty snapshot of k pages that lie apart, without fsync; its size.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib.util
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.host import describe_host
from rvjit import VM
from rvjit.machine.memory import reserve
from rvjit.machine.pages import PAGE_SIZE
from tests.engines.assemble import R, W, X, assemble, elf

SIZES = (4 << 20, 64 << 20, 1 << 30)
COUNTS = (0, 1, 16, 64, 256)
DATA = 0x100000

# `_start` adds 1 to a word in each of a1 pages from a0 on; `small` sums 24 bytes of input.
CODE = assemble("""
    _start: beqz a1, out
            ld t1, 0(a0)
            addi t1, t1, 1
            sd t1, 0(a0)
            lui t0, 1
            add a0, a0, t0
            addi a1, a1, -1
            j _start
    small:  lui a0, 0x100
            li t1, 0
            addi t0, a0, 24
    next:   lbu t2, 0(a0)
            add t1, t1, t2
            addi a0, a0, 1
            bne a0, t0, next
            sd t1, 64(t0)
            mv a0, t1
    out:    li a7, 93
    last:   ecall
""")
CONTENTS, OTHER_CONTENTS = (random.Random(n).randbytes(max(COUNTS) * PAGE_SIZE) for n in (1, 2))
PROGRAM = elf(CODE, R | X, ((DATA, CONTENTS, R | W),))

_memcpy = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)(
    ctypes.cast(ctypes.CDLL(None).memcpy, ctypes.c_void_p).value or 0
)

Rows = dict[str, dict[str, float]]


def least(action: Callable[[], object], before: Callable[[], object], seconds: float) -> float:
    """Return the least microseconds that *action* took in that time, each time after *before*."""
    best = empty = 1e3
    count = 0
    end = time.perf_counter() + seconds
    gc.disable()
    while time.perf_counter() < end or count < 3:
        before()
        started = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - started)
        started = time.perf_counter()
        empty = min(empty, time.perf_counter() - started)
        count += 1
    gc.enable()
    return (best - empty) * 1e6


def nothing() -> None:
    """Do nothing."""


def load(size: int, engine: str = "threaded") -> VM:
    """Load the guest into a memory of *size* bytes."""
    return VM.from_elf(PROGRAM, engine=engine, memory_size=size, name="snapshots")


def write_pages(vm: VM, count: int) -> None:
    """Let the guest write to the first *count* of its pages."""
    vm.registers["a0"], vm.registers["a1"] = DATA, count
    vm.exit_code = None
    vm.pc = CODE["_start"]
    vm.run()


def change_pages(vm: VM, count: int) -> None:
    """Change all bytes of the first *count* of the guest's pages."""
    if count:
        vm.memory[DATA : DATA + count * PAGE_SIZE] = OTHER_CONTENTS[: count * PAGE_SIZE]


class Unicorn:
    """The same guest on Unicorn, with a context that has its memory."""

    def __init__(self, size: int) -> None:
        import unicorn
        from unicorn import riscv_const

        content = unicorn.unicorn_const.UC_CTL_CONTEXT_CPU
        content |= unicorn.unicorn_const.UC_CTL_CONTEXT_MEMORY
        self.machine = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV64)
        mode = unicorn.unicorn_const.UC_CTL_CONTEXT_MODE
        write = unicorn.unicorn_const.UC_CTL_IO_WRITE
        self.machine.ctl(mode, write, ctypes.c_int(content))
        self.machine.mem_map(0, size)
        self.machine.mem_write(CODE.base, CODE.data)
        self.machine.mem_write(DATA, CONTENTS)
        self._numbers = [getattr(riscv_const, f"UC_RISCV_REG_X{n}") for n in range(32)]
        self.end = CODE["last"]
        self.machine.emu_start(CODE["last"] - 4, self.end)
        self.context = self.machine.context_save()

    def write_pages(self, count: int) -> None:
        """Let the guest write to the first *count* of its pages."""
        self.machine.reg_write(self._numbers[10], DATA)
        self.machine.reg_write(self._numbers[11], count)
        self.machine.emu_start(CODE["_start"], self.end)

    def restore(self) -> None:
        """Go back to the context."""
        self.machine.context_restore(self.context)

    def round(self, data: bytes) -> None:
        """Restore, write the input, run the small guest to its exit."""
        self.machine.context_restore(self.context)
        self.machine.mem_write(DATA, data)
        self.machine.emu_start(CODE["small"], self.end)


class WholeCopy:
    """The same by copying all of memory and the registers."""

    def __init__(self, vm: VM) -> None:
        size = vm.memory.size
        self._saved = reserve(size)
        self._to = vm.machine.memory.addresses[0]
        self._from = ctypes.addressof(ctypes.c_char.from_buffer(self._saved))
        self._size = size
        self._state = ctypes.addressof(vm.machine.state)
        self._registers = ctypes.string_at(self._state, 34 * 8)
        _memcpy(self._from, self._to, size)

    def restore(self) -> None:
        """Go back."""
        _memcpy(self._to, self._from, self._size)
        ctypes.memmove(self._state, self._registers, len(self._registers))


def measure_going_back(sizes: Sequence[int], seconds: float) -> Rows:
    """Microseconds by what, size and pages."""
    rows: Rows = {}
    for size in sizes:
        for name, row in _going_back(size, seconds).items():
            rows[f"{name}, {size >> 20} MiB"] = row
    return rows


def _going_back(size: int, seconds: float) -> Rows:
    vm = load(size)
    root = vm.checkpoint()
    rows: Rows = {"restore": {}, "restore, all bytes changed": {}, "whole copy": {}}
    for k in COUNTS:
        rows["restore"][str(k)] = least(vm.restore, lambda k=k: write_pages(vm, k), seconds)
        rows["restore, all bytes changed"][str(k)] = least(
            vm.restore, lambda k=k: change_pages(vm, k), seconds
        )
    write_pages(vm, max(COUNTS))
    vm.restore()
    assert not root.verify()
    root.close()
    del root
    whole = WholeCopy(vm)
    for k in COUNTS:
        rows["whole copy"][str(k)] = least(whole.restore, lambda k=k: write_pages(vm, k), seconds)
    if importlib.util.find_spec("unicorn") is not None:
        other = Unicorn(size)
        rows |= {"Unicorn": {}, "Unicorn while running": {}}
        plain = least(lambda: other.write_pages(0), other.restore, seconds)
        for k in COUNTS:
            rows["Unicorn"][str(k)] = least(
                other.restore, lambda k=k: other.write_pages(k), seconds
            )
            first = least(lambda k=k: other.write_pages(k), other.restore, seconds)
            rows["Unicorn while running"][str(k)] = first - plain
    return rows


def measure_levels(seconds: float) -> Rows:
    """Microseconds of push and pop, and of one memcpy."""
    vm = load(SIZES[1])
    root = vm.checkpoint()
    source = vm.machine.memory.addresses[0] + DATA - vm.memory.base
    other = reserve(len(CONTENTS))
    target = ctypes.addressof(ctypes.c_char.from_buffer(other))

    def written(count: int) -> None:
        root.restore(0)
        vm.registers["a0"], vm.registers["a1"] = DATA, count
        vm.pc = CODE["_start"]
        vm.run(until=CODE["out"])

    def changed(count: int) -> None:
        root.restore(0)
        change_pages(vm, count)

    def pushed(count: int) -> None:
        written(count)
        vm.push()

    rows: Rows = {"push": {}, "push, all bytes changed": {}, "pop": {}, "memcpy": {}}
    for k in COUNTS:
        rows["push"][str(k)] = least(vm.push, lambda k=k: written(k), seconds)
        rows["push, all bytes changed"][str(k)] = least(vm.push, lambda k=k: changed(k), seconds)
        rows["pop"][str(k)] = least(vm.pop, lambda k=k: pushed(k), seconds)
        rows["memcpy"][str(k)] = least(
            lambda k=k: _memcpy(target, source, k * PAGE_SIZE), lambda k=k: written(k), seconds
        )
    return rows


def measure_rounds(seconds: float) -> Rows:
    """Thousands of rounds a second."""
    inputs = [random.Random(n).randbytes(24) for n in range(1000)]
    found: dict[str, float] = {}
    for engine in ("tiered", "jit", "threaded"):
        vm = load(SIZES[0], engine)
        vm.run(until=CODE["out"])
        vm.pc = CODE["small"]
        vm.checkpoint()
        for _ in range(20):  # until nothing is left to compile
            runs = vm.run_each(inputs, at=DATA)
            time.sleep(0.01)
        for number, data in enumerate(inputs[:10]):
            assert runs[number].exit_code == sum(data) & 0xFF
        batch = least(lambda vm=vm: vm.run_each(inputs, at=DATA), nothing, seconds)
        found[f"run_each, {engine}"] = 1e3 * len(inputs) / batch

        def one(vm: VM = vm) -> None:
            vm.restore()
            vm.memory[DATA : DATA + 24] = inputs[0]
            vm.run()

        found[f"restore, write, run, {engine}"] = 1e3 / least(one, nothing, seconds)
    whole = WholeCopy(vm)

    def copied() -> None:
        whole.restore()
        vm.exit_code = None
        vm.memory[DATA : DATA + 24] = inputs[0]
        vm.run()

    found["whole copy of 4 MiB, write, run"] = 1e3 / least(copied, nothing, seconds)
    if importlib.util.find_spec("unicorn") is not None:
        other = Unicorn(SIZES[0])
        found["Unicorn"] = 1e3 / least(lambda: other.round(inputs[0]), nothing, seconds)
    return {"rounds": found}


def measure_clones(sizes: Sequence[int], seconds: float) -> Rows:
    """Microseconds."""
    rows: Rows = {}
    for size in sizes:
        vm = load(size)
        vm.checkpoint()
        at: dict[str, float] = {}
        for k in COUNTS:
            vm.restore()
            write_pages(vm, k)
            at[str(k)] = least(vm.clone, nothing, seconds)
        at["from_elf"] = least(lambda size=size: load(size), nothing, seconds)
        rows[f"{size >> 20} MiB"] = at
    return rows


def measure_files(seconds: float) -> Rows:
    """Microseconds, and bytes."""
    rows: Rows = {"microseconds": {}, "bytes": {}}
    count = max(COUNTS)
    program = elf(CODE, R | X, ((DATA, b"", R | W),))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "snapshot"
        for k in COUNTS:
            vm = VM.from_elf(program, memory_size=SIZES[1], engine="threaded", name="snapshots")
            memory = vm.machine.memory
            memory.protect(DATA, 2 * count * PAGE_SIZE, read=True, write=True, execute=False)
            for number in range(k):
                at = number * PAGE_SIZE
                vm.memory[DATA + 2 * at : DATA + 2 * at + PAGE_SIZE] = CONTENTS[at : at + PAGE_SIZE]
            # Not over a file that is there: renaming over one makes some file systems write it out.
            rows["microseconds"][str(k)] = least(
                lambda vm=vm: vm.save_snapshot(path, "dirty"),
                lambda: path.unlink(missing_ok=True),
                seconds,
            )
            rows["bytes"][str(k)] = path.stat().st_size
    return rows


def plot(results: dict[str, Rows], path: Path) -> None:
    """Draw going back, and rounds."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "rvjit", "svg.fonttype": "none"})
    mpl.rcParams.update({"font.size": 9, "axes.axisbelow": True})
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 4.2), layout="constrained")
    axes, bars = figure.subplots(1, 2)
    colours = {"restore": "#0072b2", "Unicorn": "#d55e00", "whole copy": "#777777"}
    styles = dict(zip((f"{size >> 20} MiB" for size in SIZES), ("-", "--", ":"), strict=True))
    for name, row in results["going back"].items():
        what, _, size = name.rpartition(", ")
        if what in colours:
            xs = [max(int(k), 0.5) for k in row]
            axes.plot(
                xs, list(row.values()), styles[size], color=colours[what], marker=".", label=name
            )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks([max(k, 0.5) for k in COUNTS], [str(k) for k in COUNTS])
    axes.set_xlabel("pages written since")
    axes.set_ylabel("microseconds, from Python")
    axes.set_title("Going back", fontsize=9)
    axes.grid(which="both", linewidth=0.3)
    figure.legend(fontsize=7, ncols=3, loc="outside lower left")
    rounds = results["rounds"]["rounds"]
    names = list(reversed(rounds))
    drawn = bars.barh(names, [rounds[name] for name in names], color="#0072b2")
    bars.bar_label(drawn, fmt="%.0f", padding=2, fontsize=8)
    bars.set_xscale("log")
    bars.margins(x=0.2)
    bars.set_xlabel("thousands a second")
    bars.set_title("Restore, input, run of a tiny guest", fontsize=9)
    figure.savefig(path, metadata={"Date": None})


def show(title: str, rows: Rows) -> None:
    """Print one table."""
    print(f"\n{title}\n")
    columns = list(next(iter(rows.values())))
    print("| | " + " | ".join(columns) + " |")
    print("|---|" + "---:|" * len(columns))
    for name, row in rows.items():
        cells = [
            f"{row[each]:,.2f}" if row[each] < 100 else f"{row[each]:,.0f}" for each in columns
        ]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="shorter, and no guest of 1 GiB")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw an SVG file")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers")
    options = parser.parse_args()
    sizes, seconds = (SIZES[:2], 0.1) if options.quick else (SIZES, 0.4)
    host = describe_host()
    print(f"{host['cpu']}, {host['cores']} cores, load {host['load']}")
    results: dict[str, Any] = {}
    for title, measure in (
        ("going back", lambda: measure_going_back(sizes, seconds)),
        ("levels", lambda: measure_levels(seconds)),
        ("rounds", lambda: measure_rounds(seconds)),
        ("clones", lambda: measure_clones(sizes, seconds)),
        ("files", lambda: measure_files(seconds)),
    ):
        results[title] = measure()
        show(title, results[title])
    if options.json is not None:
        options.json.write_text(json.dumps({"host": host, **results}, indent=1) + "\n")
    if options.plot is not None:
        plot(results, options.plot)


if __name__ == "__main__":
    main()
