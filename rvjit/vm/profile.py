"""Profile: which machine a program sees - ISA, prices, memory, loader, system calls.

Two come with rvjit, `linux` and `ckb`; each part of either can be chosen alone.
"""

from __future__ import annotations

from rvjit.errors import ConfigError
from rvjit.isa import CKB_PRICES, UNIT_PRICES, Isa, PriceModel
from rvjit.isa.isa import VM_VERSIONS
from rvjit.machine.memory import Memory
from rvjit.machine.rules import Rules
from rvjit.values import dataclass, field, replace

NAMES = ("linux", "ckb")
SYSCALLS = ("linux", "ckb")

_DEFAULT_ISA = {"linux": "imcba_zicond", "ckb": "imcb_mop"}
_DEFAULT_ISA_V0 = "imc"  # of ckb
_DEFAULT_MEMORY = {"linux": 64 << 20, "ckb": 4 << 20}
_BASE = {"linux": 0x10000, "ckb": 0}
_PRICES = {"linux": UNIT_PRICES, "ckb": CKB_PRICES}


@dataclass(frozen=True)
class Profile:
    """A machine's rules. Raises `ConfigError` for anything unknown or impossible.

    *name* (``linux`` or ``ckb``) decides how programs are loaded, how memory pages behave and all
    defaults. *isa* is an ISA string (`Isa.parse`), *vm_version* CKB's (0, 1 or 2), *syscalls* the
    table by name, *memory_size* in bytes (a multiple of 4096, at most 64 GiB), *prices* a
    `PriceModel`. With *strict_loads* loads from unmapped pages fault instead of reading zero.
    """

    name: str = "linux"
    isa: Isa | str | None = None
    vm_version: int = 2
    syscalls: str | None = None
    memory_size: int | None = None
    prices: PriceModel | None = None
    strict_loads: bool = False
    rules: Rules = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ConfigError(f"unknown profile {self.name!r}: known are {', '.join(NAMES)}")
        if self.vm_version not in VM_VERSIONS:
            raise ConfigError(f"VM version {self.vm_version!r}: CKB has 0, 1 and 2")
        ckb = self.name == "ckb"
        ckb_v0 = ckb and self.vm_version == 0
        default = _DEFAULT_ISA_V0 if ckb_v0 else _DEFAULT_ISA[self.name]
        given = default if self.isa is None else self.isa
        if not isinstance(given, str | Isa):
            raise ConfigError(f"ISA {given!r}: must be an ISA string or an Isa")
        parsed = Isa.parse(given) if isinstance(given, str) else given
        # Without CKB's other rules, version 0 would be a machine that never was.
        version = self.vm_version if ckb or parsed.fuses else max(self.vm_version, 1)
        isa = replace(parsed, strict_fences=ckb or parsed.strict_fences, version=version)
        self._settle("isa", isa)
        self._settle("syscalls", self.name if self.syscalls is None else self.syscalls)
        size = _DEFAULT_MEMORY[self.name] if self.memory_size is None else self.memory_size
        self._settle("memory_size", size)
        if self.prices is not None and not isinstance(self.prices, PriceModel):
            raise ConfigError(f"prices {self.prices!r}: must be a PriceModel")
        self._settle("prices", _PRICES[self.name] if self.prices is None else self.prices)
        if self.syscalls not in SYSCALLS:
            raise ConfigError(
                f"unknown system calls {self.syscalls!r}: known are {', '.join(SYSCALLS)}"
            )
        Memory.check(size, _BASE[self.name])
        assert self.prices is not None
        rules = Rules(
            isa=isa,
            prices=self.prices,
            ebreak_stops=not ckb,
            aligned_atomics=not ckb,
            ckb_reservation=ckb,
            strict_loads=self.strict_loads,
            loads_miss_end=ckb_v0,
        )
        self._settle("rules", rules)

    def with_memory(self, size: int | None) -> Profile:
        """Return the same profile with another memory size; None changes nothing."""
        return self if size is None else replace(self, memory_size=size)

    def make_memory(self) -> Memory:
        """Make an empty memory as the profile wants it."""
        assert self.memory_size is not None
        return Memory(self.memory_size, _BASE[self.name], wxorx=self.name == "ckb")

    @property
    def memory_base(self) -> int:
        """Lowest guest address of memory."""
        return _BASE[self.name]

    @property
    def is_ckb(self) -> bool:
        """Whether programs are loaded, and memory behaves, as in CKB-VM."""
        return self.name == "ckb"

    def _settle(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)
