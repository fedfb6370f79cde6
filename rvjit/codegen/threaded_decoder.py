"""Encoding rows to a native decoder: words to records, as `rvjit.isa.decode` decodes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from rvjit.codegen import threaded_abi as abi
from rvjit.codegen.text import FunctionText
from rvjit.codegen.threaded_handlers import Form, expanded
from rvjit.isa.encoding import COMPRESSED_BASE, OPCODE_BITS, OPCODE_BITS_COMPRESSED, Row
from rvjit.isa.registers import RA
from rvjit.isa.spec import Expansion, InsnSpec
from rvjit.machine.pages import (
    EXECUTABLE,
    HOLDS_CODE,
    PAGE_MASK,
    PAGE_SHIFT,
    PAGE_SIZE,
    STORE_FAST,
)
from rvjit.machine.stop import Exit

# Fields of the first word that `decode_word` returns, which is 0 for what is no instruction. The
# second is the immediate of the record.
AT_NUMBER = 0  # of the handler, 16 bits
AT_REGISTERS = 16  # rd, rs1, rs2, a byte each, as in a record
AT_LENGTH = 40  # bytes, 8 bits
AT_ENDS = 48  # control never goes on behind it
AT_OFFSET = 49  # the immediate becomes relative to the window


class Kind(Enum):
    """What the operands say about the choice of a handler, as what is added to its number."""

    PLAIN = "plain"  # nothing
    BRANCH = "branch"  # 1 if it goes back or to itself
    JUMP = "jump"  # 2 if it links, 1 if it goes back or to itself
    INDIRECT = "indirect"  # 2 if it links, 1 if it is no return


@dataclass(frozen=True)
class Choice:
    """Which handler an instruction gets: *number* plus what *kind* adds."""

    number: int
    kind: Kind
    ends: bool  # control never goes on behind it
    offset: bool = False  # the immediate is to be relative to the window


@dataclass(frozen=True)
class _Shape:
    """Where a form has its operands; forms of one shape share the code that extracts them."""

    kind: Kind
    ends: bool
    offset: bool
    length: int
    registers: tuple[_Source, _Source, _Source]
    immediate: _Source


@dataclass(frozen=True)
class _Source:
    """An operand: a constant, or fields of the word and what is added to them."""

    constant: int
    pieces: tuple[tuple[int, int, int], ...] = ()  # (low, width, shift)
    signed: bool = False


Choices = Mapping[Form, Choice]


class DecoderEmitter:
    """Emits ``{i64, i64} decode_word(i32)`` for *forms*, in the order in which they are tried.

    *choices* has the handlers.
    """

    def __init__(self, forms: Iterable[InsnSpec | Expansion], choices: Choices) -> None:
        self._forms = tuple(forms)
        self._choices = choices
        self._text = FunctionText()
        self._labels = 0
        # For each shape its label and the edges to it: (predecessor, number).
        self._shapes: dict[_Shape, tuple[str, list[tuple[str, int]]]] = {}

    def emit(self) -> str:
        """Return the text of the function."""
        text = self._text
        self._label("entry")
        low = text.value("and i32 %word, 3")
        is_long = text.value(f"icmp eq i32 {low}, 3")
        text.emit(f"br i1 {is_long}, label %long, label %short")
        self._label("long")
        self._tree([form for form in self._forms if form.row.length == 4], OPCODE_BITS)
        self._label("short")
        self._tree([form for form in self._forms if form.row.length == 2], OPCODE_BITS_COMPRESSED)
        for shape, (label, edges) in self._shapes.items():
            self._leaf(shape, label, edges)
        self._label("illegal")
        text.emit("ret { i64, i64 } zeroinitializer")
        head = f"define internal {{ i64, i64 }} @decode_word(i32 %word) {abi.ATTRIBUTES} {{"
        return "\n".join([head, *text.lines, "}", ""])

    def _tree(self, forms: list[InsnSpec | Expansion], fixed: int) -> None:
        """Switch on the *fixed* bits, and again on what all forms of a group fix besides."""
        text = self._text
        groups: dict[int, list[InsnSpec | Expansion]] = {}
        for form in forms:
            groups.setdefault(form.row.match & fixed, []).append(form)
        labels = {match: self._new_label() for match in groups}
        key = text.value(f"and i32 %word, {_i32(fixed)}")
        cases = " ".join(f"i32 {_i32(match)}, label %{label}" for match, label in labels.items())
        text.emit(f"switch i32 {key}, label %illegal [ {cases} ]")
        for match, group in groups.items():
            self._label(labels[match])
            common = _common_bits(group)
            if len(group) > 1 and common != fixed:
                self._tree(group, common)
            else:
                self._try_each(group)

    def _try_each(self, group: list[InsnSpec | Expansion]) -> None:
        text = self._text
        for form in group:
            row = form.row
            bits = text.value(f"and i32 %word, {_i32(row.mask)}")
            same = text.value(f"icmp eq i32 {bits}, {_i32(row.match)}")
            hit, miss = self._new_label(), self._new_label()
            text.emit(f"br i1 {same}, label %{hit}, label %{miss}")
            self._label(hit)
            self._hit(form, hit)
            self._label(miss)
        text.emit("br label %illegal")

    def _hit(self, form: InsnSpec | Expansion, here: str) -> None:
        """Check what may not be zero, then go to the code for the form's shape."""
        text = self._text
        row = form.row
        if isinstance(form, InsnSpec):
            spec = form
            names: dict[str, str | int] = {
                "imm" if name == row.immediate else name: name for name in row.operands
            }
        else:
            spec = form.base
            names = form.operands
            for name in form.nonzero:
                bits = text.value(f"and i32 %word, {_i32(_bits_of(row, name))}")
                zero = text.value(f"icmp eq i32 {bits}, 0")
                here = self._new_label()
                text.emit(f"br i1 {zero}, label %illegal, label %{here}")
                self._label(here)
            if form.nop is not None:
                here = self._hints(form, form.nop, here)
        self._reach_shape(spec, row, names, here)

    def _hints(self, form: Expansion, nop: InsnSpec, here: str) -> str:
        """Go to the shape of *nop* without operands where one of the form's hints is zero.

        Returns the block for where none is.
        """
        text = self._text
        for name in form.hints:
            bits = text.value(f"and i32 %word, {_i32(_bits_of(form.row, name))}")
            zero = text.value(f"icmp eq i32 {bits}, 0")
            hint, here = self._new_label(), self._new_label()
            text.emit(f"br i1 {zero}, label %{hint}, label %{here}")
            self._label(hint)
            self._reach_shape(nop, form.row, {}, hint)
            self._label(here)
        return here

    def _reach_shape(
        self, spec: InsnSpec, row: Row, names: Mapping[str, str | int], here: str
    ) -> None:
        """Go from the block *here* to the code that all forms of this shape share."""
        choice = self._choices[expanded(spec, row.length, names)]
        rd, rs1, rs2, immediate = (
            _source(row, names.get(name, 0)) for name in ("rd", "rs1", "rs2", "imm")
        )
        shape = _Shape(
            choice.kind, choice.ends, choice.offset, row.length, (rd, rs1, rs2), immediate
        )
        if shape not in self._shapes:
            self._shapes[shape] = self._new_label(), []
        label, edges = self._shapes[shape]
        edges.append((here, choice.number))
        self._text.emit(f"br label %{label}")

    def _leaf(self, shape: _Shape, label: str, edges: list[tuple[str, int]]) -> None:
        text = self._text
        self._label(label)
        incoming = ", ".join(f"[ {number}, %{edge} ]" for edge, number in edges)
        number = text.value(f"phi i64 {incoming}")
        word = text.value("zext i32 %word to i64")
        rd, rs1, rs2 = (self._operand(source, word) for source in shape.registers)
        immediate = self._operand(shape.immediate, word)
        number = self._choose(shape.kind, number, rd, rs1, immediate)
        if shape.kind in (Kind.BRANCH, Kind.JUMP):
            immediate = text.value(f"shl i64 {immediate}, {abi.RECORD_SHIFT}")
        no_rd = text.value(f"icmp eq i64 {rd}, 0")
        rd = text.value(f"select i1 {no_rd}, i64 {abi.SINK}, i64 {rd}")
        bits = shape.length << AT_LENGTH | shape.ends << AT_ENDS | shape.offset << AT_OFFSET
        first = text.value(f"or i64 {number}, {bits}")
        for at, register in enumerate((rd, rs1, rs2)):
            placed = text.value(f"shl i64 {register}, {AT_REGISTERS + 8 * at}")
            first = text.value(f"or i64 {first}, {placed}")
        pair = text.value(f"insertvalue {{ i64, i64 }} poison, i64 {first}, 0")
        pair = text.value(f"insertvalue {{ i64, i64 }} {pair}, i64 {immediate}, 1")
        text.emit(f"ret {{ i64, i64 }} {pair}")

    def _choose(self, kind: Kind, number: str, rd: str, rs1: str, immediate: str) -> str:
        text = self._text
        if kind is Kind.PLAIN:
            return number
        if kind is Kind.INDIRECT:
            returns = text.value(f"icmp eq i64 {rs1}, {RA}")
            added = text.value(f"select i1 {returns}, i64 0, i64 1")
        else:
            back = text.value(f"icmp slt i64 {immediate}, 1")  # to itself, too
            added = text.value(f"zext i1 {back} to i64")
        if kind is not Kind.BRANCH:
            links = text.value(f"icmp ne i64 {rd}, 0")
            added = text.value(f"select i1 {links}, i64 2, i64 {added}")
        return text.value(f"add i64 {number}, {added}")

    def _operand(self, source: _Source, word: str) -> str:
        text = self._text
        if not source.pieces:
            return str(source.constant)
        value = ""
        for low, width, shift in source.pieces:
            part = text.value(f"lshr i64 {word}, {low}")
            part = text.value(f"and i64 {part}, {(1 << width) - 1}")
            part = text.value(f"shl i64 {part}, {shift}")
            value = text.value(f"or i64 {value}, {part}") if value else part
        if source.signed:
            unused = 64 - max(width + shift for _, width, shift in source.pieces)
            value = text.value(f"shl i64 {value}, {unused}")
            value = text.value(f"ashr i64 {value}, {unused}")
        if source.constant:
            value = text.value(f"add i64 {value}, {source.constant}")
        return value

    def _new_label(self) -> str:
        self._labels += 1
        return f"b{self._labels}"

    def _label(self, name: str) -> None:
        self._text.start(name)


