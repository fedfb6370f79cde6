"""The handler contract: what the threaded engine's native parts and its Python part promise.

A **record** describes the instruction at one pc. There is one for every halfword of the executable
span, in order, so that a pc and the address of its record are linear in each other::

    0  u32  offset of the handler from the start of the code; 0: not decoded yet
    4  u8   rd (x0: `SINK`), rs1, rs2
    7  u8   what is left of 256 counted visits (see `Context.hot_threshold`)
    8  i64  immediate; for jumps to pc + immediate the distance between the records; for accesses
            less by the first address of the window

The record of a fused operation has up to five registers, in `ROLES`, and its bytes in `AT_LENGTH`
(fields of the second half only where there is no immediate).

Beside each record is a **side**: u32 count of rounds of counted visits, u32 offset of the handler
that a mark (`Marks`) hides.

A **handler** is a native function that runs the instruction of one record, or of some that follow
each other, and goes to the handler of the next::

    void handler(code, left, page_flags, record, memory, state, context, limit, last, a, b, c) ghccc

* *memory* is the host's address of the window's first byte, *last* the last offset in the window
  at which 8 bytes begin.
* *limit* is what the limit word was at the entry, or the cycles then if those were more; *left* is
  how many cycles there are up to it. A handler takes its price from *left* before anything else;
  where that would go below zero it leaves with `Exit.LIMIT` and nothing done. One of several
  instructions takes the prices of all, gives back those of what a branch leaves out, and leaves
  with `ALONE` at an instruction that it does not do, which `enter` runs by itself.
* Transfers backwards and through registers compare the limit word with *limit* and leave with
  `Exit.LIMIT` where somebody has zeroed it. `Context.needed` is 0 then; otherwise it is what the
  limit would have to be for the next instruction. They count the visit if the code is made so;
  `enter` always does.
* pc is derived from *record*; `State.pc` and `State.cycles` are stale, and the slot of `State.pc`
  is written by instructions whose destination is x0.
* A handler leaves by going to `leave` with the kind of exit in *a*, which sets the fields
  `exit_...` of the context and returns; from these `enter` makes pc, cycles and exit_reason. What
  cannot be done here (faults, stores to code) leaves with `Exit.EXACT` and the state from before
  the instruction.
* *a*, *b*, *c* pass values to the cold functions and are otherwise undefined.

The functions for Python, in the C convention::

    void enter(context)                run from State.pc until something leaves
    i64 step(context, i64 count)       run up to count instructions; how many were run
    void decode_words(words, out, n)   decode u32 words to pairs of i64, for tests

`step` moves the limit word from one instruction to the next, by compare and exchange, so that a
request from another thread is not lost; it does not restore the word.
"""

from __future__ import annotations

import ctypes
from enum import IntFlag

from rvjit.machine.layout import LAYOUT_VERSION, offset_of, word_of
from rvjit.machine.rules import Rules
from rvjit.machine.stop import Exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

# Raised with every change of what is generated for the same rules; part of the key.
VERSION = 16

# Symbols of the blob.
ENTRIES = ("enter", "step", "decode_words")
TABLE = "handlers"  # u32 offsets of all handlers, by number

RECORD_BYTES = 16
RECORD_SHIFT = 3  # record bytes for each byte of code, as a power of two
SIDE_SHIFT = 1  # record bytes for each byte of a side, as a power of two
SIDE_BYTES = RECORD_BYTES >> SIDE_SHIFT
AT_RD, AT_RS1, AT_RS2, AT_VISITS, AT_IMM = 4, 5, 6, 7, 8
AT_ROUNDS, AT_HIDDEN = 0, 4

# Of fused operations.
ROLES = (AT_RD, AT_RS1, AT_IMM, AT_IMM + 1, AT_IMM + 2)
AT_LENGTH = AT_RS2

# Where results for x0 go: the register-file index of a word that is stale while handlers run.
SINK = word_of("pc")

# Bytes of code before and after the span to which a jump may lead without a check.
REACH = 1 << 21

# Most instructions that one handler runs.
LONGEST_SEQUENCE = 4

# Instructions decoded ahead of the one that is asked for.
DECODE_AHEAD = 64


def key(rules: Rules, *, counts: bool) -> str:
    """Everything that the code depends on, but for the compiler and the host's CPU."""
    return f"threaded {VERSION} layout {LAYOUT_VERSION} counts {counts} {rules.key}"


class Marks(IntFlag):
    """Handlers that stand for something other than an instruction; the bits of `Context.passed`."""

    ENTER = 1  # compiled code begins here
    BREAKPOINT = 2


