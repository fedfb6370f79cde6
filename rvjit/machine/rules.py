"""Rules: what a profile decides about how the machine itself behaves.

Everything here changes results, so it is part of the key of all compiled code.
"""

from __future__ import annotations

from rvjit.isa import DEFAULT_ISA, Isa
from rvjit.isa.cost import UNIT_PRICES, Cost, PriceModel
from rvjit.values import dataclass


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

    @property
    def key(self) -> str:
        """Everything here as text: rules with the same key behave the same."""
        prices = ",".join(f"{cost.value}={self.prices[cost]}" for cost in Cost)
        return (
            f"isa {self.isa} fences {self.isa.strict_fences} prices {prices} "
            f"ebreak {self.ebreak_stops} aligned {self.aligned_atomics} "
            f"ckb {self.ckb_reservation} strict {self.strict_loads}"
        )
