"""The region contract: everything that compiled code and its callers promise each other.

A **region** is one native function, compiled from guest code that is entered at one pc::

    { i64 pc, poison, poison, i64 cycles, i64 hot... }
    region(ptr state, ptr memory, ptr page_flags, i64 cycles, i64 hot...)    x86_regcallcc

* It is called with the **hot registers** (`HOT`) and the cycle counter in registers of the host,
  all others in the state buffer, where the hot ones, `State.pc` and `State.cycles` are stale.
* A **jump** returns the pc to go on at, the counter and the hot registers; the others are in the
  state buffer. Every **other exit** (`machine.stop.Exit`) stores all registers, pc, cycles and
  exit_reason in the state and returns the impossible pc `NOT_A_PC`, so no caller can take it for a
  return address.
* A **checkpoint** is the entry, a target of a retreating edge, or the place after a call. There
  ``cycles + price of the dearest path to the next checkpoint > limit_word`` leads to `Exit.LIMIT`
  with pc at the checkpoint and nothing behind it done; between checkpoints cycles are only added.
  Whoever wants the guest stopped zeroes that word.
* A guest call is a call of the callee's region, the others stored before. If it comes back with the
  return address, the caller goes on behind the call; else it returns the same pair to its own
  caller, so every exit unwinds the host's stack to `enter`. A region that calls first compares the
  stack pointer with host_stack_limit and returns its own pc where the stack is nearly used.
* A fault is never raised by compiled code: `Exit.EXACT` leaves the state as it is before the
  instruction, uncharged, and the exact engine runs it and finds the fault.
* It contains no address of the host: all come as arguments or from the state buffer, so that code
  may be kept on disk and used by any process.

The **enter** function runs regions until one exits otherwise than by a jump, or no region is
known for a pc (`Exit.NO_CODE`)::

    void enter(ptr state)

**alternate** does the same, but where no region is known it runs another engine, *cold*, which
comes back with `Exit.ENTER` where it meets a pc that has one. `Exit.ENTER` comes out of it for a pc
that has none after all::

    void alternate(ptr state, ptr cold, ptr cold_argument)

**store_slow** readies a range for a store, as `Memory.prepare_store` does; it returns 0 where the
exact engine has to do the store, because the page refuses it or holds translated code::

    i64 store_slow(ptr state, ptr page_flags, i64 offset, i64 size)    preserve_allcc
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence

from rvjit.machine.layout import NOT_A_PC, State, offset_of
from rvjit.machine.pages import (
    DIRTY,
    HOLDS_CODE,
    LISTED,
    PAGE_SHIFT,
    STORE_FAST,
    WRITABLE,
)
from rvjit.machine.stop import Exit

_STATE_SIZE = ctypes.sizeof(State)

# What LLVM must know of the arguments to keep guest registers in host registers (promotion across
# loops needs all of writable, dereferenceable and align).
STATE_PARAMETER = f"ptr noalias noundef writable dereferenceable({_STATE_SIZE}) align 64 %st"
# ra, sp, s0, s1, a0, a1: what nearly every function reads or saves. The convention passes twelve
# words in registers, both ways; more would leave leaf functions too few to work with.
HOT = (1, 2, 8, 9, 10, 11)
HOT_MASK = sum(1 << number for number in HOT)

CONVENTION = "x86_regcallcc"
REGION_PARAMETERS = ", ".join(
    [
        STATE_PARAMETER,
        "ptr noalias noundef %mem",
        "ptr noalias noundef %flags",
        "i64 noundef %cy0",
        *(f"i64 noundef %h{number}" for number in HOT),
    ]
)
# A result has its words where the arguments are, so that they need not be moved: pc where the state
# was, nothing in place of memory and flags, then the counter and the hot registers.
REGION_RESULT = "{ " + ", ".join(["i64"] * (4 + len(HOT))) + " }"
_RESULT_PC = 0
_RESULT_CYCLES = 3

# no-builtins: guest loops must not become memset calls. Jump tables only where the guest has one:
# what LLVM makes of the guest's comparisons with many constants is slower to compile and no faster.
TABLE_ATTRIBUTES = 'nounwind "no-builtins"'
FUNCTION_ATTRIBUTES = f'{TABLE_ATTRIBUTES} "no-jump-tables"="true"'

UNLIKELY = "!prof !0"
LIKELY = "!prof !1"
METADATA = """
!0 = !{!"branch_weights", i32 1, i32 1048575}
!1 = !{!"branch_weights", i32 1048575, i32 1}
!2 = !{!"rsp"}
"""


def region_symbol(pc: int) -> str:
    """Name of the region that is entered at *pc*."""
    return f"r{pc:x}"


def region_call(code: str, memory: str, flags: str, cycles: str, hot: Sequence[str]) -> str:
    """IR that calls a region; *hot* are the values of the hot registers."""
    registers = ", ".join(f"i64 {value}" for value in hot)
    return (
        f"call {CONVENTION} {REGION_RESULT} {code}"
        f"(ptr %st, ptr {memory}, ptr {flags}, i64 {cycles}, {registers})"
    )


def result_words(result: str) -> list[str]:
    """IR that takes pc, cycles and the hot registers out of a region's *result*."""
    places = range(_RESULT_CYCLES, _RESULT_CYCLES + 1 + len(HOT))
    return [f"extractvalue {REGION_RESULT} {result}, {at}" for at in (_RESULT_PC, *places)]