class Context(ctypes.Structure):
    """What native code knows of one machine; all fields are 64-bit words.

    Only the running thread writes it.
    """

    _fields_: ClassVar = [
        ("state", ctypes.c_uint64),
        ("memory", ctypes.c_uint64),  # host address of guest address 0, modulo 2**64
        ("page_flags", ctypes.c_uint64),
        ("code", ctypes.c_uint64),  # address of the blob
        ("handlers", ctypes.c_uint64),  # u32 offsets of handlers, by number
        ("base", ctypes.c_uint64),  # the guest's window
        ("size", ctypes.c_uint64),
        ("code_base", ctypes.c_uint64),  # the executable span
        ("code_size", ctypes.c_uint64),
        ("records", ctypes.c_uint64),  # address of the record of code_base
        ("sides", ctypes.c_uint64),
        ("pc_bias", ctypes.c_uint64),  # pc = address of its record / 8 + pc_bias
        ("needed", ctypes.c_uint64),  # see above
        ("passed", ctypes.c_uint64),  # Marks that are run over, not stopped at
        # Rounds of 256 counted visits after which a record leaves with HOT; 0 for never.
        ("hot_threshold", ctypes.c_uint64),
        ("first_visits", ctypes.c_uint64),  # 0..255: what a new record has left; 0 is 256
        ("charged", ctypes.c_uint64),  # cycles between all entries and exits so far
        # How a handler left: the record to go on at, cycles left, and an `Exit` with flags. What
        # was taken but not spent is above `UNDO_SHIFT`.
        ("exit_record", ctypes.c_uint64),
        ("exit_left", ctypes.c_uint64),
        ("exit_kind", ctypes.c_uint64),
    ]


def of_context(name: str, field: str) -> str:
    """IR that makes *name* the value of a context field."""
    return f"""%p.{name} = getelementptr inbounds i8, ptr %cx, i64 {context_offset(field)}
  %{name} = load i64, ptr %p.{name}"""


def context_offset(field: str) -> int:
    """Byte offset of *field* in `Context`."""
    return int(getattr(Context, field).offset)


# Flags of `Context.exit_kind`: the price was more than was left; the instruction is one of several
# and is to be run alone.
OVER, ALONE = 1 << 8, 1 << 9
UNDO_SHIFT = 16

# The order decides which registers they are in. Addressing through the first two takes a byte more,
# and through rsi and rbx, which the state and the record get, a byte less.
PARAMETERS = (
    "ptr noalias noundef %code, i64 %left, ptr noalias noundef %flags, ptr noalias noundef %rec, "
    "ptr noalias noundef %mem, ptr noalias noundef %st, ptr noalias noundef %cx, i64 %limit, "
    "i64 %last, i64 %a, i64 %b, i64 %c"
)
ATTRIBUTES = 'nounwind "no-builtins" "no-jump-tables"="true"'
UNLIKELY = "!prof !0"
METADATA = '!0 = !{!"branch_weights", i32 1, i32 1048575}\n'


def tail_call(
    target: str,
    *,
    left: str = "%left",
    record: str = "%rec",
    a: str = "poison",
    b: str = "poison",
    c: str = "poison",
) -> str:
    """IR that ends a handler by going to *target*."""
    return (
        f"musttail call ghccc void {target}(ptr %code, i64 {left}, ptr %flags, ptr {record}, "
        f"ptr %mem, ptr %st, ptr %cx, i64 %limit, i64 %last, i64 {a}, i64 {b}, i64 {c})\n"
        "  ret void"
    )


def leave(kind: int | str, *, undo: int = 0, left: str = "%left", record: str = "%rec") -> str:
    """IR that leaves to `enter`; *undo* goes back to *left*."""
    if isinstance(kind, int):
        kind |= undo << UNDO_SHIFT
    return tail_call("@leave", left=left, record=record, a=str(kind))


def dispatch(record: str = "%rec", left: str = "%left", prefix: str = "d") -> str:
    """IR that ends a handler by going to the handler of *record*; *prefix* names its values."""
    return f"""%{prefix}.o = load i32, ptr {record}, align 8
  %{prefix}.w = zext i32 %{prefix}.o to i64
  %{prefix}.h = getelementptr i8, ptr %code, i64 %{prefix}.w
  {tail_call(f"%{prefix}.h", left=left, record=record)}"""


def _store_state(field: str, value: str) -> str:
    return f"""%p.{field} = getelementptr inbounds i8, ptr %st, i64 {offset_of(field)}
  store i64 {value}, ptr %p.{field}"""


