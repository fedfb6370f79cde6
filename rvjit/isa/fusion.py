"""Macro-op fusion: sequences of instructions that decode, cost and run as one operation.

A `Fusion` is a sequence of patterns and the steps that run instead. Registers in both are roles,
single letters: wherever a letter stands there is the same register. The steps are ordinary
instructions, so engines need nothing new to run them; they have no other effects than registers
and, the only one then, a jump. Nothing can fail or stop between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from rvjit.bits import MASK64, mask, to_signed
from rvjit.errors import DefinitionError
from rvjit.isa.cost import Cost
from rvjit.isa.decode import Insn
from rvjit.isa.expr import Op, Val
from rvjit.isa.isa import LONGEST_FUSED
from rvjit.isa.registers import NUMBERS
from rvjit.isa.spec import InsnSpec, syntax_operands

ANY = "*"  # fits every register

REGISTERS = ("rd", "rs1", "rs2")


def immediate_of(member: int) -> Val:
    """The immediate of one of a sequence's members, by number."""
    return Val(Op.IMM, 64, (), member)


def fits32(value: Val) -> Val:
    """One bit: *value* is a signed 32-bit number."""
    return wrap32(value).eq(value)


def wrap32(value: Val) -> Val:
    """The low 32 bits of *value*, sign-extended."""
    return value.trunc(32).sext()


@dataclass(frozen=True, eq=False)
class Pattern:
    """One instruction: its definition, and a role, a register number or `ANY` for its registers."""

    spec: InsnSpec
    operands: dict[str, str | int]

    @property
    def reads(self) -> list[str]:
        """Roles that it reads."""
        names = ("rs1", "rs2")
        return [role for name in names if isinstance(role := self.operands.get(name), str)]

    @property
    def writes(self) -> str | None:
        """The role that it writes, if it is one."""
        role = self.operands.get("rd")
        return role if isinstance(role, str) else None

    def bind(self, insn: Insn, roles: dict[str, int]) -> bool:
        """Whether *insn* fits; *roles* gets the registers of roles that are new."""
        if insn.spec is not self.spec:
            return False
        for name, wanted in self.operands.items():
            number = getattr(insn, name)
            expected = roles.setdefault(wanted, number) if isinstance(wanted, str) else wanted
            if wanted != ANY and number != expected:
                return False
        return True

    def make(self, roles: dict[str, int], immediate: int, length: int, word: int) -> Insn:
        """Return the instruction with these registers; the pc after it is *length* further."""
        numbers = {
            name: roles[role] if isinstance(role, str) else role
            for name, role in self.operands.items()
        }
        given = immediate if self.spec.row.immediate else 0
        rd, rs1, rs2 = (numbers.get(name, 0) for name in REGISTERS)
        return Insn(self.spec, rd, rs1, rs2, given, length, word)


