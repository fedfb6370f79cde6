"""Inlined loads and stores: range check, page flag, slow path, reservation."""

from __future__ import annotations

from rvjit.codegen import abi
from rvjit.codegen.exits import Exits, ResumePoint
from rvjit.codegen.groups import BlockPlan, Plan, Range
from rvjit.codegen.loops import NOTHING_PROVEN, Proven
from rvjit.codegen.lower import Lowering
from rvjit.codegen.text import FunctionText, signed
from rvjit.isa import Insn
from rvjit.isa.expr import Op
from rvjit.isa.spec import Access, Atomic
from rvjit.machine.layout import NO_RESERVATION
from rvjit.machine.pages import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, READABLE, STORE_FAST
from rvjit.machine.rules import Rules


class MemoryAccess:
    """Writes the memory accesses of a region's instructions, one block after the other."""

    def __init__(
        self, text: FunctionText, exits: Exits, rules: Rules, base: int, size: int
    ) -> None:
        self._text = text
        self._exits = exits
        self._rules = rules
        self._base = base
        self._size = size
        self._plans: dict[int, Plan] = {}
        self._proven = NOTHING_PROVEN
        self._resume: ResumePoint | None = None

    def start_block(self, plan: BlockPlan, proven: Proven = NOTHING_PROVEN) -> None:
        """Say what block comes next; what is *proven* need not be checked."""
        self._plans = plan.plans
        self._proven = proven

    def resume_at(self, point: ResumePoint) -> None:
        """Let failing checks from here on leave with the state at *point*."""
        self._resume = point

    def access(self, lowering: Lowering, index: int, insn: Insn, values: dict[Op, str]) -> None:
        """Write the load or store of *insn*, number *index* of its block.

        What it read goes to *values*.
        """
        effects = insn.spec.effects
        access = effects.load or effects.store
        assert access is not None
        text = self._text
        root, distance = lowering.split(access.address)
        offset = text.sum(root, distance - self._base)
        address = text.sum(root, distance) if effects.atomic is not None else ""
        if effects.atomic is not None and self._rules.aligned_atomics and access.size > 1:
            low = text.value(f"and i64 {address}, {access.size - 1}")
            self._leave_if(text.value(f"icmp ne i64 {low}, 0"))
        if effects.atomic is Atomic.SC and not self._rules.ckb_reservation:
            self._store_conditional(lowering, access, address, offset, values)
            return
        plan = self._plans.get(index, Plan(Range(0, access.size), Range(0, access.size)))
        if plan.check is not None and index not in self._proven.checks:
            self._check(offset, plan.check)
        if effects.load is not None:
            self._check_readable(offset, access.size)
        if effects.store is None:
            values[Op.LOADED] = self._plain_load(offset, access.size)
        if effects.atomic is Atomic.LR:
            self._set_reservation(address, str(access.size))
        if effects.store is None:
            return
        if plan.ready is not None and index not in self._proven.ready:
            self.ready_to_store(offset, plan.ready)
        if effects.load is not None or effects.atomic is Atomic.SC:
            values[Op.LOADED] = self._plain_load(offset, access.size)
        assert effects.store.value is not None
        value = lowering.lower(effects.store.value)
        if effects.atomic is Atomic.SC:  # CKB: the old value goes back where it fails
            reserved = text.value(f"load i64, ptr {text.slot('reservation')}")
            held = text.value(f"icmp eq i64 {reserved}, {address}")
            kind = f"i{8 * access.size}"
            value = text.value(f"select i1 {held}, {kind} {value}, {kind} {values[Op.LOADED]}")
            values[Op.SC_OK] = held
            self._set_reservation(str(signed(NO_RESERVATION)), "0")
        self._plain_store(offset, access.size, value)

    def _store_conditional(
        self,
        lowering: Lowering,
        access: Access,
        address: str,
        offset: str,
        values: dict[Op, str],
    ) -> None:
        text = self._text
        assert access.value is not None
        value = lowering.lower(access.value)
        reserved = text.value(f"load i64, ptr {text.slot('reservation')}")
        size = text.value(f"load i64, ptr {text.slot('reservation_size')}")
        same = text.value(f"icmp eq i64 {reserved}, {address}")
        sized = text.value(f"icmp eq i64 {size}, {access.size}")
        held = text.value(f"and i1 {same}, {sized}")
        do, done = text.new_label(), text.new_label()
        text.emit(f"br i1 {held}, label %{do}, label %{done}")
        text.start(do)
        self._check(offset, Range(0, access.size))
        self.ready_to_store(offset, Range(0, access.size))
        self._plain_store(offset, access.size, value)
        text.emit(f"br label %{done}")
        text.start(done)
        self._set_reservation(str(signed(NO_RESERVATION)), "0")
        values[Op.SC_OK] = held

    def _check(self, offset: str, covered: Range) -> None:
        """Leave where *covered*, relative to *offset*, is not inside the window."""
        lowest = self._text.sum(offset, covered.low)
        last = self._size - (covered.high - covered.low)
        if not lowest.startswith("%") and 0 <= int(lowest) <= last:
            return
        self._leave_if(self._text.value(f"icmp ugt i64 {lowest}, {last}"))

    def _check_readable(self, offset: str, size: int) -> None:
        """Leave where a page does not allow the load, if the rules want that known."""
        if not self._rules.strict_loads:
            return
        text = self._text
        flags = self._flags_at(offset)
        if size > 1:
            end = text.sum(offset, size - 1)
            flags = text.value(f"and i8 {flags}, {self._flags_at(end)}")
        readable = text.value(f"and i8 {flags}, {READABLE}")
        self._leave_if(text.value(f"icmp eq i8 {readable}, 0"))

    def _where(self, offset: str) -> str:
        """Host address; *offset* is summed anew where a check has begun a block since."""
        return self._text.value(f"getelementptr i8, ptr %mem, i64 {self._text.sum(offset, 0)}")

    def _plain_load(self, offset: str, size: int) -> str:
        where = self._where(offset)
        return self._text.value(f"load i{8 * size}, ptr {where}, align 1")

    def _plain_store(self, offset: str, size: int, value: str) -> None:
        where = self._where(offset)
        self._text.emit(f"store i{8 * size} {value}, ptr {where}, align 1")

    def ready_to_store(self, offset: str, covered: Range) -> None:
        """Test the page's flag; the slow path readies the page, or leaves to the exact engine."""
        text = self._text
        if covered.low:
            offset = text.sum(offset, covered.low)
        size = covered.high - covered.low
        fast = text.value(f"and i8 {self._flags_at(offset)}, {STORE_FAST}")
        slow = text.value(f"icmp eq i8 {fast}, 0")
        if size in (2, 4, 8):  # an aligned one does not cross; nearly all are
            low = text.value(f"and i64 {offset}, {size - 1}")
            crosses = text.value(f"icmp ne i64 {low}, 0")
            slow = text.value(f"or i1 {slow}, {crosses}")
        elif size > 1:
            inside = text.value(f"and i64 {offset}, {PAGE_MASK}")
            crosses = text.value(f"icmp ugt i64 {inside}, {PAGE_SIZE - size}")
            slow = text.value(f"or i1 {slow}, {crosses}")
        prepare, store = text.new_label(), text.new_label()
        text.emit(f"br i1 {slow}, label %{prepare}, label %{store}, {abi.UNLIKELY}")
        text.start(prepare)
        helper = text.value(f"load ptr, ptr {text.slot('store_slow')}")
        ready = text.value(
            f"call preserve_allcc i64 {helper}(ptr %st, ptr %flags, i64 {offset}, i64 {size}) "
            "nounwind willreturn"
        )
        refused = text.value(f"icmp eq i64 {ready}, 0")
        label = self._exit()
        text.emit(f"br i1 {refused}, label %{label}, label %{store}, {abi.UNLIKELY}")
        text.start(store)

    def _flags_at(self, offset: str) -> str:
        page = self._text.value(f"lshr i64 {offset}, {PAGE_SHIFT}")
        where = self._text.value(f"getelementptr inbounds i8, ptr %flags, i64 {page}")
        return self._text.value(f"load i8, ptr {where}")

    def _set_reservation(self, address: str, size: str) -> None:
        text = self._text
        text.emit(f"store i64 {address}, ptr {text.slot('reservation')}")
        text.emit(f"store i64 {size}, ptr {text.slot('reservation_size')}")

    def _leave_if(self, condition: str) -> None:
        """Leave to the exact engine where *condition* holds."""
        text = self._text
        go_on = text.new_label()
        text.emit(f"br i1 {condition}, label %{self._exit()}, label %{go_on}, {abi.UNLIKELY}")
        text.start(go_on)

    def _exit(self) -> str:
        """Label that leaves to the exact engine with the state of the resume point."""
        assert self._resume is not None
        return self._exits.resume(self._resume)