# The handlers of marks come first, so that one compare tells them from those of instructions:
# `undecoded` is at offset 0, MARKS are the next, and `leave` follows them.
MARKS: dict[Marks, str] = {Marks.ENTER: "mark_enter", Marks.BREAKPOINT: "mark_breakpoint"}
_REASONS = {Marks.ENTER: Exit.ENTER, Marks.BREAKPOINT: Exit.BREAKPOINT}


def _mark(mark: Marks) -> str:
    return f"""
define internal ghccc void @{MARKS[mark]}({PARAMETERS}) {ATTRIBUTES} {{
  {of_context("passed", "passed")}
  %bit = and i64 %passed, {int(mark)}
  %stops = icmp eq i64 %bit, 0
  br i1 %stops, label %stop, label %pass
stop:
  {leave(int(_REASONS[mark]))}
pass:
  {tail_call("@hidden")}
}}
"""


MARKS_IR = f"""
define internal ghccc void @undecoded({PARAMETERS}) {ATTRIBUTES} {{
  %p.word = getelementptr inbounds i8, ptr %st, i64 {offset_of("limit_word")}
  %word = load atomic i64, ptr %p.word monotonic, align 8
  %same = icmp eq i64 %word, %limit
  br i1 %same, label %decode, label %stop, !prof !0
stop:
  {leave(int(Exit.LIMIT))}
decode:
  %failed = call i64 @decode(ptr %cx, ptr %rec)
  %reason = sub i64 %failed, 1
  %good = icmp eq i64 %failed, 0
  br i1 %good, label %ready, label %bad
ready:
  {dispatch()}
bad:
  {leave("%reason")}
}}
{_mark(Marks.ENTER)}
{_mark(Marks.BREAKPOINT)}
"""

_EXIT_FIELDS = {"exit_record": "ptr %rec", "exit_left": "i64 %left", "exit_kind": "i64 %a"}
_LEAVE = "\n  ".join(
    f"%p.{field} = getelementptr inbounds i8, ptr %cx, i64 {context_offset(field)}\n"
    f"  store {value}, ptr %p.{field}"
    for field, value in _EXIT_FIELDS.items()
)

COLD_IR = f"""
define internal ghccc void @leave({PARAMETERS}) {ATTRIBUTES} {{
  {_LEAVE}
  ret void
}}

; Leave this instruction to the reference.
define internal ghccc void @exact({PARAMETERS}) {ATTRIBUTES} {{
  {leave(int(Exit.EXACT))}
}}

; 256 counted visits of rec are over.
define internal ghccc void @visited({PARAMETERS}) {ATTRIBUTES} {{
  {of_context("records", "records")}
  {of_context("sides", "sides")}
  {of_context("threshold", "hot_threshold")}
  %r = ptrtoint ptr %rec to i64
  %d = sub i64 %r, %records
  %s = ashr i64 %d, {SIDE_SHIFT}
  %at = add i64 %sides, %s
  %side = inttoptr i64 %at to ptr
  %old = load i32, ptr %side
  %new = add i32 %old, 1
  store i32 %new, ptr %side
  %wide = zext i32 %new to i64
  %hot = icmp eq i64 %wide, %threshold
  br i1 %hot, label %leave, label %go
leave:
  {leave(int(Exit.HOT))}
go:
  {dispatch()}
}}

; Run the instruction that a mark at rec hides.
define internal ghccc void @hidden({PARAMETERS}) {ATTRIBUTES} {{
  {of_context("records", "records")}
  {of_context("sides", "sides")}
  %r = ptrtoint ptr %rec to i64
  %d = sub i64 %r, %records
  %s = ashr i64 %d, {SIDE_SHIFT}
  %s4 = add i64 %s, {AT_HIDDEN}
  %at = add i64 %sides, %s4
  %side = inttoptr i64 %at to ptr
  %known = load i32, ptr %side
  %unknown = icmp eq i32 %known, 0
  br i1 %unknown, label %decode, label %go
decode:
  %failed = call i64 @decode(ptr %cx, ptr %rec)
  %reason = sub i64 %failed, 1
  %good = icmp eq i64 %failed, 0
  br i1 %good, label %go, label %bad
bad:
  {leave("%reason")}
go:
  %offset = load i32, ptr %side
  %w = zext i32 %offset to i64
  %h = getelementptr i8, ptr %code, i64 %w
  {tail_call("%h")}
}}
"""


def _load_state(field: str) -> str:
    return f"""%s.{field} = getelementptr inbounds i8, ptr %st, i64 {offset_of(field)}
  %{field} = load i64, ptr %s.{field}"""