def _common_bits(group: list[InsnSpec | Expansion]) -> int:
    """Bits that all forms of *group* fix."""
    common = 0xFFFF_FFFF
    for form in group:
        common &= form.row.mask
    return common


def _bits_of(row: Row, operand: str) -> int:
    """Bits of the word that hold *operand*."""
    return sum(((1 << piece.width) - 1) << piece.low for piece in row.operands[operand])


def _source(row: Row, operand: str | int) -> _Source:
    if isinstance(operand, int):
        return _Source(operand)
    pieces = tuple((piece.low, piece.width, piece.shift) for piece in row.operands[operand])
    return _Source(COMPRESSED_BASE if operand.endswith("'") else 0, pieces, signed=operand == "imm")


def _i32(value: int) -> int:
    return value - (1 << 32) if value >> 31 else value


# `fetch(context, pc)` gives the word at pc, as `rvjit.machine.fetch` fetches it, and the last page
# that has bytes of it; -1 for the word where it cannot be fetched. pc is even and in the window.
FETCH_IR = f"""
define internal {{ i64, i64 }} @fetch(ptr noalias %cx, i64 %pc) {abi.ATTRIBUTES} {{
  {abi.of_context("window", "base")}
  {abi.of_context("size", "size")}
  {abi.of_context("memory", "memory")}
  {abi.of_context("flags0", "page_flags")}
  %mem = inttoptr i64 %memory to ptr
  %flags = inttoptr i64 %flags0 to ptr
  %offset = sub i64 %pc, %window
  %page = lshr i64 %offset, {PAGE_SHIFT}
  %fp = getelementptr i8, ptr %flags, i64 %page
  %f = load i8, ptr %fp
  %x = and i8 %f, {EXECUTABLE}
  %executable = icmp ne i8 %x, 0
  br i1 %executable, label %read, label %fail
read:
  %where = getelementptr i8, ptr %mem, i64 %pc
  %inside = and i64 %pc, {PAGE_MASK}
  %whole = icmp ule i64 %inside, {PAGE_SIZE - 4}
  br i1 %whole, label %wide, label %narrow
wide:
  %w4 = load i32, ptr %where, align 1
  br label %done
narrow:
  %w2 = load i16, ptr %where, align 1
  %low = zext i16 %w2 to i32
  %low2 = and i32 %low, 3
  %is.long = icmp eq i32 %low2, 3
  br i1 %is.long, label %second, label %done
second:
  %offset2 = add i64 %offset, 2
  %fits = icmp ult i64 %offset2, %size
  br i1 %fits, label %second.flags, label %fail
second.flags:
  %page2 = lshr i64 %offset2, {PAGE_SHIFT}
  %fp2 = getelementptr i8, ptr %flags, i64 %page2
  %f2 = load i8, ptr %fp2
  %x2 = and i8 %f2, {EXECUTABLE}
  %executable2 = icmp ne i8 %x2, 0
  br i1 %executable2, label %second.read, label %fail
second.read:
  %where2 = getelementptr i8, ptr %where, i64 2
  %w2b = load i16, ptr %where2, align 1
  %high = zext i16 %w2b to i32
  %high2 = shl i32 %high, 16
  %both = or i32 %high2, %low
  br label %done
done:
  %word = phi i32 [ %w4, %wide ], [ %low, %narrow ], [ %both, %second.read ]
  %last.page = phi i64 [ %page, %wide ], [ %page, %narrow ], [ %page2, %second.read ]
  %word.wide = zext i32 %word to i64
  %found0 = insertvalue {{ i64, i64 }} poison, i64 %word.wide, 0
  %found = insertvalue {{ i64, i64 }} %found0, i64 %last.page, 1
  ret {{ i64, i64 }} %found
fail:
  ret {{ i64, i64 }} {{ i64 -1, i64 0 }}
}}
"""

