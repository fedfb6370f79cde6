"""InsnSpec, Effects, Sem: what an instruction is, and how its body says what it does.

A body is called once, at import, with a `Sem`. It reads operands, writes results, and leaves a
frozen `Effects` tree. All reads happen before all writes, so ``rd == rs1`` needs no care.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

from rvjit.errors import DefinitionError
from rvjit.isa.cost import Cost
from rvjit.isa.encoding import IMMEDIATES, Row, parse_row
from rvjit.isa.expr import Op, Val

T = TypeVar("T")


class Atomic(Enum):
    """What makes a memory access atomic."""

    LR = "lr"  # load, and reserve the address
    SC = "sc"  # store if the reservation holds; ends the reservation
    AMO = "amo"  # load and store in one


class System(Enum):
    """What an instruction asks of whoever runs the machine."""

    ECALL = "ecall"
    EBREAK = "ebreak"


@dataclass(frozen=True, eq=False)
class Access:
    """A load (*value* None) or store of *size* bytes."""

    address: Val
    size: int
    value: Val | None = None


@dataclass(frozen=True, eq=False)
class Jump:
    """Where pc goes instead of the next instruction; always, if *condition* is None."""

    target: Val
    condition: Val | None = None


@dataclass(frozen=True, eq=False)
class Effects:
    """Everything that an instruction does, as trees over the state before it."""

    rd: Val | None = None
    load: Access | None = None
    store: Access | None = None
    atomic: Atomic | None = None
    jump: Jump | None = None
    system: System | None = None

    @property
    def ends_block(self) -> bool:
        """Whether control may go elsewhere than to the next instruction."""
        return self.jump is not None or self.system is not None

    @property
    def values(self) -> tuple[Val, ...]:
        """The roots of all trees."""
        roots = [self.rd]
        for access in (self.load, self.store):
            if access is not None:
                roots += [access.address, access.value]
        if self.jump is not None:
            roots += [self.jump.target, self.jump.condition]
        return tuple(root for root in roots if root is not None)

    def uses(self, op: Op) -> bool:
        """Whether any tree has a node of kind *op*."""
        return any(root.uses(op) for root in self.values)


class Sem:
    """The vocabulary of bodies."""

    def __init__(self, name: str, row: Row) -> None:
        self._name = name
        self._row = row
        self._rd: Val | None = None
        self._load: Access | None = None
        self._store: Access | None = None
        self._atomic: Atomic | None = None
        self._jump: Jump | None = None
        self._system: System | None = None

    # Reads.

    @property
    def rs1(self) -> Val:
        """Register rs1, 64 bits."""
        return self._operand(Op.RS1, "rs1")

    @property
    def rs2(self) -> Val:
        """Register rs2, 64 bits."""
        return self._operand(Op.RS2, "rs2")

    @property
    def imm(self) -> Val:
        """The row's immediate, extended to 64 bits as its name says."""
        if self._row.immediate is None:
            raise self._error("has no immediate")
        return Val(Op.IMM, 64)

    @property
    def rd_is_rs1(self) -> Val:
        """One bit, known when it is decoded: rd and rs1 are one register, and not x0."""
        for name in ("rd", "rs1"):
            self._operand(Op.RD_IS_RS1, name)
        return Val(Op.RD_IS_RS1, 1)

    @property
    def pc(self) -> Val:
        """Address of this instruction."""
        return Val(Op.PC, 64)

    @property
    def next_pc(self) -> Val:
        """Address of the instruction after this one."""
        return Val(Op.NEXT_PC, 64)

    # Writes.

    @property
    def rd(self) -> Val:
        """Destination register: write only."""
        raise self._error("reads rd")

    @rd.setter
    def rd(self, value: Val) -> None:
        if "rd" not in self._row.operands:
            raise self._error("has no operand rd")
        if value.width != 64:
            raise self._error(f"writes {value.width} bits to rd")
        self._rd = self._once(self._rd, value, "rd")

    def load(self, address: Val, size: int) -> Val:
        """Load *size* bytes; the value has ``8 * size`` bits."""
        self._load = self._once(self._load, self._access(address, size, None), "a load")
        return Val(Op.LOADED, 8 * size)

    def store(self, address: Val, value: Val) -> None:
        """Store all of *value*."""
        access = self._access(address, value.width // 8, value)
        self._store = self._once(self._store, access, "a store")

    def load_reserved(self, address: Val, size: int) -> Val:
        """Load and reserve *address*."""
        self._atomic = Atomic.LR
        return self.load(address, size)

    def store_conditional(self, address: Val, value: Val) -> Val:
        """Store if the reservation holds, end it, and return one bit: success."""
        self._atomic = Atomic.SC
        self.store(address, value)
        return Val(Op.SC_OK, 1)

    def amo(self, address: Val, size: int, combine: Callable[[Val], Val]) -> Val:
        """Load, store what *combine* makes of the old value, and return the old value."""
        self._atomic = Atomic.AMO
        old = self.load(address, size)
        self.store(address, combine(old))
        return old

    def jump(self, target: Val, condition: Val | None = None) -> None:
        """Go to *target*, where the one-bit *condition* holds if there is one."""
        if condition is not None and condition.width != 1:
            raise self._error("jumps on a condition that is not one bit")
        if target.width != 64:
            raise self._error(f"jumps to a {target.width}-bit address")
        self._jump = self._once(self._jump, Jump(target, condition), "a jump")

    def system(self, what: System) -> None:
        """Ask for a service."""
        self._system = self._once(self._system, what, "a system request")

    def effects(self) -> Effects:
        """Freeze what the body did."""
        return Effects(self._rd, self._load, self._store, self._atomic, self._jump, self._system)

    def _operand(self, op: Op, name: str) -> Val:
        if name not in self._row.operands:
            raise self._error(f"has no operand {name}")
        return Val(op, 64)

    def _access(self, address: Val, size: int, value: Val | None) -> Access:
        if size not in (1, 2, 4, 8) or address.width != 64:
            raise self._error(f"accesses {size} bytes at a {address.width}-bit address")
        if value is not None and value.width != 8 * size:
            raise self._error(f"stores {value.width} bits in {size} bytes")
        return Access(address, size, value)

    def _once(self, old: T | None, new: T, what: str) -> T:
        if old is not None:
            raise self._error(f"makes {what} twice")
        return new

    def _error(self, problem: str) -> DefinitionError:
        return DefinitionError(f"{self._name}: the body {problem} (row {self._row.text!r})")


Body = Callable[[Sem], None]


@dataclass(frozen=True, eq=False)
class InsnSpec:
    """One instruction: name, row, syntax, cost class, effects."""

    name: str
    row: Row
    syntax: str
    cost: Cost
    effects: Effects
    doc: str

    def encode(self, **operands: int) -> int:
        """Encode with these operands (missing registers are x0). Raises `ValueError`."""
        return self.row.insert(**operands)


@dataclass(frozen=True, eq=False)
class Expansion:
    """A compressed instruction: a shorter spelling of *base*.

    *operands* says for each operand of the base which operand of this row, or which number, it is;
    *nonzero* lists operands of this row that may not be zero (those words are reserved). Words in
    which one of *hints* is zero do nothing: the manual calls them HINTs. With *is_hint* all do.
    """

    name: str
    row: Row
    syntax: str
    base: InsnSpec
    operands: dict[str, str | int]
    nonzero: tuple[str, ...]
    hints: tuple[str, ...] = ()
    is_hint: bool = False
    hints_are_old: bool = False  # CKB-VM's version 0 has them, too
    nop: InsnSpec | None = None  # what a HINT is instead, where that matters

    def encode(self, **operands: int) -> int:
        """Encode with these operands of the compressed row. Raises `ValueError`."""
        for name in self.nonzero:
            if not operands.get(name.rstrip("'")):
                raise ValueError(f"{self.name}: {name} may not be zero")
        return self.row.insert(**operands)


@dataclass
class Extension:
    """A named set of instructions, filled by the decorators of its module."""

    name: str
    insns: list[InsnSpec] = field(default_factory=list)
    expansions: list[Expansion] = field(default_factory=list)
    replaced: dict[InsnSpec, InsnSpec] = field(default_factory=dict)

    def insn(
        self, name: str, row: str, syntax: str, cost: Cost, *, instead_of: InsnSpec | None = None
    ) -> Callable[[Body], InsnSpec]:
        """Define an instruction; the decorated body becomes its `InsnSpec`.

        It takes the place of *instead_of*, in compressed forms too, where this extension is chosen.
        """

        def define(body: Body) -> InsnSpec:
            parsed = parse_row(row)
            sem = Sem(name, parsed)
            body(sem)
            effects = sem.effects()
            _check_syntax(name, syntax, parsed)
            _check_effects(name, effects)
            spec = InsnSpec(name, parsed, syntax, cost, effects, body.__doc__ or "")
            self.insns.append(spec)
            if instead_of is not None:
                self.replaced[instead_of] = spec
            return spec

        return define

    def expand(
        self,
        name: str,
        row: str,
        syntax: str,
        base: InsnSpec,
        nonzero: tuple[str, ...] = (),
        *,
        hints: tuple[str, ...] = (),
        is_hint: bool = False,
        hints_are_old: bool = False,
        **operands: str | int,
    ) -> Expansion:
        """Define a compressed instruction as a spelling of *base*; see `Expansion`."""
        parsed = parse_row(row)
        _check_syntax(name, syntax, parsed)
        wanted = {"imm" if key in IMMEDIATES else key for key in base.row.operands}
        if set(operands) != wanted:
            raise DefinitionError(f"{name}: {base.name} needs {sorted(wanted)}")
        for source in (*operands.values(), *nonzero, *hints):
            if isinstance(source, str) and source not in parsed.operands:
                raise DefinitionError(f"{name}: row {row!r} has no {source}")
        expansion = Expansion(
            name,
            parsed,
            syntax,
            base,
            dict(operands),
            nonzero,
            hints,
            is_hint=is_hint,
            hints_are_old=hints_are_old,
        )
        self.expansions.append(expansion)
        return expansion


IMPLIED = "sp"  # the one register that a syntax names without having it as an operand


def syntax_operands(syntax: str) -> list[str]:
    """Operand names in a syntax such as ``rd, imm(rs1)``."""
    for mark in ",()":
        syntax = syntax.replace(mark, " ")
    return [name for name in syntax.split() if name != IMPLIED]


def _check_syntax(name: str, syntax: str, row: Row) -> None:
    known = row.operands.keys() | row.ignored.keys()
    unknown = [operand for operand in syntax_operands(syntax) if operand not in known]
    if unknown:
        raise DefinitionError(f"{name}: syntax names {unknown}, which row {row.text!r} lacks")


def _check_effects(name: str, effects: Effects) -> None:
    if effects.uses(Op.LOADED) and effects.load is None:
        raise DefinitionError(f"{name}: uses a loaded value without a load")
    if effects.uses(Op.SC_OK) and effects.atomic is not Atomic.SC:
        raise DefinitionError(f"{name}: uses the outcome of a store-conditional it does not make")
    if effects.load and effects.store and effects.atomic is not Atomic.AMO:
        raise DefinitionError(f"{name}: loads and stores without being an AMO")
    if effects.system is not None and effects.values:
        raise DefinitionError(f"{name}: a system request may do nothing else")
    if effects.jump is not None and (effects.load or effects.store):
        raise DefinitionError(f"{name}: jumps and accesses memory")
