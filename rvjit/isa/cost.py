"""Cost classes, and the price models that put a number of cycles on each.

A class says what kind of work an instruction is; a `PriceModel` is total over the classes, so no
instruction can be priced by accident.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

from rvjit.errors import ConfigError
from rvjit.values import dataclass, field


class Cost(Enum):
    """What an instruction's work is, as far as price goes."""

    ALU = "alu"
    MUL = "mul"
    DIV = "div"
    LOAD = "load"  # up to 32 bits
    LOAD_D = "load_d"  # 64 bits
    STORE = "store"
    STORE_D = "store_d"
    BRANCH = "branch"  # taken or not
    JUMP = "jump"
    ATOMIC_W = "atomic_w"
    ATOMIC_D = "atomic_d"
    FENCE = "fence"
    SYSTEM = "system"  # ecall and ebreak


MAX_PRICE = 1 << 32


@dataclass(frozen=True)
class PriceModel:
    """A price in cycles for each `Cost` class.

    Every class must have a price in ``[1, 2**32]``, else `ConfigError` names the classes.
    """

    name: str
    prices: Mapping[Cost, int] = field(hash=False)

    def __post_init__(self) -> None:
        given = dict[object, object](self.prices.items())
        missing = [cost.value for cost in Cost if cost not in given]
        if missing:
            raise ConfigError(f"price model {self.name!r} has no price for {', '.join(missing)}")
        extra = [key for key in given if not isinstance(key, Cost)]
        if extra:
            raise ConfigError(f"price model {self.name!r} prices unknown classes: {extra}")
        bad = {
            cost.value if isinstance(cost, Cost) else str(cost): price
            for cost, price in given.items()
            if type(price) is not int or not 1 <= price <= MAX_PRICE
        }
        if bad:
            raise ConfigError(f"price model {self.name!r}: prices outside 1..2**32: {bad}")
        object.__setattr__(self, "prices", MappingProxyType(dict(self.prices)))

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle as name and prices."""
        return PriceModel, (self.name, dict(self.prices))

    def __getitem__(self, cost: Cost) -> int:
        """Return the price of *cost* in cycles."""
        return self.prices[cost]


UNIT_PRICES = PriceModel("unit", dict.fromkeys(Cost, 1))

# CKB's table (ckb-script cost_model.rs; CKB-VM charges the expansion of a compressed form).
CKB_PRICES = PriceModel(
    "ckb",
    {
        Cost.ALU: 1,
        Cost.MUL: 5,
        Cost.DIV: 32,
        Cost.LOAD: 3,
        Cost.LOAD_D: 2,
        Cost.STORE: 3,
        Cost.STORE_D: 2,
        Cost.BRANCH: 3,
        Cost.JUMP: 3,
        Cost.ATOMIC_W: 4,
        Cost.ATOMIC_D: 3,
        Cost.FENCE: 1,
        Cost.SYSTEM: 500,
    },
)
