"""Fused operations in the threaded engine: their handlers, and the native code that finds them.

Both come from the `Fusion`s. A fused operation has one record, at the address of its first member,
with all that its handler needs; the records of the others are for jumps into the middle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from rvjit.codegen import threaded_abi as abi
from rvjit.codegen.lower import Lowering
from rvjit.codegen.text import FunctionText
from rvjit.codegen.threaded_decoder import (
    AT_ENDS,
    AT_LENGTH,
    AT_NUMBER,
    AT_REGISTERS,
    Choices,
    Kind,
    field_of,
)
from rvjit.codegen.threaded_handlers import HandlerEmitter, Watch, is_even
from rvjit.isa.expr import Op, Val
from rvjit.isa.fusion import ANY, Fusion, Pattern
from rvjit.isa.isa import LONGEST_FUSED
from rvjit.isa.spec import InsnSpec
from rvjit.machine.pages import EXECUTABLE, PAGE_SHIFT
from rvjit.machine.rules import Rules
from rvjit.machine.stop import Exit

# Handlers that instructions of a kind have.
_VARIANTS = {Kind.PLAIN: 1, Kind.BRANCH: 2, Kind.JUMP: 3, Kind.INDIRECT: 3}


class FusedEmitter(HandlerEmitter):
    """Emits the handler of *fusion* under *symbol*.

    What roles hold is kept in values from step to step, and stored at the end, as far as other
    roles cannot be the same register.
    """

    def __init__(
        self, symbol: str, fusion: Fusion, rules: Rules, *, pclmul: bool, counts: bool
    ) -> None:
        super().__init__(symbol, (), rules, pclmul=pclmul, counts=counts)
        self._fusion = fusion
        self._prices = [rules.prices[fusion.cost]]
        self._known: dict[str, str] = {}  # what roles hold
        self._unstored: dict[str, str] = {}  # of these, what is not in the register file yet
        self._places: dict[str, str] = {}  # where roles are in the register file

    def emit(self) -> str:
        """Return the text of the function."""
        text = self._text
        price = self._prices[0]
        self._left = text.value(f"sub i64 %left, {price}")
        short = text.value(f"icmp ult i64 %left, {price}")
        self._leave_if(short, int(Exit.LIMIT) | abi.OVER, undo=price)
        for step in self._fusion.steps:
            self._step(step)
        if not self._fusion.ends_block:
            self._store_all()
            self._go_on()
        return self._function()

    def _go_on(self) -> None:
        """Dispatch what is behind all members.

        A branch for each length they may have: it is predicted, where an address that is computed
        from the record would hold up whatever is done with the next one.
        """
        text = self._text
        count = len(self._fusion.members)
        lengths = range(2 * count, 4 * count + 1, 2)
        labels = {length: self._new_label() for length in lengths}
        *cases, last = labels.items()
        shown = " ".join(f"i64 {length}, label %{label}" for length, label in cases)
        text.emit(f"switch i64 {self._length()}, label %{last[1]} [ {shown} ]")
        for length, label in labels.items():
            self._label(label)
            record = self._place("%rec", length << abi.RECORD_SHIFT)
            text.emit(self._dispatch(record, Watch.NOTHING))

    def _step(self, step: Pattern) -> None:
        text = self._text
        effects = step.spec.effects

        def leaf(value: Val) -> str:
            match value.op:
                case Op.RS1:
                    return self._read(step.operands["rs1"])
                case Op.RS2:
                    return self._read(step.operands["rs2"])
                case Op.IMM:
                    return self._immediate()
                case Op.PC:
                    return self._pc(0)
                case _:
                    assert value.op is Op.NEXT_PC
                    return text.value(f"add i64 {self._pc(0)}, {self._length()}")

        lowering = Lowering(text, leaf, pclmul=self._pclmul)
        record = ""
        if effects.jump is not None:
            target = lowering.lower(effects.jump.target)
            record = self._indirect(target, 0, even=is_even(effects.jump.target))
        if effects.rd is not None:
            self._write(step.operands["rd"], lowering.lower(effects.rd))
        if record:
            self._store_all()
            text.emit(self._dispatch(record, Watch.COUNT))

    def _read(self, operand: str | int) -> str:
        """Value of a register now."""
        if isinstance(operand, int):
            where = self._place("%st", 8 * operand)
            return self._text.value(f"load i64, ptr {where}, align 8") if operand else "0"
        if operand not in self._known:
            if any(self._may_be_same(operand, each) for each in self._unstored):
                self._store_all()
            self._known[operand] = self._text.value(f"load i64, ptr {self._role(operand)}, align 8")
        return self._known[operand]

    def _write(self, operand: str | int, value: str) -> None:
        if isinstance(operand, int):
            if operand:
                self._text.emit(
                    f"store i64 {value}, ptr {self._place('%st', 8 * operand)}, align 8"
                )
            return
        for each in [each for each in self._known if self._may_be_same(operand, each)]:
            del self._known[each]
        self._known[operand] = value
        self._unstored.pop(operand, None)
        self._unstored[operand] = value  # the last one written is the last one stored

    def _store_all(self) -> None:
        for role, value in self._unstored.items():
            self._text.emit(f"store i64 {value}, ptr {self._role(role)}, align 8")
        self._unstored.clear()

    def _may_be_same(self, first: str, second: str) -> bool:
        """Whether two roles may be one register."""
        different = self._fusion.different
        return first != second and not {(first, second), (second, first)} & set(different)

    def _role(self, role: str) -> str:
        """Address of a role's register, or of what stands for x0 where it is written."""
        if role not in self._places:
            self._places[role] = self._slot(abi.ROLES[self._fusion.roles.index(role)])
        return self._places[role]

    def _length(self) -> str:
        return self._number(abi.AT_LENGTH)


