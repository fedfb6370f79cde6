"""Statistics: what an engine did for one machine, in numbers that cost guest code nothing."""

from __future__ import annotations

from rvjit.values import dataclass


@dataclass
class Statistics:
    """What one engine did so far; None stands for what the engine does not have.

    The cycles of the tiers are exact, and add up to all that the engine charged: the threaded
    engine and the reference each know what they charged between entry and exit, and compiled code
    charged the rest. What system calls charge of themselves is in none of them. Where every
    instruction costs 1 and none are fused, cycles are instructions.
    """

    compiled_cycles: int | None = None
    threaded_cycles: int | None = None
    interpreted_cycles: int | None = None
    regions: int | None = None  # published, whether compiled or found in a cache
    compiled_insns: int | None = None  # guest instructions in them, before any of them ran
    compile_seconds: float | None = None  # CPU time on whatever thread, but for loading LLVM
    dropped_regions: int | None = None
    exact_runs: int | None = None  # calls of the exact engine out of compiled code
    code_bytes: int | None = None  # host code of the regions that there are now
    cache_hits: int | None = None  # regions that were on disk, or another machine's, already
    cache_misses: int | None = None  # regions that had to be compiled
    comparisons: int | None = None  # of lockstep
    reference_cycles: int | None = None  # that lockstep's reference ran

    @property
    def tiers(self) -> dict[str, int]:
        """Cycles by tier: ``compiled``, ``threaded``, ``interpreted``, those that there are."""
        found = {
            "compiled": self.compiled_cycles,
            "threaded": self.threaded_cycles,
            "interpreted": self.interpreted_cycles,
        }
        return {tier: cycles for tier, cycles in found.items() if cycles is not None}

    @property
    def cycles(self) -> int:
        """Cycles of all tiers."""
        return sum(self.tiers.values())
