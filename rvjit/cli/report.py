"""What is said about a run: JSON, digests, and text for people."""

from __future__ import annotations

import sys

import rvjit
from rvjit import VM, RunResult, Stop
from rvjit.bits import MASK64
from rvjit.cli import output
from rvjit.cli.guest_output import GuestOutput
from rvjit.values import dataclass
from rvjit.vm.result import fault_as_dict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HASH_CHUNK = 1 << 20


@dataclass(frozen=True)
class Run:
    """One finished run. *seconds* is the wall time of running, without loading."""

    program: str
    vm: VM
    result: RunResult
    seconds: float
    stdout: GuestOutput

    @property
    def counts_instructions(self) -> bool:
        """Whether a cycle is an instruction."""
        return counts_instructions(self.vm)


def counts_instructions(vm: VM) -> bool:
    """Whether every instruction of *vm* costs one cycle, which fused ones do not."""
    rules = vm.machine.rules
    return set(rules.prices.prices.values()) == {1} and not rules.isa.fuses


def speed(vm: VM, cycles: int, seconds: float) -> str:
    """Return a speed for people."""
    unit = "MIPS" if counts_instructions(vm) else "million cycles/s"
    millions = cycles / max(seconds, 1e-9) / 1e6
    return f"{millions:,.1f} {unit}" if millions >= 1 else f"{millions:.2g} {unit}"


def as_dict(run: Run, *, with_digest: bool) -> dict[str, Any]:
    """Return the JSON report; addresses and registers are '0x…' strings."""
    vm, result, profile = run.vm, run.result, run.vm.profile
    per_second = result.cycles / run.seconds if run.seconds > 0 else 0.0
    found: dict[str, Any] = {
        "stop": result.stop.value,
        "exit_code": result.exit_code,
        "cycles": result.cycles,
        "pc": hex(result.pc),
        "registers": [hex(value) for value in vm.registers],
        "fault": fault_as_dict(result.fault),
        "engine": vm.engine.name,
        "seconds": round(run.seconds, 6),
        "mips": round(per_second / 1e6, 3) if run.counts_instructions else None,
        "cycles_per_second": round(per_second),
        "program": run.program,
        "program_sha256": vm.program.digest,
        "profile": profile.name,
        "isa": str(profile.isa),
        "vm_version": profile.vm_version,
        "syscalls": profile.syscalls,
        "memory_size": profile.memory_size,
        "stdout_bytes": run.stdout.size,
        "engine_statistics": statistics(run),
        "version": rvjit.__version__,
    }
    if profile.is_ckb:
        found["ckb_error"] = result.ckb_error
        found["ckb_pc"] = None if result.ckb_pc is None else hex(result.ckb_pc)
    if with_digest:
        found["digest"] = digests(run)
    return found


def digests(run: Run) -> dict[str, str]:
    """Return SHA-256 of registers (little-endian words), all of memory, and stdout, in hex."""
    import hashlib

    registers = b"".join((value & MASK64).to_bytes(8, "little") for value in run.vm.registers)
    memory = hashlib.sha256()
    base, size = run.vm.memory.base, run.vm.memory.size
    for start in range(0, size, _HASH_CHUNK):  # in parts, so that Ctrl-C is seen
        memory.update(run.vm.memory.view(base + start, min(_HASH_CHUNK, size - start)))
    return {
        "registers": hashlib.sha256(registers).hexdigest(),
        "memory": memory.hexdigest(),
        "stdout": run.stdout.hexdigest,
    }


def statistics(run: Run) -> dict[str, Any]:
    """Return what the engine counted.

    ``tiers`` says for each tier its cycles, its share of all of them (None where there are none),
    and its instructions (None where a cycle is no instruction).
    """
    counted = run.vm.engine.statistics
    tiers = {
        tier: {
            "cycles": cycles,
            "share": cycles / counted.cycles if counted.cycles else None,
            "instructions": cycles if run.counts_instructions else None,
        }
        for tier, cycles in counted.tiers.items()
    }
    rest = {
        name: value
        for name, value in vars(counted).items()
        if value is not None and name.removesuffix("_cycles") not in tiers
    }
    return {"tiers": tiers, **rest}


def say_how_it_ended(run: Run, *, cycle_limit: int | None, timeout: float | None) -> None:
    """Print why and where a run ended; nothing where it exited or lost its reader."""
    vm, result = run.vm, run.result
    match result.stop:
        case Stop.EXIT | Stop.PAUSE:  # a pause: the reader of the output has gone, as of `head`
            return
        case Stop.FAULT:
            output.say(vm.fault_report(result))
            if result.ckb_error is not None:
                where = "" if result.ckb_pc is None else f" at pc {result.ckb_pc:#x}"
                output.say(f"CKB-VM reports {result.ckb_error}{where}")
            return
        case Stop.CYCLE_LIMIT:
            what = f"cycle limit {cycle_limit} reached"
        case Stop.TIMEOUT:
            what = f"timeout of {timeout:g} s"
        case _:
            what = "interrupted"
    output.say(f"{what} at pc {vm.backtrace()[0]}, after {result.cycles} cycles")


def say_summary(run: Run) -> None:
    """Print one line: how the run ended, cycles, time, speed."""
    result = run.result
    code = "" if result.exit_code is None else f" {result.exit_code}"
    output.say(
        f"{result.stop.value}{code}: {result.cycles:,} cycles in {run.seconds:.3f} s, "
        f"{speed(run.vm, result.cycles, run.seconds)} ({run.vm.engine.name})"
    )


def say_statistics(run: Run) -> None:
    """Print what the engine counted, and the process's peak memory."""
    counted = statistics(run)
    unit = "instructions" if run.counts_instructions else "cycles"
    rows = [
        (f"  {unit} run {tier}", output.shown_number(each["cycles"]), _percent(each["share"]))
        for tier, each in counted.pop("tiers").items()
    ]
    rows += [
        (f"  {output.as_label(name)}", output.shown_number(value), "")
        for name, value in counted.items()
    ]
    peak = _peak_memory()
    if peak is not None:
        rows.append(("  peak memory", output.human_size(peak), ""))
    output.write(sys.stderr, "\n".join(output.columns(rows, right=frozenset({1, 2}))))


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.3f} %"


def say_digests(found: dict[str, str]) -> None:
    """Print digests."""
    rows = [(f"  {name}", value) for name, value in found.items()]
    output.write(sys.stderr, "\n".join(["rvjit: SHA-256", *output.columns(rows)]))


def _peak_memory() -> int | None:
    """Return the largest resident size so far in bytes; None where the host does not say."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10