@dataclass
class _Member:
    """An instruction of a sequence while it is matched: names of values."""

    number: str
    rd: str
    rs1: str
    rs2: str
    immediate: str
    length: str


class MatcherEmitter:
    """Emits ``{i64, i64} fused(context, pc, first, immediate)`` and ``last_page``.

    `fused` gets what `decode_word` says of the instruction at pc, and returns the same for what is
    fused there, or what it got. *fusions* are by first instruction in the order of trial, *numbers*
    their handlers', *choices* those of single instructions. ``last_page(context, pc, page)`` is the
    last page whose bytes have a part in that; *page* has the last of the instruction.
    """

    def __init__(
        self,
        fusions: Mapping[InsnSpec, Sequence[Fusion]],
        numbers: Mapping[Fusion, int],
        choices: Choices,
    ) -> None:
        self._fusions = fusions
        self._numbers = numbers
        self._choices = choices
        self._text = FunctionText()

    def emit(self) -> str:
        """Return the text of the functions."""
        text = self._text
        text.start("entry")
        head = self._member("%first", "%immediate")
        cases = {
            number: f"head{index}"
            for index, spec in enumerate(self._fusions)
            for numbers in self._handlers(spec)
            for number in numbers
        }
        self._switch(head.number, cases)
        for index, group in enumerate(self._fusions.values()):
            text.start(f"head{index}")
            self._group(head, group, f"more{index}")
        text.start("alone")
        self._return("%first", "%immediate")
        name = "{ i64, i64 } @fused(ptr noalias %cx, i64 %pc, i64 %first, i64 %immediate)"
        head_line = f"define internal {name} {abi.ATTRIBUTES} {{"
        return "\n".join([head_line, *text.lines, "}", _FOLLOW_IR, _LAST_PAGE_IR])

    def _group(self, head: _Member, group: Sequence[Fusion], more: str) -> None:
        """Match sequences of one head; nearly always the second instruction tells that none is."""
        text = self._text
        members = [head]
        pc = self._follow(members, "%pc")
        cases = {
            number: more
            for fusion in group
            for numbers in self._handlers(fusion.members[1].spec)
            for number in numbers
        }
        self._switch(members[1].number, cases)
        text.start(more)
        while len(members) < max(len(fusion.members) for fusion in group):
            pc = self._follow(members, pc)
        found = "%first", "%immediate"
        for fusion in reversed(group):
            fits, *words = self._match(fusion, members)
            found = (
                text.value(f"select i1 {fits}, i64 {words[0]}, i64 {found[0]}"),
                text.value(f"select i1 {fits}, i64 {words[1]}, i64 {found[1]}"),
            )
        self._return(*found)

    def _follow(self, members: list[_Member], pc: str) -> str:
        """Decode the instruction behind the last of *members*, which is at *pc*; return its pc."""
        text = self._text
        pc = text.value(f"add i64 {pc}, {members[-1].length}")
        pair = text.value(f"call {{ i64, i64 }} @follow(ptr %cx, i64 {pc})")
        first, immediate = (
            text.value(f"extractvalue {{ i64, i64 }} {pair}, {index}") for index in (0, 1)
        )
        members.append(self._member(first, immediate))
        return pc

    def _member(self, first: str, immediate: str) -> _Member:
        text = self._text
        rd, rs1, rs2 = (field_of(text, first, AT_REGISTERS + 8 * at, 0xFF) for at in range(3))
        dropped = text.value(f"icmp eq i64 {rd}, {abi.SINK}")
        return _Member(
            field_of(text, first, AT_NUMBER, 0xFFFF),
            text.value(f"select i1 {dropped}, i64 0, i64 {rd}"),
            rs1,
            rs2,
            immediate,
            field_of(text, first, AT_LENGTH, 0xFF),
        )

    def _match(self, fusion: Fusion, members: list[_Member]) -> tuple[str, str, str]:
        """Whether the sequence is there, and the two words of its record."""
        text = self._text
        tests: list[str] = []
        roles: dict[str, str] = {}
        for pattern, member in zip(fusion.members, members, strict=False):
            tests.append(self._is_one_of(member.number, pattern.spec))
            for name, wanted in pattern.operands.items():
                given = getattr(member, name)
                expected = roles.setdefault(wanted, given) if isinstance(wanted, str) else wanted
                if wanted != ANY and expected != given:
                    tests.append(text.value(f"icmp eq i64 {given}, {expected}"))
        for first, second in fusion.different:
            tests.append(text.value(f"icmp ne i64 {roles[first]}, {roles[second]}"))
        tests += [text.value(f"icmp ne i64 {roles[role]}, 0") for role in sorted(fusion.nonzero)]

        def leaf(value: Val) -> str:
            return "%pc" if value.op is Op.PC else members[value.payload].immediate

        lowering = Lowering(text, leaf, pclmul=False)
        tests += [lowering.lower(condition) for condition in fusion.conditions]
        fits = reduce(lambda left, right: text.value(f"and i1 {left}, {right}"), tests)
        length = reduce(
            lambda left, right: text.value(f"add i64 {left}, {right}"),
            [member.length for member in members[: len(fusion.members)]],
        )
        fixed = self._numbers[fusion] << AT_NUMBER | fusion.ends_block << AT_ENDS
        words = {abi.AT_RD: str(fixed), abi.AT_IMM: "0"}
        parts = [(AT_LENGTH, length), (AT_REGISTERS + 8 * (abi.AT_LENGTH - abi.AT_RD), length)]
        for at, role in zip(abi.ROLES, fusion.roles, strict=False):
            number = roles[role]
            if role in fusion.written and role not in fusion.nonzero:
                zero = text.value(f"icmp eq i64 {number}, 0")
                number = text.value(f"select i1 {zero}, i64 {abi.SINK}, i64 {number}")
            if at < abi.AT_IMM:
                parts.append((AT_REGISTERS + 8 * (at - abi.AT_RD), number))
            else:
                placed = text.value(f"shl i64 {number}, {8 * (at - abi.AT_IMM)}")
                words[abi.AT_IMM] = text.value(f"or i64 {words[abi.AT_IMM]}, {placed}")
        for low, number in parts:
            placed = text.value(f"shl i64 {number}, {low}")
            words[abi.AT_RD] = text.value(f"or i64 {words[abi.AT_RD]}, {placed}")
        if fusion.immediate is not None:
            words[abi.AT_IMM] = lowering.lower(fusion.immediate)
        return fits, words[abi.AT_RD], words[abi.AT_IMM]

    def _handlers(self, spec: InsnSpec) -> list[range]:
        """Numbers of the handlers that *spec* may have."""
        return [
            range(choice.number, choice.number + _VARIANTS[choice.kind])
            for form, choice in self._choices.items()
            if form.spec is spec
        ]

    def _is_one_of(self, number: str, spec: InsnSpec) -> str:
        text = self._text
        tests = []
        for numbers in self._handlers(spec):
            distance = text.value(f"sub i64 {number}, {numbers.start}")
            tests.append(text.value(f"icmp ult i64 {distance}, {len(numbers)}"))
        return reduce(lambda left, right: text.value(f"or i1 {left}, {right}"), tests)

    def _switch(self, number: str, cases: Mapping[int, str]) -> None:
        shown = " ".join(f"i64 {each}, label %{label}" for each, label in cases.items())
        self._text.emit(f"switch i64 {number}, label %alone [ {shown} ]")

    def _return(self, first: str, immediate: str) -> None:
        text = self._text
        pair = text.value(f"insertvalue {{ i64, i64 }} poison, i64 {first}, 0")
        pair = text.value(f"insertvalue {{ i64, i64 }} {pair}, i64 {immediate}, 1")
        text.emit(f"ret {{ i64, i64 }} {pair}")