# What is decoded at pc where nothing is fused: one instruction, whose bytes are all that matters.
_ALONE = """
  %pair = call { i64, i64 } @decode_word(i32 %word)
"""

# Where something is: see `threaded_fusion`.
_FUSED = """
  %alone = call { i64, i64 } @decode_word(i32 %word)
  %alone.first = extractvalue { i64, i64 } %alone, 0
  %alone.immediate = extractvalue { i64, i64 } %alone, 1
  %pair = call { i64, i64 } @fused(ptr %cx, i64 %pc, i64 %alone.first, i64 %alone.immediate)
"""


def decode_text(*, fuses: bool) -> str:
    """``i64 decode(context, record)``, which makes a record and those behind it.

    It fetches as `rvjit.machine.fetch` does, and returns 0, or 1 more than the `Exit` where there
    is no instruction. A record that holds a mark keeps it; its handler goes to the side. Where
    sequences are fused (*fuses*), the bytes behind matter too. Handlers of the instructions before
    take in each one as far as there are such (see `threaded_extend`).
    """
    earlier = range(1, abi.LONGEST_SEQUENCE)
    phis = "\n  ".join(
        f"%n{back} = phi i64 [ 0, %0 ], [ {f'%e{back - 1}' if back > 1 else '%number'}, %on ]\n  "
        f"%r{back} = phi i64 [ 0, %0 ], [ {f'%r{back - 1}' if back > 1 else '%r'}, %on ]"
        for back in earlier
    )
    extensions = "\n  ".join(
        f"%e{back} = call i64 @extend(ptr %cx, i64 %n{back}, i64 %r{back}, i64 %before, i64 %first)"
        for back in earlier
    )
    last_page = "%word.page"
    look_on = ""
    if fuses:
        last_page = "%last.page"
        look_on = f"{last_page} = call i64 @last_page(ptr %cx, i64 %pc, i64 %word.page)"
    return f"""
define internal i64 @decode(ptr noalias %cx, ptr %rec) noinline {abi.ATTRIBUTES} {{
  {abi.of_context("bias", "pc_bias")}
  {abi.of_context("window", "base")}
  {abi.of_context("code_base", "code_base")}
  {abi.of_context("code_size", "code_size")}
  {abi.of_context("flags0", "page_flags")}
  {abi.of_context("handlers0", "handlers")}
  {abi.of_context("visits0", "first_visits")}
  {abi.of_context("records", "records")}
  {abi.of_context("sides", "sides")}
  %flags = inttoptr i64 %flags0 to ptr
  %handlers = inttoptr i64 %handlers0 to ptr
  %visits = shl i64 %visits0, 24
  %last.p = getelementptr i32, ptr %handlers, i64 {len(abi.MARKS)}
  %last.mark = load i32, ptr %last.p
  %rec0 = ptrtoint ptr %rec to i64
  br label %next
next:
  %r = phi i64 [ %rec0, %0 ], [ %r.next, %on ]
  %count = phi i64 [ 0, %0 ], [ %count1, %on ]
  ; the word of the instruction before this one; handlers that end with it, and their records
  %before = phi i64 [ 0, %0 ], [ %first, %on ]
  {phis}
  %at = inttoptr i64 %r to ptr
  %start = icmp eq i64 %count, 0
  %old = load i32, ptr %at
  %index = lshr i64 %r, {abi.RECORD_SHIFT}
  %pc = add i64 %index, %bias
  %distance = sub i64 %pc, %code_base
  %covered = icmp ult i64 %distance, %code_size
  ; every page of the span is inside the window
  br i1 %covered, label %fetch, label %uncovered
uncovered:
  %none = select i1 %start, i64 {int(Exit.NO_CODE) + 1}, i64 0
  ret i64 %none
fail:
  %exact = select i1 %start, i64 {int(Exit.EXACT) + 1}, i64 0
  ret i64 %exact
fetch:
  %fetched = call {{ i64, i64 }} @fetch(ptr %cx, i64 %pc)
  %word.wide = extractvalue {{ i64, i64 }} %fetched, 0
  %word.page = extractvalue {{ i64, i64 }} %fetched, 1
  %unfetched = icmp eq i64 %word.wide, -1
  br i1 %unfetched, label %fail, label %decode
decode:
  %word = trunc i64 %word.wide to i32
  {(_FUSED if fuses else _ALONE).strip()}
  %first = extractvalue {{ i64, i64 }} %pair, 0
  %immediate = extractvalue {{ i64, i64 }} %pair, 1
  %illegal = icmp eq i64 %first, 0
  br i1 %illegal, label %fail, label %good
good:
  ; a record behind the first that is there already is only looked at, to be taken in
  %empty = icmp eq i32 %old, 0
  %fill = or i1 %empty, %start
  %number = and i64 %first, 65535
  br i1 %fill, label %write, label %known
known:
  %is.mark = icmp ule i32 %old, %last.mark
  br i1 %is.mark, label %done, label %look.back
write:
  %hp = getelementptr i32, ptr %handlers, i64 %number
  %handler = load i32, ptr %hp
  %handler.wide = zext i32 %handler to i64
  %fields0 = lshr i64 %first, {AT_REGISTERS}
  %fields1 = and i64 %fields0, {0xFFFFFF}
  %fields2 = or i64 %fields1, %visits
  %fields = shl i64 %fields2, 32
  %old.wide = zext i32 %old to i64
  %low.half = select i1 %empty, i64 %handler.wide, i64 %old.wide
  %whole.record = or i64 %fields, %low.half
  store i64 %whole.record, ptr %at, align 8
  %relative0 = lshr i64 %first, {AT_OFFSET}
  %relative = trunc i64 %relative0 to i1
  %start.of = select i1 %relative, i64 %window, i64 0
  %placed = sub i64 %immediate, %start.of
  %at.imm = getelementptr i8, ptr %at, i64 {abi.AT_IMM}
  store i64 %placed, ptr %at.imm, align 8
  %offset = sub i64 %pc, %window
  %page = lshr i64 %offset, {PAGE_SHIFT}
  %fp = getelementptr i8, ptr %flags, i64 %page
  %f.now = load i8, ptr %fp
  %f.slow = and i8 %f.now, {~STORE_FAST & 0xFF}
  %f.held = or i8 %f.slow, {HOLDS_CODE}
  store i8 %f.held, ptr %fp
  {look_on}
  %lp = getelementptr i8, ptr %flags, i64 {last_page}
  %l.now = load i8, ptr %lp
  %l.slow = and i8 %l.now, {~STORE_FAST & 0xFF}
  %l.held = or i8 %l.slow, {HOLDS_CODE}
  store i8 %l.held, ptr %lp
  br i1 %empty, label %look.back, label %hide
hide:
  %d = sub i64 %r, %records
  %s = ashr i64 %d, {abi.SIDE_SHIFT}
  %s4 = add i64 %s, {abi.AT_HIDDEN}
  %side0 = add i64 %sides, %s4
  %side = inttoptr i64 %side0 to ptr
  store i32 %handler, ptr %side
  br label %look.back
look.back:
  {extensions}
  br i1 %fill, label %move, label %done
move:
  %count1 = add i64 %count, 1
  %full = icmp eq i64 %count1, {abi.DECODE_AHEAD}
  %ends0 = lshr i64 %first, {AT_ENDS}
  %ends = trunc i64 %ends0 to i1
  %stop = or i1 %full, %ends
  %length0 = lshr i64 %first, {AT_LENGTH}
  %length = and i64 %length0, 255
  %step = shl i64 %length, {abi.RECORD_SHIFT}
  %r.next = add i64 %r, %step
  br i1 %stop, label %done, label %on
on:
  br label %next
done:
  ret i64 0
}}
"""


def field_of(text: FunctionText, name: str, low: int, mask: int) -> str:
    """Emit a field of a word that `decode_word` returns."""
    return text.value(f"and i64 {text.value(f'lshr i64 {name}, {low}')}, {mask}")