ENTRIES_IR = f"""
; Offset of the handler of the one instruction at pc, where a record has several; 0 for none.
define internal i64 @single(ptr noalias %cx, i64 %pc) {ATTRIBUTES} {{
  %fetched = call {{ i64, i64 }} @fetch(ptr %cx, i64 %pc)
  %wide = extractvalue {{ i64, i64 }} %fetched, 0
  %word = trunc i64 %wide to i32
  %pair = call {{ i64, i64 }} @decode_word(i32 %word)
  %first = extractvalue {{ i64, i64 }} %pair, 0
  %number = and i64 %first, 65535
  {of_context("handlers", "handlers")}
  %table = inttoptr i64 %handlers to ptr
  %where = getelementptr i32, ptr %table, i64 %number
  %offset = load i32, ptr %where
  %result = zext i32 %offset to i64
  ret i64 %result
}}

define void @enter(ptr noalias %cx) {ATTRIBUTES} {{
  {of_context("state", "state")}
  {of_context("memory", "memory")}
  {of_context("page_flags", "page_flags")}
  {of_context("blob", "code")}
  {of_context("records", "records")}
  {of_context("code_base", "code_base")}
  {of_context("size", "code_size")}
  {of_context("base", "base")}
  {of_context("window", "size")}
  {of_context("bias", "pc_bias")}
  %st = inttoptr i64 %state to ptr
  %first.byte = add i64 %memory, %base
  %mem = inttoptr i64 %first.byte to ptr
  %last = sub i64 %window, 8
  %flags = inttoptr i64 %page_flags to ptr
  %code = inttoptr i64 %blob to ptr
  {_load_state("pc")}
  {_load_state("cycles")}
  %p.word = getelementptr inbounds i8, ptr %st, i64 {offset_of("limit_word")}
  %word = load atomic i64, ptr %p.word monotonic, align 8
  %higher = icmp ugt i64 %cycles, %word
  %limit = select i1 %higher, i64 %cycles, i64 %word
  %left = sub i64 %limit, %cycles
  %d = sub i64 %pc, %code_base
  %inside = icmp ult i64 %d, %size
  %odd = trunc i64 %pc to i1
  %even = xor i1 %odd, true
  %covered = and i1 %inside, %even
  br i1 %covered, label %go, label %none
none:
  {_store_state("exit_reason", str(int(Exit.NO_CODE)))}
  ret void
go:
  %scaled = shl i64 %d, {RECORD_SHIFT}
  %r = add i64 %records, %scaled
  %rec = inttoptr i64 %r to ptr
  %o = load i32, ptr %rec
  %w = zext i32 %o to i64
  %h = getelementptr i8, ptr %code, i64 %w
  %p.visits = getelementptr inbounds i8, ptr %rec, i64 {AT_VISITS}
  %visits = load i8, ptr %p.visits
  %fewer = add i8 %visits, -1
  store i8 %fewer, ptr %p.visits
  %due = icmp eq i8 %fewer, 0
  %first = select i1 %due, ptr @visited, ptr %h
  br label %run
run:
  %handler = phi ptr [ %first, %go ], [ %single, %found ]
  %from = phi ptr [ %rec, %go ], [ %at, %found ]
  %there = phi i64 [ %left, %go ], [ %rest, %found ]
  call ghccc void %handler(ptr %code, i64 %there, ptr %flags, ptr %from, ptr %mem, ptr %st,
    ptr %cx, i64 %limit, i64 %last, i64 0, i64 0, i64 0)
  {of_context("record", "exit_record")}
  {of_context("over", "exit_left")}
  {of_context("kind", "exit_kind")}
  %at = inttoptr i64 %record to ptr
  %undo = lshr i64 %kind, {UNDO_SHIFT}
  %rest = add i64 %over, %undo
  %index = lshr i64 %record, {RECORD_SHIFT}
  %stopped = add i64 %index, %bias
  %several = and i64 %kind, {ALONE}
  %again = icmp ne i64 %several, 0
  br i1 %again, label %alone, label %out
alone:
  %offset = call i64 @single(ptr %cx, i64 %stopped)
  %single = getelementptr i8, ptr %code, i64 %offset
  %unknown = icmp eq i64 %offset, 0
  br i1 %unknown, label %out, label %found
found:
  br label %run
out:
  ; what is needed, where the price was too high
  %too.high = and i64 %kind, {OVER}
  %is.over = icmp ne i64 %too.high, 0
  %price.limit = sub i64 %limit, %over
  %needed = select i1 %is.over, i64 %price.limit, i64 0
  %p.needed = getelementptr inbounds i8, ptr %cx, i64 {context_offset("needed")}
  store i64 %needed, ptr %p.needed
  %spent.now = sub i64 %limit, %rest
  %reason = and i64 %kind, 255
  {_store_state("pc", "%stopped")}
  store i64 %spent.now, ptr %s.cycles
  {_store_state("exit_reason", "%reason").replace("%p.exit_reason", "%p.why")}
  %after = load i64, ptr %s.cycles
  %spent = sub i64 %after, %cycles
  {of_context("before", "charged")}
  %sum = add i64 %before, %spent
  store i64 %sum, ptr %p.before
  ret void
}}

define i64 @step(ptr %cx, i64 %count) {ATTRIBUTES} {{
  {of_context("state", "state")}
  %st = inttoptr i64 %state to ptr
  {_load_state("cycle_limit")}
  %p.cycles = getelementptr inbounds i8, ptr %st, i64 {offset_of("cycles")}
  %p.reason = getelementptr inbounds i8, ptr %st, i64 {offset_of("exit_reason")}
  %p.word = getelementptr inbounds i8, ptr %st, i64 {offset_of("limit_word")}
  %p.needed = getelementptr inbounds i8, ptr %cx, i64 {context_offset("needed")}
  %word = load atomic i64, ptr %p.word monotonic, align 8
  %zeroed = icmp eq i64 %word, 0
  ; never 0, which is the mark of a request; one instruction at a time all the same
  %cycles = load i64, ptr %p.cycles
  %fresh = icmp eq i64 %cycles, 0
  %start = select i1 %fresh, i64 1, i64 %cycles
  br i1 %zeroed, label %stopped, label %next
next:
  ; nothing fits under a limit of the cycles there are, and what is needed becomes known
  %held = phi i64 [ %word, %0 ], [ %want, %again ]
  %want = phi i64 [ %start, %0 ], [ %then, %again ]
  %done = phi i64 [ 0, %0 ], [ %ran, %again ]
  %over = icmp ugt i64 %want, %cycle_limit
  br i1 %over, label %limit, label %try
limit:
  store i64 %want, ptr %p.needed
  store i64 {int(Exit.LIMIT)}, ptr %p.reason
  ret i64 %done
try:
  %pair = cmpxchg ptr %p.word, i64 %held, i64 %want monotonic monotonic, align 8
  %swapped = extractvalue {{ i64, i1 }} %pair, 1
  br i1 %swapped, label %run, label %stopped
stopped:
  %so.far = phi i64 [ 0, %0 ], [ %done, %try ]
  store i64 0, ptr %p.needed
  store i64 {int(Exit.LIMIT)}, ptr %p.reason
  ret i64 %so.far
run:
  %before = load i64, ptr %p.cycles
  call void @enter(ptr %cx)
  %after = load i64, ptr %p.cycles
  %moved = icmp ne i64 %before, %after
  %one = zext i1 %moved to i64
  %ran = add i64 %done, %one
  %reason = load i64, ptr %p.reason
  %needed = load i64, ptr %p.needed
  %is.limit = icmp eq i64 %reason, {int(Exit.LIMIT)}
  %is.hot = icmp eq i64 %reason, {int(Exit.HOT)}
  %goes.on = or i1 %is.limit, %is.hot
  %then = select i1 %is.limit, i64 %needed, i64 %after
  %all = icmp eq i64 %ran, %count
  %asked = icmp eq i64 %then, 0
  %ends = or i1 %all, %asked
  %on = xor i1 %ends, true
  %more = and i1 %goes.on, %on
  br i1 %more, label %again, label %out
again:
  br label %next
out:
  ret i64 %ran
}}

define void @decode_words(ptr %words, ptr %out, i64 %n) {ATTRIBUTES} {{
  %none = icmp eq i64 %n, 0
  br i1 %none, label %done, label %next
next:
  %i = phi i64 [ 0, %0 ], [ %i1, %next ]
  %wp = getelementptr i32, ptr %words, i64 %i
  %word = load i32, ptr %wp
  %pair = call {{ i64, i64 }} @decode_word(i32 %word)
  %first = extractvalue {{ i64, i64 }} %pair, 0
  %second = extractvalue {{ i64, i64 }} %pair, 1
  %op = getelementptr {{ i64, i64 }}, ptr %out, i64 %i
  %oq = getelementptr i8, ptr %op, i64 8
  store i64 %first, ptr %op
  store i64 %second, ptr %oq
  %i1 = add i64 %i, 1
  %more = icmp ult i64 %i1, %n
  br i1 %more, label %next, label %done
done:
  ret void
}}
"""
