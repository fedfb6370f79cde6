"""Rules: what a profile decides about how the machine itself behaves.

Everything here changes results, so it is part of the key of all compiled code.
"""

from __future__ import annotations

from rvjit.isa import DEFAULT_ISA, Isa
from rvjit.isa.cost import UNIT_PRICES, Cost, PriceModel
from rvjit.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rvjit.isa.spec import Effects


@dataclass(frozen=True)
class Rules:
    """How instructions behave where profiles differ (DESIGN 14.3, 14.4)."""

    isa: Isa = DEFAULT_ISA
    prices: PriceModel = UNIT_PRICES
    ebreak_stops: bool = True  # else ebreak does nothing but cost its price
    aligned_atomics: bool = True  # LR, SC and AMO fault on a misaligned address
    # CKB's LR/SC: the reservation is an address without a width, and SC always stores (the old
    # value where it fails). Otherwise address and width must match and a failing SC writes nothing.
    ckb_reservation: bool = False
    strict_loads: bool = False  # loads from pages without READABLE fault
    # CKB-VM's version 0: a load (LR and AMO apart) that ends where memory ends faults.
    loads_miss_end: bool = False

    def misses_end(self, effects: Effects) -> int:
        """Bytes behind an access that must be inside memory too: 1 for loads that miss the end."""
        plain_load = effects.load is not None and effects.atomic is None
        return 1 if self.loads_miss_end and plain_load else 0

    @property
    def key(self) -> str:
        """Everything here as text: rules with the same key behave the same."""
        prices = ",".join(f"{cost.value}={self.prices[cost]}" for cost in Cost)
        return (
            f"isa {self.isa} fences {self.isa.strict_fences} prices {prices} "
            f"ebreak {self.ebreak_stops} aligned {self.aligned_atomics} "
            f"ckb {self.ckb_reservation} strict {self.strict_loads} "
            f"v0 {self.isa.version == 0} {self.loads_miss_end} "
            f"fusion {self.isa.version if self.isa.fuses else None}"
        )
