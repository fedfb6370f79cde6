"""Effects to handlers of the threaded engine: LLVM functions that run one record or some."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from rvjit.codegen import threaded_abi as abi
from rvjit.codegen.lower import Lowering
from rvjit.codegen.text import FunctionText
from rvjit.isa.expr import Op, Val
from rvjit.isa.spec import Access, Atomic, Effects, Expansion, InsnSpec, System
from rvjit.machine.layout import NO_RESERVATION, offset_of
from rvjit.machine.pages import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, READABLE, STORE_FAST
from rvjit.machine.rules import Rules
from rvjit.machine.stop import Exit

_BOTH = -1  # among the fields of a record: two registers at once


class Watch(IntEnum):
    """What a transfer of control does besides: see `threaded_abi`."""

    NOTHING = 0  # forwards: cannot be all of a loop
    LIMIT = 1  # look at the limit word
    COUNT = 2  # that, and count the visit, where visits are counted at all


@dataclass(frozen=True)
class Fixed:
    """What a form says of its operands: numbers that all its words have in common.

    With *in_place* rd is rs1. These need no look at the record, which has them all the same.
    """

    rs1: int | None = None
    rs2: int | None = None
    imm: int | None = None
    in_place: bool = False


@dataclass(frozen=True)
class Form:
    """What a handler is made for: an instruction, its length in bytes, its kind of transfer.

    *links* tells whether a jump writes rd.
    """

    spec: InsnSpec
    length: int
    fixed: Fixed
    watch: Watch = Watch.NOTHING
    links: bool = False


def form_of(encoding: InsnSpec | Expansion) -> Form:
    """What words of *encoding* are, the kind of transfer apart."""
    if isinstance(encoding, InsnSpec):
        return Form(encoding, encoding.row.length, Fixed())
    return expanded(encoding.base, encoding.row.length, encoding.operands)


def expanded(spec: InsnSpec, length: int, operands: Mapping[str, str | int]) -> Form:
    """What a spelling of *spec* is whose *operands* are numbers or names of fields."""
    row = spec.row

    def number(name: str) -> int | None:
        value = operands.get(name, 0)
        used = (row.immediate if name == "imm" else name) in row.operands
        return value if used and isinstance(value, int) else None

    in_place = operands.get("rd", 0) != 0 and operands.get("rd") == operands.get("rs1")
    rs1 = None if in_place else number("rs1")
    return Form(spec, length, Fixed(rs1, number("rs2"), number("imm"), in_place))


def is_direct(effects: Effects) -> bool:
    """Whether the target of the jump is pc + immediate."""
    jump = effects.jump
    return jump is not None and jump.target.op is Op.ADD and jump.target.args[0].op is Op.PC


def is_relative(effects: Effects) -> bool:
    """Whether the immediate of the record is relative to the window."""
    access = effects.load or effects.store
    return access is not None and _adds_immediate(access.address)


def _adds_immediate(address: Val) -> bool:
    return address.op is Op.ADD and address.args[1].op is Op.IMM


def is_even(target: Val) -> bool:
    """Whether the last operation clears bit 0."""
    return target.op is Op.AND and any(
        arg.op is Op.CONST and not arg.payload & 1 for arg in target.args
    )


class HandlerEmitter:
    """Emits the handler of *forms*, whose records follow each other, under *symbol*.

    What comes behind a branch runs where it is not taken. *forwards* says for each which operands
    are the result of the one before (1 rs1, 2 rs2). With *counts*, visits are counted.
    """

    def __init__(
        self,
        symbol: str,
        forms: tuple[Form, ...],
        rules: Rules,
        *,
        pclmul: bool,
        counts: bool,
        forwards: tuple[int, ...] = (0,),
    ) -> None:
        self._symbol = symbol
        self._forms = forms
        self._rules = rules
        self._pclmul = pclmul
        self._counts = counts
        self._forwards = forwards
        self._result = ""  # of the form before
        self._text = FunctionText()
        self._labels = 0
        self._prices = [rules.prices[form.spec.cost] for form in forms]
        self._cold: list[tuple[str, str]] = []
        self._exits: dict[tuple[int, int, str, str], str] = {}  # labels of cold parts that leave
        self._left = ""  # after all prices were taken
        self._fields: dict[int, str] = {}  # of the record at hand, by offset
        self._values: dict[Op, str] = {}
        self._record = "%rec"
        self._rd = ""  # where the result goes
        self._both = 0  # where one load gets two registers of the record

    def emit(self) -> str:
        """Return the text of the function."""
        text = self._text
        total = sum(self._prices)
        self._left = text.value(f"sub i64 %left, {total}")
        short = text.value(f"icmp ult i64 %left, {total}")
        if len(self._forms) > 1:
            self._exact_if(short, 0)
        else:
            self._leave_if(short, int(Exit.LIMIT) | abi.OVER, undo=total)
        at = 0
        for index, form in enumerate(self._forms):
            self._record = self._place("%rec", at)
            self._fields.clear()
            for bit, field in ((1, abi.AT_RS1), (2, abi.AT_RS2)):
                if self._forwards[index] & bit:
                    self._fields[field] = self._result
            if not self._same_rd(index):
                self._rd = ""
            self._both = self._find_both(index)
            self._values.clear()
            self._insn(index, form)
            at += form.length << abi.RECORD_SHIFT
        last = self._forms[-1].spec.effects
        falls_through = last.jump is None or last.jump.condition is not None
        if falls_through and last.system is not System.ECALL:
            text.emit(self._dispatch(self._place("%rec", at), Watch.NOTHING))
        return self._function()

    def _function(self) -> str:
        """Add what is cold; return the text of the function."""
        text = self._text
        for label, body in self._cold:
            self._label(label)
            text.emit(body)
        head = f"define internal ghccc void @{self._symbol}({abi.PARAMETERS}) {abi.ATTRIBUTES} {{"
        return "\n".join([head, "entry:", *text.lines, "}", ""])

    # Instructions.

    def _insn(self, index: int, form: Form) -> None:
        text = self._text
        effects = form.spec.effects
        if effects.system is System.ECALL:
            after = self._place(self._record, form.length << abi.RECORD_SHIFT)
            text.emit(abi.leave(int(Exit.SYSCALL), left=self._left, record=after))
            return

        def leaf(value: Val) -> str:
            return self._leaf(value, form)

        lowering = Lowering(text, leaf, pclmul=self._pclmul)
        if effects.load or effects.store:
            self._access(lowering, index, form)
        condition = target = ""
        if effects.jump is not None:
            if effects.jump.condition is not None:
                condition = lowering.lower(effects.jump.condition)
            if not is_direct(effects):
                clears = is_even(effects.jump.target)
                target = self._indirect(lowering.lower(effects.jump.target), index, even=clears)
        if effects.rd is not None and (effects.jump is None or form.links):
            self._result = lowering.lower(effects.rd)
            self._rd = self._rd or self._slot(abi.AT_RD)
            if not self._overwritten(index):
                text.emit(f"store i64 {self._result}, ptr {self._rd}, align 8")
        if effects.jump is None:
            return
        if condition:
            taken, other = self._new_label(), self._new_label()
            text.emit(f"br i1 {condition}, label %{taken}, label %{other}")
            self._label(taken)
        if not target:
            target = self._place(self._record, self._immediate())
        left = self._left
        unspent = sum(self._prices[index + 1 :])
        if unspent:
            self._left = text.value(f"add i64 {left}, {unspent}")
        text.emit(self._dispatch(target, form.watch))
        self._left = left
        if condition:
            self._label(other)

    def _same_rd(self, index: int) -> bool:
        """Whether rd of a form is known to be that of the one before."""
        return self._forms[index].fixed.in_place and bool(self._forwards[index] & 1)

    def _overwritten(self, index: int) -> bool:
        """Whether the next form writes the same register, and cannot leave before."""
        if index + 1 == len(self._forms) or not self._same_rd(index + 1):
            return False
        effects = self._forms[index + 1].spec.effects
        return not (effects.load or effects.store or effects.jump or effects.system)

    def _leaf(self, value: Val, form: Form) -> str:
        match value.op:
            case Op.RS1:
                at = abi.AT_RD if form.fixed.in_place else abi.AT_RS1
                return self._operand(abi.AT_RS1, at, form.fixed.rs1)
            case Op.RS2:
                return self._operand(abi.AT_RS2, abi.AT_RS2, form.fixed.rs2)
            case Op.IMM:
                in_record = form.fixed.imm is None or is_relative(form.spec.effects)
                return self._immediate() if in_record else str(form.fixed.imm)
            case Op.PC:
                return self._pc(0)
            case Op.NEXT_PC:
                return self._pc(form.length)
            case Op.RD_IS_RS1:  # x0 is `SINK` in rd
                return self._text.value(
                    f"icmp eq i64 {self._number(abi.AT_RD)}, {self._number(abi.AT_RS1)}"
                )
            case _:
                return self._values[value.op]

    def _operand(self, operand: int, at: int, fixed: int | None) -> str:
        """Value of the register *operand*, whose number is *fixed*, or in the record *at*."""
        if fixed == 0:
            return "0"
        if operand not in self._fields:
            slot = self._slot(at) if fixed is None else self._place("%st", 8 * fixed)
            self._fields[operand] = self._text.value(f"load i64, ptr {slot}, align 8")
        return self._fields[operand]

    def _slot(self, at: int) -> str:
        text = self._text
        return text.value(f"getelementptr inbounds i64, ptr %st, i64 {self._number(at)}")

    def _number(self, at: int) -> str:
        """Number of a register in the record."""
        text = self._text
        if not self._both or not self._both <= at <= self._both + 1:
            byte = text.value(f"load i8, ptr {self._place(self._record, at)}")
            return text.value(f"zext i8 {byte} to i64")
        if _BOTH not in self._fields:
            where = self._place(self._record, self._both)
            word = text.value(f"load i16, ptr {where}, align 1")
            self._fields[_BOTH] = text.value(f"zext i16 {word} to i64")
        word = self._fields[_BOTH]
        return text.value(f"lshr i64 {word}, 8" if at > self._both else f"and i64 {word}, 255")

    def _find_both(self, index: int) -> int:
        """Where two registers stand side by side that are both looked up; 0 if none do."""
        form = self._forms[index]
        effects = form.spec.effects
        fixed = form.fixed
        forwards = self._forwards[index]
        operands = form.spec.row.operands
        writes = effects.rd is not None and (effects.jump is None or form.links)
        rd = writes and not self._same_rd(index)
        rs1 = "rs1" in operands and fixed.rs1 is None and not fixed.in_place and not forwards & 1
        rs2 = "rs2" in operands and fixed.rs2 is None and not forwards & 2
        if rs1 and (rd or rs2):
            return abi.AT_RD if rd else abi.AT_RS1
        return 0

    def _immediate(self) -> str:
        if abi.AT_IMM not in self._fields:
            where = self._place(self._record, abi.AT_IMM)
            self._fields[abi.AT_IMM] = self._text.value(f"load i64, ptr {where}, align 8")
        return self._fields[abi.AT_IMM]

    def _pc(self, after: int) -> str:
        text = self._text
        record = text.value(f"ptrtoint ptr {self._record} to i64")
        index = text.value(f"lshr i64 {record}, {abi.RECORD_SHIFT}")
        pc = text.value(f"add i64 {index}, {self._context('pc_bias')}")
        return text.value(f"add i64 {pc}, {after}") if after else pc

    def _indirect(self, pc: str, index: int, *, even: bool) -> str:
        """Record of a computed pc; leaves to the reference where there is none."""
        text = self._text
        distance = text.value(f"sub i64 {pc}, {self._context('code_base')}")
        outside = text.value(f"icmp uge i64 {distance}, {self._context('code_size')}")
        self._exact_if(outside, index)
        if not even:
            self._exact_if(text.value(f"trunc i64 {distance} to i1"), index)
        scaled = text.value(f"shl i64 {distance}, {abi.RECORD_SHIFT}")
        address = text.value(f"add i64 {scaled}, {self._context('records')}")
        return text.value(f"inttoptr i64 {address} to ptr")

    def _dispatch(self, record: str, watch: Watch) -> str:
        """Go to *record*, which may be an outcome of a jump."""
        text = self._text
        if watch is not Watch.NOTHING:
            slot = self._place("%st", offset_of("limit_word"))
            word = text.value(f"load atomic i64, ptr {slot} monotonic, align 8")
            zeroed = text.value(f"icmp ne i64 {word}, %limit")
            self._leave_if(zeroed, int(Exit.LIMIT), record=record)
        if watch is Watch.COUNT and self._counts:
            slot = self._place(record, abi.AT_VISITS)
            old = text.value(f"load i8, ptr {slot}")
            new = text.value(f"add i8 {old}, -1")
            text.emit(f"store i8 {new}, ptr {slot}")
            over = text.value(f"icmp eq i8 {new}, 0")
            label = self._new_label()
            self._cold.append((label, abi.tail_call("@visited", left=self._left, record=record)))
            self._go_if(over, label)
        offset = text.value(f"load i32, ptr {record}, align 8")
        wide = text.value(f"zext i32 {offset} to i64")
        handler = text.value(f"getelementptr i8, ptr %code, i64 {wide}")
        return abi.tail_call(handler, left=self._left, record=record)

    # Memory.

    def _access(self, lowering: Lowering, index: int, form: Form) -> None:
        text = self._text
        effects = form.spec.effects
        access = effects.load or effects.store
        assert access is not None
        address = lowering.lower(access.address)
        if effects.atomic is not None and self._rules.aligned_atomics and access.size > 1:
            low = text.value(f"and i64 {address}, {access.size - 1}")
            self._exact_if(text.value(f"icmp ne i64 {low}, 0"), index)
        if effects.atomic is Atomic.SC and not self._rules.ckb_reservation:
            self._store_conditional(lowering, access, address, index)
            return
        misses_end = bool(self._rules.misses_end(effects))
        offset = address if is_relative(effects) else self._offset(address)
        self._check(offset, access.size, index, misses_end=misses_end)
        if effects.load is not None and self._rules.strict_loads:
            self._check_readable(offset, access.size, index)
        if effects.store is None:
            self._values[Op.LOADED] = self._plain_load(offset, access.size)
            if effects.atomic is Atomic.LR:
                self._set_reservation(address, str(access.size))
            return
        assert effects.store.value is not None
        if effects.atomic is None:
            self._store(offset, access.size, lowering.lower(effects.store.value), index)
            return
        self._ready_to_store(offset, access.size, index)
        self._values[Op.LOADED] = self._plain_load(offset, access.size)
        value = lowering.lower(effects.store.value)
        if effects.atomic is Atomic.SC:  # CKB: the old value goes back where it fails
            reserved = self._state("reservation")
            held = text.value(f"icmp eq i64 {reserved}, {address}")
            kind = f"i{8 * access.size}"
            old = self._values[Op.LOADED]
            value = text.value(f"select i1 {held}, {kind} {value}, {kind} {old}")
            self._values[Op.SC_OK] = held
            self._set_reservation(str(NO_RESERVATION - (1 << 64)), "0")
        self._plain_store(offset, access.size, value)

    def _store_conditional(
        self, lowering: Lowering, access: Access, address: str, index: int
    ) -> None:
        text = self._text
        assert access.value is not None
        value = lowering.lower(access.value)
        same = text.value(f"icmp eq i64 {self._state('reservation')}, {address}")
        sized = text.value(f"icmp eq i64 {self._state('reservation_size')}, {access.size}")
        held = text.value(f"and i1 {same}, {sized}")
        do, done = self._new_label(), self._new_label()
        text.emit(f"br i1 {held}, label %{do}, label %{done}")
        self._label(do)
        offset = self._offset(address)
        self._check(offset, access.size, index)
        self._ready_to_store(offset, access.size, index)
        self._plain_store(offset, access.size, value)
        text.emit(f"br label %{done}")
        self._label(done)
        self._set_reservation(str(NO_RESERVATION - (1 << 64)), "0")
        self._values[Op.SC_OK] = held

    def _offset(self, address: str) -> str:
        """Offset of *address* in the window."""
        return self._text.value(f"sub i64 {address}, {self._context('base')}")

    def _check(self, offset: str, size: int, index: int, *, misses_end: bool = False) -> None:
        """Leave where the access is not inside the window; with *misses_end* where it ends with it.

        One compare serves all sizes; what is smaller and in the last 8 bytes is looked at again,
        by handlers of one instruction.
        """
        text = self._text
        beyond = "uge" if misses_end else "ugt"
        if size == 8 or len(self._forms) > 1:
            over = beyond if size == 8 else "ugt"
            self._exact_if(text.value(f"icmp {over} i64 {offset}, %last"), index)
            return
        near, on = self._new_label(), self._new_label()
        high = text.value(f"icmp ugt i64 {offset}, %last")
        text.emit(f"br i1 {high}, label %{near}, label %{on}, {abi.UNLIKELY}")
        self._label(near)
        last = text.value(f"sub i64 {self._context('size')}, {size}")
        self._exact_if(text.value(f"icmp {beyond} i64 {offset}, {last}"), index)
        text.emit(f"br label %{on}")
        self._label(on)

    def _check_readable(self, offset: str, size: int, index: int) -> None:
        text = self._text
        flags = self._flags_at(offset)
        if size > 1:
            end = text.value(f"add i64 {offset}, {size - 1}")
            flags = text.value(f"and i8 {flags}, {self._flags_at(end)}")
        readable = text.value(f"and i8 {flags}, {READABLE}")
        self._exact_if(text.value(f"icmp eq i8 {readable}, 0"), index)

    def _plain_load(self, offset: str, size: int) -> str:
        where = self._text.value(f"getelementptr i8, ptr %mem, i64 {offset}")
        return self._text.value(f"load i{8 * size}, ptr {where}, align 1")

    def _plain_store(self, offset: str, size: int, value: str) -> None:
        where = self._text.value(f"getelementptr i8, ptr %mem, i64 {offset}")
        self._text.emit(f"store i{8 * size} {value}, ptr {where}, align 1")

    def _store(self, offset: str, size: int, value: str, index: int) -> None:
        """Store where the page is ready and the address aligned; else `store_cold` does it."""
        text = self._text
        wide = value if size == 8 else text.value(f"zext i{8 * size} {value} to i64")
        rest = sum(self._prices[index + 1 :])
        length = self._forms[index].length << abi.RECORD_SHIFT
        label = self._new_label()
        cold = f"%rest{index} = add i64 {self._left}, {rest}\n  " + abi.tail_call(
            f"@store_cold{size}",
            left=f"%rest{index}",
            record=self._record,
            a=offset,
            b=wide,
            c=str(self._prices[index] << 8 | length),
        )
        self._cold.append((label, cold))
        if size > 1:
            low = text.value(f"and i64 {offset}, {size - 1}")
            self._go_if(text.value(f"icmp ne i64 {low}, 0"), label)
        fast = text.value(f"and i8 {self._flags_at(offset)}, {STORE_FAST}")
        self._go_if(text.value(f"icmp eq i8 {fast}, 0"), label)
        self._plain_store(offset, size, value)

    def _ready_to_store(self, offset: str, size: int, index: int) -> None:
        """Make the pages ready here and now, for rare instructions."""
        text = self._text
        fast = text.value(f"and i8 {self._flags_at(offset)}, {STORE_FAST}")
        slow = text.value(f"icmp eq i8 {fast}, 0")
        inside = text.value(f"and i64 {offset}, {PAGE_MASK}")
        crosses = text.value(f"icmp ugt i64 {inside}, {PAGE_SIZE - size}")
        slow = text.value(f"or i1 {slow}, {crosses}")
        prepare, store = self._new_label(), self._new_label()
        text.emit(f"br i1 {slow}, label %{prepare}, label %{store}, {abi.UNLIKELY}")
        self._label(prepare)
        ready = text.value(
            "call preserve_allcc i64 @store_slow"
            f"(ptr %st, ptr %flags, i64 {offset}, i64 {size}) nounwind willreturn"
        )
        refused = text.value(f"icmp eq i64 {ready}, 0")
        self._exact_if(refused, index)
        text.emit(f"br label %{store}")
        self._label(store)

    def _flags_at(self, offset: str) -> str:
        page = self._text.value(f"lshr i64 {offset}, {PAGE_SHIFT}")
        where = self._text.value(f"getelementptr inbounds i8, ptr %flags, i64 {page}")
        return self._text.value(f"load i8, ptr {where}")

    def _state(self, field: str) -> str:
        return self._text.value(f"load i64, ptr {self._place('%st', offset_of(field))}")

    def _set_reservation(self, address: str, size: str) -> None:
        for field, value in (("reservation", address), ("reservation_size", size)):
            self._text.emit(f"store i64 {value}, ptr {self._place('%st', offset_of(field))}")

    # Text.

    def _context(self, field: str) -> str:
        return self._text.value(f"load i64, ptr {self._place('%cx', abi.context_offset(field))}")

    def _place(self, pointer: str, offset: int | str) -> str:
        if offset == 0:
            return pointer
        return self._text.value(f"getelementptr inbounds i8, ptr {pointer}, i64 {offset}")

    def _exact_if(self, condition: str, index: int) -> None:
        """Leave to the reference with the state from before the instruction.

        One of several instructions goes to its own handler first.
        """
        kind = int(Exit.EXACT) | (abi.ALONE if len(self._forms) > 1 else 0)
        self._leave_if(condition, kind, undo=sum(self._prices[index:]))

    def _leave_if(
        self, condition: str, kind: int, *, undo: int = 0, record: str | None = None
    ) -> None:
        wanted = kind, undo, self._left, self._record if record is None else record
        if wanted not in self._exits:
            label = self._exits[wanted] = self._new_label()
            body = abi.leave(kind, undo=undo, left=self._left, record=wanted[3])
            self._cold.append((label, body))
        self._go_if(condition, self._exits[wanted])

    def _go_if(self, condition: str, label: str) -> None:
        on = self._new_label()
        self._text.emit(f"br i1 {condition}, label %{label}, label %{on}, {abi.UNLIKELY}")
        self._label(on)

    def _new_label(self) -> str:
        self._labels += 1
        return f"b{self._labels}"

    def _label(self, name: str) -> None:
        self._text.start(name)


def store_cold(size: int) -> str:
    """The rest of a store of *size* bytes whose page is not ready, or that is not aligned.

    *a* is its offset, known to be inside the window, *b* the value, *c* the price times 256 plus
    the distance to the next record.
    """
    low = "" if size == 8 else f"%low = trunc i64 %b to i{8 * size}"
    return f"""