@dataclass(frozen=True, eq=False)
class Fusion:
    """A sequence that is one operation in the VM *versions* named.

    It matches where all *members* do, the pairs of roles in *different* are different registers,
    the roles in *nonzero* are not x0, and the one-bit *conditions* hold. Then *steps* run.
    *immediate* is theirs; its and the conditions' leaves are `immediate_of` members and PC.
    """

    name: str
    cost: Cost
    versions: tuple[int, ...]
    members: tuple[Pattern, ...]
    steps: tuple[Pattern, ...]
    different: tuple[tuple[str, str], ...]
    nonzero: frozenset[str]
    immediate: Val | None
    conditions: tuple[Val, ...]

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles that the steps use, in a fixed order."""
        used = {role for step in self.steps for role in (*step.reads, step.writes) if role}
        return tuple(sorted(used))

    @property
    def written(self) -> frozenset[str]:
        """Roles that the steps write."""
        return frozenset(step.writes for step in self.steps if step.writes)

    @property
    def ends_block(self) -> bool:
        """Whether control never goes on behind it."""
        return self.steps[-1].spec.effects.jump is not None

    def match(self, member: Callable[[int], Insn | None], pc: int) -> Fused | None:
        """Fuse the instructions that *member* gives by number, the first at *pc*, if they match."""
        roles: dict[str, int] = {}
        members = []
        for index, pattern in enumerate(self.members):
            insn = member(index)
            if insn is None or not pattern.bind(insn, roles):
                return None
            members.append(insn)
        if any(roles[first] == roles[second] for first, second in self.different):
            return None
        if not all(roles[role] for role in self.nonzero):
            return None
        immediates = [insn.imm for insn in members]
        if not all(evaluate(each, immediates, pc) for each in self.conditions):
            return None
        value = 0
        if self.immediate is not None:
            value = to_signed(evaluate(self.immediate, immediates, pc), 64)
        length = sum(insn.length for insn in members)
        steps = tuple(step.make(roles, value, length, members[0].word) for step in self.steps)
        return Fused(self, tuple(members), steps, length)


@dataclass(frozen=True)
class Fused:
    """Several instructions, decoded as one operation.

    *members* are the instructions as they stand in memory, *steps* what runs, one after the other,
    each as if it stood at the address of the first and were all *length* bytes long.
    """

    fusion: Fusion
    members: tuple[Insn, ...]
    steps: tuple[Insn, ...]
    length: int

    @property
    def cost(self) -> Cost:
        """What all of it costs together."""
        return self.fusion.cost


Operation = Insn | Fused


@dataclass
class Fusions:
    """A set of fusions in the order in which they are tried.

    HINTs among compressed words become *nop* before they are matched.
    """

    nop: InsnSpec
    specs: dict[str, InsnSpec]
    fusions: list[Fusion] = field(default_factory=list)

    def fuse(
        self,
        name: str,
        cost: Cost,
        members: str,
        *,
        steps: str | None = None,
        versions: tuple[int, ...] = (1, 2),
        different: str = "",
        nonzero: str = "",
        immediate: Val | None = None,
        conditions: tuple[Val, ...] = (),
    ) -> Fusion:
        """Define a fusion; *members* and *steps* have one instruction a line, as assembly.

        An immediate is written ``imm``, whichever it is. Without *steps* the members run.
        *different* has pairs of letters. Raises `DefinitionError`.
        """
        patterns = self._patterns(name, members)
        fusion = Fusion(
            name,
            cost,
            versions,
            patterns,
            patterns if steps is None else self._patterns(name, steps),
            tuple((pair[0], pair[1]) for pair in different.split()),
            frozenset(nonzero),
            immediate,
            conditions,
        )
        _check(fusion)
        self.fusions.append(fusion)
        return fusion

    def of_version(self, version: int) -> list[Fusion]:
        """Fusions of a VM version, in the order in which they are tried."""
        return [fusion for fusion in self.fusions if version in fusion.versions]

    def _patterns(self, name: str, text: str) -> tuple[Pattern, ...]:
        lines = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
        return tuple(self._pattern(name, insn, operands) for insn, operands in lines)

    def _pattern(self, name: str, insn: str, operands: str) -> Pattern:
        spec = self.specs.get(insn)
        if spec is None:
            raise DefinitionError(f"{name}: there is no instruction {insn!r} to fuse")
        names = syntax_operands(spec.syntax)
        given = syntax_operands(operands)
        if len(names) != len(given):
            raise DefinitionError(f"{name}: {insn} has operands {spec.syntax!r}, not {operands!r}")
        found: dict[str, str | int] = {}
        for key, text in zip(names, given, strict=True):
            if key not in REGISTERS:
                continue
            if len(text) != 1 and text not in NUMBERS:
                raise DefinitionError(f"{name}: {text!r} is neither a role nor a register")
            found[key] = NUMBERS.get(text, text)
        return Pattern(spec, found)


def find_fused(
    fusions: Iterable[Fusion], head: Insn, pc: int, follow: Callable[[int], Insn | None]
) -> Fused | None:
    """Return what *head*, at *pc*, and the instructions behind it fuse to; the first match wins.

    *follow* decodes the instruction at an address, alone; None where there is none.
    """
    known = [head]
    after = pc + head.length

    def member(index: int) -> Insn | None:
        nonlocal after
        while index >= len(known):
            insn = follow(after)
            if insn is None:
                return None
            known.append(insn)
            after += insn.length
        return known[index]

    for fusion in fusions:
        found = fusion.match(member, pc)
        if found is not None:
            return found
    return None


def evaluate(value: Val, immediates: list[int], pc: int) -> int:
    """Compute *value*, unsigned, of its width; only what immediates and addresses need."""

    def of(each: Val) -> int:
        return evaluate(each, immediates, pc)

    match value.op:
        case Op.CONST:
            return value.payload
        case Op.IMM:
            return immediates[value.payload] & MASK64
        case Op.PC:
            return pc
        case Op.ADD:
            return of(value.args[0]) + of(value.args[1]) & mask(value.width)
        case Op.TRUNC:
            return of(value.args[0]) & mask(value.width)
        case Op.SEXT:
            return to_signed(of(value.args[0]), value.args[0].width) & mask(value.width)
        case Op.EQ:
            return of(value.args[0]) == of(value.args[1])
        case Op.LT_U:
            return of(value.args[0]) < of(value.args[1])
        case _:
            raise DefinitionError(f"an immediate is not made by {value.op.name}")


def _check(fusion: Fusion) -> None:
    def fail(problem: str) -> DefinitionError:
        return DefinitionError(f"{fusion.name}: {problem}")

    members = {role for each in fusion.members for role in (*each.reads, each.writes)} - {ANY}
    named = {role for pair in fusion.different for role in pair} | fusion.nonzero
    unknown = sorted((set(fusion.roles) | named) - members)
    if unknown:
        raise fail(f"no member names {', '.join(unknown)}")
    if 4 * len(fusion.members) > LONGEST_FUSED:
        raise fail(f"{len(fusion.members)} members are longer than {LONGEST_FUSED} bytes")
    for step in fusion.steps:
        effects = step.spec.effects
        if effects.load or effects.store or effects.system:
            raise fail(f"{step.spec.name} does more than compute")
        if effects.jump is not None and (effects.jump.condition or len(fusion.steps) > 1):
            raise fail("a jump must be the only step, and without a condition")
        if len(fusion.steps) > 1 and any(isinstance(each, int) for each in step.operands.values()):
            raise fail("a register by name may be one of the roles, unless there is but one step")
        if (fusion.immediate is None) != (step.spec.row.immediate is None):
            raise fail(f"{step.spec.name} and the fusion disagree about an immediate")
    # What is written may be x0 and dropped; then nothing may count on it.
    read = {role for step in fusion.steps for role in step.reads}
    both = sorted(read & fusion.written - fusion.nonzero)
    if both:
        raise fail(f"{', '.join(both)}: written and read, so it may not be x0")
    for value in (fusion.immediate, *fusion.conditions):
        if value is not None:
            evaluate(value, [0] * len(fusion.members), 0)