def result_with(result: str, word: int, value: str) -> str:
    """IR that puts *value* in a region's *result*, as one of the words of `result_words`."""
    at = _RESULT_CYCLES + word - 1 if word else _RESULT_PC
    return f"insertvalue {REGION_RESULT} {result}, i64 {value}, {at}"


def state_slot(name: str, field: str, extra: int = 0) -> str:
    """IR that makes *name* the address of a state field."""
    return f"%{name} = getelementptr inbounds i8, ptr %st, i64 {offset_of(field) + extra}"


# Bytes of the host's stack that nested regions may use; less where the thread has less.
HOST_STACK_SHARE = 4 << 20
HOST_STACK_LEAST = 32 << 10


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(f"  {line}" for line in lines)


_WORDS = result_words("%result")

_ENTER_IR = f"""
declare i64 @llvm.read_register.i64(metadata)

define void @enter({STATE_PARAMETER}) {FUNCTION_ATTRIBUTES} {{
  {state_slot("p.pc", "pc")}
  {state_slot("p.cycles", "cycles")}
  {state_slot("p.memory", "memory")}
  {state_slot("p.flags", "page_flags")}
  {state_slot("p.dispatch", "dispatch")}
  {state_slot("p.base", "dispatch_base")}
  {state_slot("p.slots", "dispatch_slots")}
  {state_slot("p.reason", "exit_reason")}
  {state_slot("p.low", "host_stack_low")}
  {state_slot("p.lowest", "host_stack_limit")}
  %sp = call i64 @llvm.read_register.i64(metadata !2)
  %low = load i64, ptr %p.low
  %deep = sub i64 %sp, {HOST_STACK_SHARE}
  %higher = icmp ugt i64 %deep, %low
  %bound = select i1 %higher, i64 %deep, i64 %low
  ; however little there is, the region that is called from here must be able to run
  %near = sub i64 %sp, {HOST_STACK_LEAST}
  %enough = icmp ult i64 %bound, %near
  %lowest = select i1 %enough, i64 %bound, i64 %near
  store i64 %lowest, ptr %p.lowest
  %pc0 = load i64, ptr %p.pc
  %c0 = load i64, ptr %p.cycles
  %memory = load ptr, ptr %p.memory
  %flags = load ptr, ptr %p.flags
  %dispatch = load ptr, ptr %p.dispatch
  %base = load i64, ptr %p.base
  %slots = load i64, ptr %p.slots
{_lines(f"{state_slot(f'p.{n}', 'x', 8 * n)}" for n in HOT)}
{_lines(f"%x{n} = load i64, ptr %p.{n}" for n in HOT)}
  br label %next
next:
  %pc = phi i64 [ %pc0, %0 ], [ %pc1, %ran ]
  %c = phi i64 [ %c0, %0 ], [ %c1, %ran ]
{_lines(f"%h{n} = phi i64 [ %x{n}, %0 ], [ %y{n}, %ran ]" for n in HOT)}
  %d = sub i64 %pc, %base
  %odd = and i64 %pc, 1
  %even = icmp eq i64 %odd, 0
  %slot = lshr i64 %d, 1
  %known = icmp ult i64 %slot, %slots
  %covered = and i1 %even, %known
  br i1 %covered, label %look, label %none, !prof !1
look:
  %where = getelementptr inbounds ptr, ptr %dispatch, i64 %slot
  %code = load atomic ptr, ptr %where monotonic, align 8
  %empty = icmp eq ptr %code, null
  br i1 %empty, label %none, label %call, !prof !0
call:
  %result = {region_call("%code", "%memory", "%flags", "%c", [f"%h{n}" for n in HOT])}
  %pc1 = {_WORDS[0]}
  %c1 = {_WORDS[1]}
  %stopped = icmp eq i64 %pc1, {NOT_A_PC - (1 << 64)}
  br i1 %stopped, label %done, label %ran, !prof !0
ran:
{_lines(f"%y{n} = {word}" for n, word in zip(HOT, _WORDS[2:], strict=True))}
  br label %next
none:
{_lines(f"store i64 %h{n}, ptr %p.{n}" for n in HOT)}
  store i64 %pc, ptr %p.pc
  store i64 %c, ptr %p.cycles
  store i64 {int(Exit.NO_CODE)}, ptr %p.reason
  br label %done
done:
  ret void
}}
"""

