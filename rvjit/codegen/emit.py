"""Regions to LLVM IR: registers, metering, calls, exits.

Guest registers that a region names live in allocas, which SROA turns into SSA values. Exits store
the registers that may differ from the state buffer; exits that store the same ones share a block,
with phi nodes for pc and cycles. A check that fails leaves with the state from before its
instruction, so the exact engine runs that instruction again and finds the fault itself.
"""

from __future__ import annotations

from rvjit.codegen import abi
from rvjit.codegen.access import MemoryAccess
from rvjit.codegen.affine import displacement
from rvjit.codegen.blocks import Key, Node, RegionSource
from rvjit.codegen.dataflow import analyse, segments, writes
from rvjit.codegen.exits import Exits, ResumePoint
from rvjit.codegen.groups import BlockPlan, plan_block
from rvjit.codegen.loops import LoopEntry
from rvjit.codegen.lower import Lowering
from rvjit.codegen.tables import JumpTable
from rvjit.codegen.text import FunctionText, signed
from rvjit.isa import Insn
from rvjit.isa.expr import Op, Val
from rvjit.isa.spec import System
from rvjit.machine.rules import Rules


class RegionEmitter:
    """Emits one region. *base* and *size* are the guest's memory window, constants in the code.

    *slots* is how many slots the dispatch table has: calls to code beyond it return to `enter`.
    """

    def __init__(
        self, source: RegionSource, rules: Rules, base: int, size: int, slots: int, *, pclmul: bool
    ) -> None:
        self._source = source
        self._nodes = source.nodes
        self._rules = rules
        self._base = base
        self._slots = slots
        self._pclmul = pclmul
        self._flow = analyse(source.nodes)
        self._text = FunctionText()
        self._exits = Exits(self._text)
        self._memory = MemoryAccess(self._text, self._exits, rules, base, size)
        self._loop = LoopEntry(self._text, self._register, rules, base, size)
        self._held: dict[int, str] = {}  # names of registers, since the block's start
        self._condition = ""
        self._again: tuple[Key, str] = ((), 0), ""
        self._entry_address = ""  # of the jump table's entry that the block loaded

    def emit(self) -> str:
        """Return the text of the whole function."""
        text = self._text
        entry = next(iter(self._nodes.values()))
        for number in _numbers(self._flow.registers):
            text.emit(f"%x{number} = alloca i64")
        text.emit("%cy = alloca i64")
        text.emit("store i64 %cy0, ptr %cy")
        for number in abi.HOT:
            text.emit(f"store i64 %h{number}, ptr %x{number}")
        self._load(self._flow.entry[entry.key])
        if any(node.calls for node in self._nodes.values()):
            self._check_host_stack()
        text.emit(f"br label %{entry.label}")
        for node in self._nodes.values():
            self._node(node)
        self._exits.close(max(node.bound for node in self._nodes.values()))
        tables = any(node.table is not None for node in self._nodes.values())
        attributes = abi.TABLE_ATTRIBUTES if tables else abi.FUNCTION_ATTRIBUTES
        name = abi.region_symbol(self._source.pc)
        head = (
            f"define dso_local {abi.CONVENTION} {abi.REGION_RESULT} @{name}"
            f"({abi.REGION_PARAMETERS}) {attributes} {{\nentry:\n"
        )
        return head + "\n".join(text.lines) + "\n}\n"

    def _check_host_stack(self) -> None:
        """Go back to `enter` where the host's stack is nearly used; it calls us again."""
        text = self._text
        here = text.value("call i64 @llvm.read_register.i64(metadata !2)")
        lowest = text.value(f"load i64, ptr {text.slot('host_stack_limit')}")
        low = text.value(f"icmp ult i64 {here}, {lowest}")
        go_on = text.new_label()
        leave = self._exits.jump(text.here, str(signed(self._source.pc)), "%cy0", 0)
        text.emit(f"br i1 {low}, label %{leave}, label %{go_on}, {abi.UNLIKELY}")
        text.start(go_on)

    def _load(self, mask: int) -> None:
        """Load registers from the state buffer."""
        for number in _numbers(mask):
            self._write(number, self._text.value(f"load i64, ptr {self._text.register(number)}"))

    # Blocks.

    def _node(self, node: Node) -> None:
        text = self._text
        plan = plan_block(node.block, self._rules)
        self._start(node.label)
        self._load(self._flow.start[node.key])
        if self._loop.pays(node, plan):
            self._emit_loop(node, plan)
            return
        cycles = text.value("load i64, ptr %cy")
        self._memory.start_block(plan)
        self._body(node, cycles, node.bound if node.checkpoint else None)

    def _emit_loop(self, node: Node, plan: BlockPlan) -> None:
        """Emit a block that loops on itself twice: plainly, and without what can be checked before.

        The block's label is the entry of the quick copy's preparation; the plain copy comes back
        there after each turn.
        """
        text = self._text
        quick, plain = text.new_label(), text.new_label()
        proven, last = self._loop.prepare(node, plan, plain)
        text.emit(f"br label %{quick}")
        self._start(quick)
        cycles = text.value("load i64, ptr %cy")
        go_on = text.new_label()
        done = text.value(f"icmp ugt i64 {cycles}, {last}")
        text.emit(f"br i1 {done}, label %{plain}, label %{go_on}, {abi.UNLIKELY}")
        text.start(go_on)
        self._memory.start_block(plan, proven)
        self._body(node, cycles, again=quick)
        self._start(plain)
        cycles = text.value("load i64, ptr %cy")
        self._memory.start_block(plan)
        self._body(node, cycles, node.bound)

    def _check_limit(self, point: ResumePoint, bound: int) -> None:
        text = self._text
        limit = text.limit()
        need = text.value(f"add i64 {point.cycles}, {bound}")
        self._exits.leave_if(text.value(f"icmp ugt i64 {need}, {limit}"), point)

    def _body(self, node: Node, cycles: str, bound: int | None = None, again: str = "") -> None:
        """Emit the instructions of *node*, which with a *bound* begins with a checkpoint.

        *again* is where a jump to itself goes instead.
        """
        text = self._text
        block = node.block
        charges = block.charges(self._rules.prices)
        dirty = self._flow.dirty[node.key]
        self._again = node.key, again or node.label
        charged = 0
        target: str | None = None
        starts = {segment.start: segment for segment in segments(block.insns)}
        for index, (insn, pc) in enumerate(zip(block.insns, block.pcs, strict=True)):
            begins = bound is not None and not index
            if index in starts or begins:
                overwritten = 0
                for each in starts.get(index, ()):
                    overwritten |= writes(block.insns[each])
                point = self._resume_point(pc, cycles, charged, dirty, overwritten)
                self._memory.resume_at(point)
                if bound is not None and begins:
                    self._check_limit(point, bound)
            if node.table is not None and index == node.table.load:
                self._note_entry(insn)
            target = self._insn(index, insn, pc, block.target if insn is block.last else None)
            charged += charges[index]
            dirty |= writes(insn)
        after = text.value(f"add i64 {cycles}, {charged}")
        text.emit(f"store i64 {after}, ptr %cy")
        self._load(self._flow.end[node.key])
        self._terminate(node, target, after, dirty)

    def _resume_point(
        self, pc: int, cycles: str, charged: int, dirty: int, overwritten: int
    ) -> ResumePoint:
        """Note the state before the instruction at *pc*: what will be *overwritten* is kept."""
        text = self._text
        kept = {number: self._register(number) for number in _numbers(dirty & overwritten)}
        return ResumePoint(text.new_label(), pc, cycles, charged, dirty, kept)

    def _terminate(self, node: Node, target: str | None, cycles: str, dirty: int) -> None:
        """Leave *node*; *target* is its jump's, as name or constant, *cycles* the count by now."""
        text = self._text
        effects = node.block.last.spec.effects
        if effects.system is System.ECALL:
            text.emit(f"br label %{self._exits.syscall(node.block.next_pc, cycles, dirty)}")
        elif target is None or effects.jump is None:
            text.emit(f"br label %{self._edge(node.fallen, node.block.next_pc, cycles, dirty)}")
        elif effects.jump.condition is not None:
            taken = node.block.target
            assert taken is not None
            if node.taken is None and node.fallen is None:
                both = f"i64 {signed(taken)}, i64 {signed(node.block.next_pc)}"
                chosen = text.value(f"select i1 {self._condition}, {both}")
                text.emit(f"br label %{self._exits.jump(text.here, chosen, cycles, dirty)}")
                return
            ends = (
                self._edge(node.taken, taken, cycles, dirty),
                self._edge(node.fallen, node.block.next_pc, cycles, dirty),
            )
            text.emit(f"br i1 {self._condition}, label %{ends[0]}, label %{ends[1]}")
        elif node.calls:
            self._call(node, target, cycles, dirty)
        elif node.table is not None:
            self._switch(node, node.table, target, cycles, dirty)
        elif node.taken is not None and target.startswith("%"):
            self._return_inside(node.taken, target, cycles, dirty)
        else:
            text.emit(f"br label %{self._edge(node.taken, target, cycles, dirty)}")

    def _edge(self, key: Key | None, target: int | str, cycles: str, dirty: int) -> str:
        """Label of the node at *key*, or of an exit that jumps to *target*."""
        if key is not None:
            return self._again[1] if key == self._again[0] else self._nodes[key].label
        shown = (
            target if isinstance(target, str) and target.startswith("%") else signed(int(target))
        )
        return self._exits.jump(self._text.here, str(shown), cycles, dirty)

    def _return_inside(self, key: Key, target: str, cycles: str, dirty: int) -> None:
        """Return from a callee that was taken in; folds to a branch where ra is as it was set."""
        text = self._text
        back = text.value(f"icmp eq i64 {target}, {signed(key[1])}")
        out = self._exits.jump(text.here, target, cycles, dirty)
        text.emit(f"br i1 {back}, label %{self._nodes[key].label}, label %{out}, {abi.LIKELY}")

    def _note_entry(self, insn: Insn) -> None:
        """Keep the address that *insn* loads from; it may overwrite the register."""
        access = insn.spec.effects.load
        assert access is not None
        address = self._register(insn.rs1)
        self._entry_address = self._text.sum(address, displacement(insn, access))

    def _switch(self, node: Node, table: JumpTable, target: str, cycles: str, dirty: int) -> None:
        """Jump by the number of the table's entry, if *target* is what the entry was."""
        text = self._text
        distance = text.value(f"sub i64 {self._entry_address}, {signed(table.address)}")
        shift = table.size.bit_length() - 1
        # Rotated, so that an address between two entries has a number out of range.
        number = text.value(f"call i64 @llvm.fshr.i64(i64 {distance}, i64 {distance}, i64 {shift})")
        labels: dict[int, str] = {}
        for each in table.targets:
            labels.setdefault(each, text.new_label())
        away = self._exits.jump(text.here, target, cycles, dirty)
        cases = " ".join(
            f"i64 {index}, label %{labels[each]}" for index, each in enumerate(table.targets)
        )
        text.emit(f"switch i64 {number}, label %{away} [ {cases} ]")
        for (expected, label), key in zip(
            labels.items(), dict(zip(table.targets, node.cases, strict=True)).values(), strict=True
        ):
            text.start(label)
            away = self._exits.jump(label, target, cycles, dirty)
            if key is None:
                text.emit(f"br label %{away}")
                continue
            same = text.value(f"icmp eq i64 {target}, {signed(expected)}")
            go_on = self._edge(key, expected, cycles, dirty)
            text.emit(f"br i1 {same}, label %{go_on}, label %{away}, {abi.LIKELY}")

    def _call(self, node: Node, target: str, cycles: str, dirty: int) -> None:
        """Call the region at *target*; go on behind it if that is where it comes back to."""
        text = self._text
        exits = self._exits
        for number in _numbers(dirty & ~abi.HOT_MASK):
            text.emit(f"store i64 {self._register(number)}, ptr {text.register(number)}")
        code = self._callee(target, cycles)
        hot = [self._register(number) for number in abi.HOT]
        result = text.value(abi.region_call(code, "%mem", "%flags", cycles, hot))
        pc, cycles, *hot = map(text.value, abi.result_words(result))
        for number, value in zip(abi.HOT, hot, strict=True):
            self._write(number, value)
        if node.resumed is None:
            text.emit(f"br label %{exits.jump(text.here, pc, cycles, 0)}")
            return
        text.emit(f"store i64 {cycles}, ptr %cy")
        back = text.value(f"icmp eq i64 {pc}, {signed(node.block.next_pc)}")
        returned = text.new_label()
        out = exits.jump(text.here, pc, cycles, 0)
        text.emit(f"br i1 {back}, label %{returned}, label %{out}, {abi.LIKELY}")
        text.start(returned)
        self._load(self._flow.entry[node.resumed])
        text.emit(f"br label %{self._nodes[node.resumed].label}")

    def _callee(self, target: str, cycles: str) -> str:
        """Address of the code for *target*; leaves to `enter` where there is none."""
        text = self._text
        known = not target.startswith("%")
        if known and int(target) == self._source.pc:
            return f"@{abi.region_symbol(self._source.pc)}"
        pc = str(signed(int(target))) if known else target
        table = text.value(f"load ptr, ptr {text.slot('dispatch')}")
        out = text.new_label()
        if known:
            slot = (int(target) - self._base) // 2
            if not 0 <= slot < self._slots or int(target) & 1:
                slot = 0  # never used: the exit below is always taken
                missing = "true"
            else:
                missing = ""
            where = text.value(f"getelementptr inbounds ptr, ptr {table}, i64 {slot}")
        else:
            missing = ""
            distance = text.value(f"sub i64 {pc}, {signed(self._base)}")
            index = text.value(f"lshr i64 {distance}, 1")
            slots = text.value(f"load i64, ptr {text.slot('dispatch_slots')}")
            beyond = text.value(f"icmp uge i64 {index}, {slots}")
            inside = text.new_label()
            away = self._exits.jump(text.here, pc, cycles, 0)
            text.emit(f"br i1 {beyond}, label %{away}, label %{inside}, {abi.UNLIKELY}")
            text.start(inside)
            where = text.value(f"getelementptr inbounds ptr, ptr {table}, i64 {index}")
        code = text.value(f"load atomic ptr, ptr {where} monotonic, align 8")
        empty = missing or text.value(f"icmp eq ptr {code}, null")
        away = self._exits.jump(text.here, pc, cycles, 0)
        text.emit(f"br i1 {empty}, label %{away}, label %{out}, {abi.UNLIKELY}")
        text.start(out)
        return code

    # Instructions.

    def _insn(self, index: int, insn: Insn, pc: int, known: int | None) -> str | None:
        """Emit one instruction; return the target of its jump, as name or unsigned constant.

        *known* is that target where it is known before.
        """
        text = self._text
        effects = insn.spec.effects
        values: dict[Op, str] = {}

        def leaf(value: Val) -> str:
            match value.op:
                case Op.RS1:
                    return self._register(insn.rs1)
                case Op.RS2:
                    return self._register(insn.rs2)
                case Op.IMM:
                    return str(insn.imm)
                case Op.PC:
                    return str(signed(pc))
                case Op.NEXT_PC:
                    return str(signed(pc + insn.length))
                case Op.RD_IS_RS1:
                    return "true" if insn.rd and insn.rd == insn.rs1 else "false"
                case _:
                    return values[value.op]

        lowering = Lowering(text, leaf, pclmul=self._pclmul)
        if effects.load or effects.store:
            self._memory.access(lowering, index, insn, values)
        target: str | None = None
        if effects.jump is not None:
            if effects.jump.condition is not None:
                self._condition = lowering.lower(effects.jump.condition)
            target = lowering.lower(effects.jump.target) if known is None else str(known)
        if effects.rd is not None and insn.rd:
            self._write(insn.rd, lowering.lower(effects.rd))
        return target

    def _start(self, label: str) -> None:
        """Start a block that is reached from several places."""
        self._text.start(label)
        self._held = {0: "0"}

    def _register(self, number: int) -> str:
        name = self._held.get(number)
        if name is None:
            name = self._held[number] = self._text.value(f"load i64, ptr %x{number}")
        return name

    def _write(self, number: int, name: str) -> None:
        self._text.emit(f"store i64 {name}, ptr %x{number}")
        self._held[number] = name


def _numbers(mask: int) -> list[int]:
    return [number for number in range(1, 32) if mask >> number & 1]
