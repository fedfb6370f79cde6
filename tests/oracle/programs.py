"""Random programs that end, for oracles and engines.

A program is straight code, forward branches, bounded loops, jump tables, calls, and memory accesses
inside one data window, misaligned and over page ends too. Registers have fixed parts:

=========== ====================================================================
sp, s0, s1  point into the data window, never written
gp          not used at all (see `guest.GuestProgram`)
tp, a5      count the outer and the inner loop
ra, t0      link calls of leaves and of their callers
the others  hold anything
=========== ====================================================================
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, fields

from rvjit.isa import EXTENSIONS, Isa
from rvjit.isa.encoding import COMPRESSED_BASE
from rvjit.isa.spec import Atomic, InsnSpec
from tests.oracle.generate import (
    Form,
    defined,
    effects_of,
    forms,
    immediate_range,
    random_operands,
    random_value,
)
from tests.oracle.guest import CODE_BASE, DATA_BASE, DATA_SIZE, GuestProgram
from tests.oracle.sequences import random_sequence

RA, SP, TP, T0, S0, S1, A5 = 1, 2, 4, 5, 8, 9, 15
POINTERS = (SP, S0, S1)
GENERAL = tuple(number for number in range(6, 32) if number not in (S0, S1, A5))
_GENERAL_SHORT = tuple(number for number in GENERAL if 0 <= number - COMPRESSED_BASE < 8)
_READABLE = (0, RA, SP, TP, T0, S0, S1, A5, *GENERAL)
_REACH = 2048  # how far a 12-bit offset goes
_BYTES_LONG = 4

FORMS: dict[str, Form] = {
    form.name: form for extension in reversed(EXTENSIONS) for form in defined(extension)
}


@dataclass(frozen=True)
class Options:
    """What a program may contain."""

    isa: Isa
    size: int = 40  # instructions in the body, roughly; loops and functions come on top
    branches: bool = True
    loops: bool = True
    calls: bool = True
    memory: bool = True
    misaligned_atomics: bool = False  # LR, SC and AMO at any address
    # LR and SC in any order and of any width. Otherwise only sequences whose outcome does not
    # depend on how an implementation keeps its reservation.
    any_reservation: bool = False
    exclude: frozenset[str] = frozenset()  # names of instructions
    sequences: float = 0.0  # how much of it is sequences that may be fused
    changed_results: bool = True  # those among them whose results fusion changes

    def __str__(self) -> str:
        """Return the expression that makes these options."""
        parts = [f"Isa.parse({str(self.isa)!r})"]
        for each in fields(self)[1:]:
            value = getattr(self, each.name)
            if value != each.default:
                shown = f"frozenset({sorted(value)})" if each.name == "exclude" else value
                parts.append(f"{each.name}={shown}")
        return f"Options({', '.join(parts)})"


@dataclass
class _Item:
    """One instruction; *encode* gets its own address and the labels."""

    length: int
    encode: Callable[[int, dict[str, int]], int]


@dataclass
class _Block:
    """Code under construction: instructions and labels between them."""

    items: list[_Item] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)  # name -> index in items

    def emit(self, name: str, **operands: int) -> None:
        self.put(FORMS[name], FORMS[name].encode(**operands))

    def put(self, form: Form, word: int) -> None:
        self.items.append(_Item(form.row.length, lambda _at, _labels: word))

    def jump(self, name: str, label: str, **operands: int) -> None:
        """Emit a branch or direct jump to *label*."""
        form = FORMS[name]
        self.items.append(
            _Item(
                form.row.length,
                lambda at, labels: form.encode(imm=labels[label] - at, **operands),
            )
        )

    def far(self, register: int, label: str, link: int) -> None:
        """Emit auipc and jalr to *label*."""

        def split(at: int, labels: dict[str, int]) -> tuple[int, int]:
            offset = labels[label] - at
            high = (offset + 0x800) >> 12 << 12
            return high, offset - high

        def upper(at: int, labels: dict[str, int]) -> int:
            return FORMS["auipc"].encode(rd=register, imm=split(at, labels)[0])

        def lower(at: int, labels: dict[str, int]) -> int:
            low = split(at - _BYTES_LONG, labels)[1]
            return FORMS["jalr"].encode(rd=link, rs1=register, imm=low)

        self.items += [_Item(_BYTES_LONG, upper), _Item(_BYTES_LONG, lower)]

    def label(self, name: str) -> None:
        self.labels[name] = len(self.items)

    def append(self, other: _Block) -> None:
        base = len(self.items)
        self.items += other.items
        self.labels |= {name: base + index for name, index in other.labels.items()}

    @property
    def size(self) -> int:
        return sum(item.length for item in self.items)

    def assemble(self, base: int) -> tuple[bytes, dict[str, int]]:
        starts = [base]
        for item in self.items:
            starts.append(starts[-1] + item.length)
        labels = {name: starts[index] for name, index in self.labels.items()}
        code = bytearray()
        for at, item in zip(starts, self.items, strict=False):
            code += item.encode(at, labels).to_bytes(item.length, "little")
        return bytes(code), labels


class _Writer:
    def __init__(self, rng: random.Random, options: Options) -> None:
        self.rng = rng
        self.options = options
        usable = [form for form in forms(options.isa) if form.name not in options.exclude]
        self.plain = [form for form in usable if _is_plain(form)]
        self.accesses = [form for form in usable if _is_access(form)]
        self.branches = [form for form in usable if _is_branch(form)]
        amos = [form for form in usable if effects_of(form).atomic is Atomic.AMO]
        self.amos = [form for form in amos if isinstance(form, InsnSpec)]
        self.has_atomics = any(form.name == "lr.d" for form in usable)
        self.pointers: dict[int, int] = {}
        self.count = 0
        self.functions: list[str] = []
        self.callers: list[str] = []
        self.in_function = False

    def fresh(self, what: str) -> str:
        self.count += 1
        return f"{what}{self.count}"

    def program(self, reproduce: str) -> GuestProgram:
        rng, options = self.rng, self.options
        registers = [random_value(rng) for _ in range(32)]
        registers[0] = registers[3] = 0
        for number in POINTERS:
            # Near a page end, and so that every 12-bit offset stays in the window.
            page = rng.randint(1, DATA_SIZE // 4096 - 1) * 4096
            registers[number] = DATA_BASE + page + rng.choice((0, -8, -4, 8, rng.randint(-32, 32)))
        low, high = DATA_BASE + _REACH, DATA_BASE + DATA_SIZE - _REACH - 8
        assert all(low <= registers[number] <= high for number in POINTERS)
        self.pointers = {number: registers[number] for number in POINTERS}
        data = rng.randbytes(DATA_SIZE)
        if options.calls:
            self.functions = [self.fresh("leaf") for _ in range(rng.randint(1, 3))]
            self.callers = [self.fresh("caller") for _ in range(rng.randint(0, 2))]
        body = self.block(options.size, depth=0)
        body.label("end")
        body.emit("ecall")
        self.in_function = True
        for name in (*self.callers, *self.functions):
            body.label(name)
            body.append(self.function(leaf=name in self.functions))
        code, labels = body.assemble(CODE_BASE)
        return GuestProgram(code, labels["end"], tuple(registers), data, reproduce)

    def function(self, *, leaf: bool) -> _Block:
        block = self.block(self.rng.randint(2, 10), depth=2)
        link = RA if leaf else T0
        if not leaf:
            block.append(self.call(self.rng.choice(self.functions), RA))
            block.append(self.block(3, depth=2))
        if self.rng.random() < 0.5:
            block.emit("c.jr", rs1=link)
        else:
            block.emit("jalr", rd=0, rs1=link, imm=0)
        return block

    def block(self, size: int, depth: int) -> _Block:
        """About *size* instructions; *depth* 0 may loop twice nested, 2 not at all."""
        rng, options = self.rng, self.options
        block = _Block()
        while len(block.items) < size:
            left = size - len(block.items)
            if options.sequences and rng.random() < options.sequences:
                block.append(self.sequence())
                continue
            kind = rng.random()
            if kind < 0.10 and options.branches and left > 3:
                block.append(self.forward(depth))
            elif kind < 0.13 and options.branches and left > 3:
                block.append(self.table())
            elif kind < 0.18 and options.loops and depth < 2 and left > 5:
                block.append(self.loop(depth))
            elif kind < 0.23 and options.calls and not self.in_function:
                block.append(self.any_call())
            elif kind < 0.45 and options.memory:
                block.append(self.access())
            elif kind < 0.52 and options.memory and self.has_atomics:
                block.append(self.atomic())
            else:
                self.straight(block)
        return block

    def straight(self, block: _Block) -> None:
        """One instruction that goes on to the next and touches no memory."""
        rng = self.rng
        form = rng.choice(self.plain)
        if form.name == "c.addi16sp":  # writes sp: undone at once
            offset = rng.choice(range(16, 496, 16)) * rng.choice((1, -1))
            block.emit("c.addi16sp", imm=offset)
            block.emit("c.addi16sp", imm=-offset)
            return
        operands = random_operands(rng, form, _READABLE)
        if "rd'" in form.row.operands:
            operands["rd"] = rng.choice(_GENERAL_SHORT)
        elif "rd" in form.row.operands:
            operands["rd"] = rng.choice(GENERAL + (() if form.row.length == 2 else (0,)))
        try:
            word = form.encode(**operands)
        except ValueError:  # an operand that may not be zero was
            return
        for piece in form.row.ignored.values():
            word |= rng.getrandbits(piece.width) << piece.low
        if self.options.isa.decoder.decode(word) is not None:  # else a HINT that is refused
            block.put(form, word)

    def sequence(self) -> _Block:
        """Instructions that may be fused, sometimes with a branch into the middle of them."""
        rng = self.rng
        block = _Block()
        insns = random_sequence(
            rng, GENERAL, _READABLE, changed_results=self.options.changed_results
        )
        middle = ""
        if len(insns) > 1 and self.options.branches and rng.random() < 0.3:
            middle = self.fresh("middle")
            name = rng.choice(("beq", "bne", "bltu", "bge"))
            block.jump(name, middle, rs1=rng.choice(GENERAL), rs2=rng.choice(GENERAL))
        entered = rng.randrange(1, len(insns)) if middle else -1
        for index, (name, operands) in enumerate(insns):
            if index == entered:
                block.label(middle)
            block.emit(name, **operands)
        return block

    def access(self) -> _Block:
        """A load or store off a pointer, or off a computed address."""
        rng = self.rng
        block = _Block()
        form = rng.choice(self.accesses)
        operands = random_operands(rng, form, _READABLE)
        short = "rs1'" in form.row.operands
        if "rd'" in form.row.operands:
            operands["rd"] = rng.choice(_GENERAL_SHORT)
        elif "rd" in form.row.operands:
            operands["rd"] = rng.choice(GENERAL)
        if "rs1" in operands:
            operands["rs1"] = rng.choice((S0, S1) if short else POINTERS)
            if rng.random() < 0.3:
                # Computed: pointer plus 0..2047, then an offset of at most a few bytes.
                pointer = rng.choice(_GENERAL_SHORT)
                block.emit(
                    "andi", rd=pointer, rs1=rng.choice(GENERAL), imm=rng.choice((2047, 2040))
                )
                block.emit("add", rd=pointer, rs1=pointer, rs2=self.lowest())
                operands["rs1"] = pointer
                name = form.row.immediate
                assert name is not None
                choices = immediate_range(form.row)
                operands[name] = rng.choice([value for value in choices if 0 <= value < 64])
        block.put(form, form.encode(**operands))
        return block

    def lowest(self) -> int:
        """The pointer with the most room above."""
        return min(POINTERS, key=self.pointers.__getitem__)

    def atomic(self) -> _Block:
        """An AMO, or LR and SC, at an address made for it."""
        rng, options = self.rng, self.options
        block = _Block()
        pointer = rng.choice(GENERAL)
        base = rng.choice(POINTERS)
        offset = rng.choice((0, 0, 8, 16, -8, 1000))
        block.emit("addi", rd=pointer, rs1=base, imm=offset)
        if not options.misaligned_atomics or rng.random() < 0.7:
            block.emit("andi", rd=pointer, rs1=pointer, imm=-8)
        others = tuple(number for number in GENERAL if number != pointer)
        if rng.random() < 0.6:
            self.amo(block, rng.choice(self.amos), pointer)
            return block
        if options.any_reservation:
            for _ in range(rng.randint(1, 3)):
                name = rng.choice(("lr.w", "lr.d", "sc.w", "sc.d"))
                value = {"rs2": rng.choice(_READABLE)} if name.startswith("sc") else {}
                block.emit(name, rd=rng.choice((0, *others)), rs1=pointer, **value)
                if rng.random() < 0.3:
                    self.straight_without(block, pointer)
            return block
        size = rng.choice(("w", "d"))
        if rng.random() < 0.8:
            block.emit(f"lr.{size}", rd=rng.choice((0, *others)), rs1=pointer)
            for _ in range(rng.randrange(3)):
                self.straight_without(block, pointer)
            if rng.random() < 0.25:
                block.emit("addi", rd=pointer, rs1=pointer, imm=8)  # another address: fails
        # Without the lr it fails too: every sequence here ends the reservation that it makes.
        block.emit(
            f"sc.{size}",
            rd=rng.choice((0, pointer, *others)),
            rs1=pointer,
            rs2=rng.choice(_READABLE),
        )
        return block

    def amo(self, block: _Block, form: InsnSpec, pointer: int) -> None:
        rng = self.rng
        word = form.encode(
            rd=rng.choice((0, *GENERAL)), rs1=pointer, rs2=rng.choice((*_READABLE, pointer))
        )
        for piece in form.row.ignored.values():
            word |= rng.getrandbits(piece.width) << piece.low
        block.put(form, word)

    def straight_without(self, block: _Block, register: int) -> None:
        """An ALU instruction that leaves *register* alone."""
        rng = self.rng
        others = tuple(number for number in GENERAL if number != register)
        name = rng.choice(("add", "xor", "addiw", "c.addi"))
        if name in ("add", "xor"):
            block.emit(
                name, rd=rng.choice(others), rs1=rng.choice(GENERAL), rs2=rng.choice(GENERAL)
            )
        elif name == "addiw":
            block.emit(name, rd=rng.choice(others), rs1=rng.choice(GENERAL), imm=rng.randint(-9, 9))
        else:
            block.emit(name, rd=rng.choice(others), imm=rng.randint(-32, 31))

    def forward(self, depth: int) -> _Block:
        """A branch or jump over a few instructions, perhaps with an else part."""
        rng = self.rng
        block = _Block()
        over = self.block(rng.randint(1, 6), depth=max(depth, 1))
        label = self.fresh("skip")
        usable = [form for form in self.branches if over.size + 4 < immediate_range(form.row).stop]
        form = rng.choice(usable)
        operands = random_operands(rng, form, _READABLE)
        operands.pop("imm")
        block.jump(form.name, label, **operands)
        block.append(over)
        if rng.random() < 0.3:
            other = self.block(rng.randint(1, 4), depth=max(depth, 1))
            end = self.fresh("else")
            reach = immediate_range(FORMS["c.j"].row).stop
            if other.size + 4 < reach and rng.random() < 0.5:
                block.jump("c.j", end)
            else:
                block.jump("jal", end, rd=rng.choice((0, *GENERAL)))
            block.label(label)
            block.append(other)
            label = end
        block.label(label)
        return block

    def table(self) -> _Block:
        """A computed jump into one of four places."""
        rng = self.rng
        block = _Block()
        index, base = rng.sample(GENERAL, 2)
        end = self.fresh("join")
        block.emit("andi", rd=index, rs1=rng.choice(GENERAL), imm=3)
        block.emit("slli", rd=index, rs1=index, shamt=3)
        block.emit("auipc", rd=base, imm=0)
        block.emit("add", rd=base, rs1=base, rs2=index)
        block.emit("jalr", rd=0, rs1=base, imm=12)
        for _ in range(4):
            block.emit("addi", rd=index, rs1=rng.choice(GENERAL), imm=rng.randint(-2048, 2047))
            block.jump("jal", end, rd=0)
        block.label(end)
        return block

    def loop(self, depth: int) -> _Block:
        rng = self.rng
        block = _Block()
        counter = TP if depth == 0 else A5
        top = self.fresh("loop")
        block.emit("addi", rd=counter, rs1=0, imm=rng.randint(1, 6))
        block.label(top)
        block.append(self.block(rng.randint(2, 12), depth + 1))
        block.emit("addi", rd=counter, rs1=counter, imm=-1)
        if counter == A5 and block.size < 200 and rng.random() < 0.5:
            block.jump("c.bnez", top, rs1=counter)
        elif rng.random() < 0.5:
            block.jump("bne", top, rs1=counter, rs2=0)
        else:
            block.jump("blt", top, rs1=0, rs2=counter)
        return block

    def any_call(self) -> _Block:
        if self.callers and self.rng.random() < 0.4:
            return self.call(self.rng.choice(self.callers), T0)
        return self.call(self.rng.choice(self.functions), RA)

    def call(self, label: str, link: int) -> _Block:
        rng = self.rng
        block = _Block()
        if rng.random() < 0.5:
            block.jump("jal", label, rd=link)
        else:
            block.far(rng.choice((link, rng.choice(GENERAL))), label, link)
        return block


def random_program(seed: int, options: Options) -> GuestProgram:
    """Return the program that *seed* and *options* make; the same each time."""
    reproduce = f"random_program({seed}, {options})"
    return _Writer(random.Random(seed), options).program(reproduce)


def _is_plain(form: Form) -> bool:
    effects = effects_of(form)
    return not effects.ends_block and not effects.load and not effects.store


def _is_access(form: Form) -> bool:
    effects = effects_of(form)
    return bool(effects.load or effects.store) and effects.atomic is None


def _is_branch(form: Form) -> bool:
    jump = effects_of(form).jump
    return jump is not None and jump.condition is not None