STORE_SLOW_IR = f"""
define preserve_allcc i64 @store_slow(ptr %st, ptr %flags, i64 %offset, i64 %size) {{
  {state_slot("p.list", "dirty_list")}
  {state_slot("p.count", "dirty_count")}
  %first = lshr i64 %offset, {PAGE_SHIFT}
  %size1 = add i64 %size, -1
  %end = add i64 %offset, %size1
  %last = lshr i64 %end, {PAGE_SHIFT}
  %f1p = getelementptr inbounds i8, ptr %flags, i64 %first
  %f2p = getelementptr inbounds i8, ptr %flags, i64 %last
  %f1 = load i8, ptr %f1p
  %f2 = load i8, ptr %f2p
  ; every page WRITABLE and none with code
  %m1 = and i8 %f1, {WRITABLE | HOLDS_CODE}
  %m2 = and i8 %f2, {WRITABLE | HOLDS_CODE}
  %g1 = icmp eq i8 %m1, {WRITABLE}
  %g2 = icmp eq i8 %m2, {WRITABLE}
  %good = and i1 %g1, %g2
  br i1 %good, label %mark, label %refuse
refuse:
  ret i64 0
mark:
  %page = phi i64 [ %first, %0 ], [ %last, %set ]
  %fp = getelementptr inbounds i8, ptr %flags, i64 %page
  %f = load i8, ptr %fp
  %l = and i8 %f, {LISTED}
  %new = icmp eq i8 %l, 0
  br i1 %new, label %list, label %set
list:
  %list0 = load ptr, ptr %p.list
  %count = load i64, ptr %p.count
  %entry = getelementptr inbounds i32, ptr %list0, i64 %count
  %page32 = trunc i64 %page to i32
  store i32 %page32, ptr %entry
  %count1 = add i64 %count, 1
  store i64 %count1, ptr %p.count
  br label %set
set:
  %fnew = or i8 %f, {(DIRTY | LISTED | STORE_FAST) - 256}
  store i8 %fnew, ptr %fp
  %more = icmp ne i64 %page, %last
  br i1 %more, label %mark, label %ok
ok:
  ret i64 1
}}
"""

_ALTERNATE_IR = f"""
define void @alternate(ptr %st, ptr %cold, ptr %argument) nounwind {{
  {state_slot("p.pc", "pc")}
  {state_slot("p.reason", "exit_reason")}
  br label %hot
hot:
  %known = phi i64 [ {NOT_A_PC - (1 << 64)}, %0 ], [ %pc1, %again ]
  call void @enter(ptr %st)
  %reason = load i64, ptr %p.reason
  %none = icmp eq i64 %reason, {int(Exit.NO_CODE)}
  br i1 %none, label %look, label %done
look:
  %pc = load i64, ptr %p.pc
  %wrong = icmp eq i64 %pc, %known
  br i1 %wrong, label %stale, label %run
run:
  call void %cold(ptr %argument)
  %reason1 = load i64, ptr %p.reason
  %pc1 = load i64, ptr %p.pc
  %met = icmp eq i64 %reason1, {int(Exit.ENTER)}
  br i1 %met, label %again, label %done
again:
  br label %hot
stale:
  store i64 {int(Exit.ENTER)}, ptr %p.reason
  br label %done
done:
  ret void
}}
"""

RUNTIME_IR = f"""
{_ENTER_IR}
{_ALTERNATE_IR}
{STORE_SLOW_IR}
"""