# What `decode_word` says of the instruction at pc; zeros where there is none. It may be outside the
# span, in a page that has become executable since.
_FOLLOW_IR = f"""
define internal {{ i64, i64 }} @follow(ptr noalias %cx, i64 %pc) {abi.ATTRIBUTES} {{
  {abi.of_context("base", "base")}
  {abi.of_context("size", "size")}
  %offset = sub i64 %pc, %base
  %inside = icmp ult i64 %offset, %size
  br i1 %inside, label %fetch, label %none
fetch:
  %fetched = call {{ i64, i64 }} @fetch(ptr %cx, i64 %pc)
  %wide = extractvalue {{ i64, i64 }} %fetched, 0
  %failed = icmp eq i64 %wide, -1
  br i1 %failed, label %none, label %decode
decode:
  %word = trunc i64 %wide to i32
  %pair = call {{ i64, i64 }} @decode_word(i32 %word)
  ret {{ i64, i64 }} %pair
none:
  ret {{ i64, i64 }} zeroinitializer
}}
"""

_LAST_PAGE_IR = f"""
define internal i64 @last_page(ptr noalias %cx, i64 %pc, i64 %page) {abi.ATTRIBUTES} {{
  {abi.of_context("base", "base")}
  {abi.of_context("size", "size")}
  {abi.of_context("flags0", "page_flags")}
  %last = add i64 %pc, {LONGEST_FUSED - 1}
  %offset = sub i64 %last, %base
  %inside = icmp ult i64 %offset, %size
  br i1 %inside, label %look, label %same
look:
  %found = lshr i64 %offset, {PAGE_SHIFT}
  %flags = inttoptr i64 %flags0 to ptr
  %fp = getelementptr i8, ptr %flags, i64 %found
  %f = load i8, ptr %fp
  %x = and i8 %f, {EXECUTABLE}
  %executable = icmp ne i8 %x, 0
  %chosen = select i1 %executable, i64 %found, i64 %page
  ret i64 %chosen
same:
  ret i64 %page
}}
"""