define internal ghccc void @store_cold{size}({abi.PARAMETERS}) {abi.ATTRIBUTES} {{
  %page = lshr i64 %a, {PAGE_SHIFT}
  %fp = getelementptr inbounds i8, ptr %flags, i64 %page
  %f = load i8, ptr %fp
  %fast = and i8 %f, {STORE_FAST}
  %slow = icmp eq i8 %fast, 0
  %inside = and i64 %a, {PAGE_MASK}
  %crosses = icmp ugt i64 %inside, {PAGE_SIZE - size}
  %prepare = or i1 %slow, %crosses
  br i1 %prepare, label %slowly, label %store
slowly:
  %ready = call preserve_allcc i64 @store_slow(ptr %st, ptr %flags, i64 %a, i64 {size})
  %refused = icmp eq i64 %ready, 0
  br i1 %refused, label %exact, label %store
exact:
  %price = lshr i64 %c, 8
  %back = add i64 %left, %price
  {abi.leave(int(Exit.EXACT), left="%back")}
store:
  {low}
  %where = getelementptr i8, ptr %mem, i64 %a
  store i{8 * size} {"%b" if size == 8 else "%low"}, ptr %where, align 1
  %distance = and i64 %c, 255
  %next = getelementptr inbounds i8, ptr %rec, i64 %distance
  {abi.dispatch("%next")}
}}
"""
