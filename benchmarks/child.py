"""One run of one guest by one Python engine, as a process of its own.

    python child.py ENGINE GUEST SIZE STATE CACHE REPORT

STATE says what the folder CACHE holds: `warm`, code of an earlier run; `filling`, it is to be
filled; otherwise nothing of this guest. The guest's output goes to stdout. Afterwards REPORT holds
lines of ``name value``: what only the process itself can measure (seconds are CPU seconds of the
process). Imports nothing but the engine and `time`, so that the process costs what an engine's user
pays.
"""

from __future__ import annotations

import sys
import time

WRITE, EXIT = 64, 93
ECALL_CAUSE = 8
WINDOW_BASE, WINDOW_SIZE = 0x10000, 64 << 20
FUEL = (1 << 63) - 1

# What the engine counts, by the name in the report. An engine that lacks one is no error: that
# cell of the tables stays empty.
STATISTICS = {
    "compile_seconds": "compile_seconds",
    "compiled_instructions": "compiled_insns",
    "regions": "regions",
    "kept_regions": "cache_hits",
}
Report = dict[str, float]


def peak_memory() -> int:
    """Return the most memory this process had at once, in bytes.

    Not from getrusage, whose figure starts with what the parent had when it forked.
    """
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def run_rvjit(engine: str, elf: str, size: str) -> Report:
    """Run on one of our engines, which find their cache by themselves."""
    import rvjit

    vm = rvjit.VM.from_elf(elf, args=[size], engine=engine)
    started = time.process_time()
    result = vm.run()
    ended = time.process_time()
    if result.exit_code != 0:
        raise SystemExit(f"{elf}: {vm.fault_report(result)}")
    report: Report = {
        "instructions": result.cycles,  # every price is 1 under `linux`
        "run_seconds": ended - started,
    }
    statistics = vm.engine.statistics
    for name, attribute in STATISTICS.items():
        value = getattr(statistics, attribute, None)
        if value is not None:
            report[name] = value
    if statistics.compiled_cycles is not None:
        report["exact_instructions"] = statistics.cycles - statistics.compiled_cycles
    return report


def run_wasmtime(wasm: str, size: str, state: str, cache: str) -> Report:
    """Run on wasmtime, metered by fuel; CACHE holds the module as compiled."""
    from typing import Any

    import wasmtime

    config = wasmtime.Config()
    config.consume_fuel = True
    engine = wasmtime.Engine(config)
    kept = f"{cache}/module.cwasm"
    started = time.process_time()
    if state == "warm":
        with open(kept, "rb") as file:
            module = wasmtime.Module.deserialize(engine, file.read())
    else:
        with open(wasm, "rb") as file:
            module = wasmtime.Module(engine, file.read())
    compiled = time.process_time()
    if state == "filling":
        with open(kept, "wb") as file:
            file.write(module.serialize())
        return {}
    store = wasmtime.Store(engine)
    store.set_fuel(FUEL)
    linker = wasmtime.Linker(engine)
    exports: Any = None

    def write(address: int, length: int) -> None:
        sys.stdout.buffer.write(exports["memory"].read(store, address, address + length))

    types = wasmtime.FuncType([wasmtime.ValType.i32(), wasmtime.ValType.i32()], [])
    linker.define_func("env", "write", types, write)
    exports = linker.instantiate(store, module).exports(store)
    begun = time.process_time()
    status = exports["run"](store, int(size))
    ended = time.process_time()
    sys.stdout.buffer.flush()
    if status != 0:
        raise SystemExit(f"{wasm}: ended with {status}")
    report: Report = {"run_seconds": ended - begun}
    if state != "warm":
        report["compile_seconds"] = compiled - started
    return report


def run_unicorn(elf: str, size: str) -> Report:
    """Run on Unicorn: segments into one writable window, two system calls by a hook."""
    import struct
    from typing import Any

    import unicorn as untyped
    from unicorn import riscv_const as names

    unicorn: Any = untyped
    with open(elf, "rb") as file:
        image = file.read()
    machine = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV64)
    machine.mem_map(WINDOW_BASE, WINDOW_SIZE)
    entry, headers = struct.unpack_from("<QQ", image, 24)
    (count,) = struct.unpack_from("<H", image, 56)
    for index in range(count):
        kind, _, offset, address, _, file_size, _, _ = struct.unpack_from(
            "<IIQQQQQQ", image, headers + 56 * index
        )
        if kind == 1:
            machine.mem_write(address, image[offset : offset + file_size])
    top = WINDOW_BASE + WINDOW_SIZE
    argument = size.encode() + b"\0"
    machine.mem_write(top - 64, argument)
    stack = struct.pack("<6Q", 2, top - 64, top - 64, 0, 0, 0)  # argc, argv, envp, auxv's end
    machine.mem_write(top - 256, stack)
    machine.reg_write(names.UC_RISCV_REG_SP, top - 256)
    ended: list[int] = []

    def on_exception(uc: Any, cause: int, _: object) -> None:
        number = uc.reg_read(names.UC_RISCV_REG_A7)
        if cause == ECALL_CAUSE and number == WRITE:
            address = uc.reg_read(names.UC_RISCV_REG_A1)
            length = uc.reg_read(names.UC_RISCV_REG_A2)
            sys.stdout.buffer.write(uc.mem_read(address, length))
            uc.reg_write(names.UC_RISCV_REG_A0, length)
            return  # pc is behind the ecall already
        exits = cause == ECALL_CAUSE and number == EXIT
        ended.append(uc.reg_read(names.UC_RISCV_REG_A0) if exits else -1)
        uc.emu_stop()

    machine.hook_add(unicorn.UC_HOOK_INTR, on_exception)
    started = time.process_time()
    machine.emu_start(entry, 0)
    seconds = time.process_time() - started
    sys.stdout.buffer.flush()
    if ended != [0]:
        raise SystemExit(f"{elf}: ended with {ended}")
    return {"run_seconds": seconds}


def main() -> None:
    """Run what the command line says."""
    engine, guest, size, state, cache, report_path = sys.argv[1:]
    if engine == "unicorn":
        report = run_unicorn(guest, size)
    elif engine == "wasmtime":
        report = run_wasmtime(guest, size, state, cache)
    else:
        report = run_rvjit(engine, guest, size)
    report["peak_bytes"] = peak_memory()
    with open(report_path, "w", encoding="ascii") as file:
        file.writelines(f"{name} {value!r}\n" for name, value in report.items())


if __name__ == "__main__":
    main()
