"""Native code of many short runs from one checkpoint: go back, write the input, run, note the end.

`ROUND` is the structure that is worked on, 64-bit words in that order. The functions are

    i64 rounds(ptr round)       do rounds from `next` to `count`; why it stopped (`Need`)
    void round_note(ptr round)  note the machine's state as the end of round `next`

`rounds` comes back as soon as a round needs Python; `next` is that round. A round that ended is
noted, and `next` is the one after it. While it runs nothing else may use the machine.

What is noted of a round: `stops` (an `Ended`), `cycles`, `pcs`, `values` (a0). With *cover_size*
the bytes at *cover* are counters: of each it is remembered in `seen` which classes (`CLASSES`) it
has ever had, and `fresh` says for every round whether it had any that none before had.
"""

from __future__ import annotations

from enum import IntEnum

from rvjit.codegen.levels import LEVELS_IR, TRACKER
from rvjit.isa.registers import A0, A7
from rvjit.machine.layout import offset_of
from rvjit.machine.pages import (
    DIRTY,
    HOLDS_CODE,
    LISTED,
    PAGE_SHIFT,
    STORE_FAST,
    WRITABLE,
)
from rvjit.machine.stop import Exit

ROUND = (
    "tracker",  # address of a tracker: `rvjit.codegen.levels`
    "run",  # address of the function that runs the machine natively,
    "first",  # and its arguments
    "second",
    "third",
    "next",  # number of the round
    "count",
    "inputs",  # address of the bytes of all inputs, one after the other,
    "ends",  # and of count + 1 offsets into them: 0, and where each input ends
    "offset",  # where in guest memory they are written
    "size_at",  # address of the word that gets the size of the input
    "exit_one",  # numbers of the system calls that end the guest; 2**64 - 1 for none
    "exit_two",
    "untils",  # address of pcs that end a round, and how many there are
    "until_count",
    "stops",  # addresses of the results: u8,
    "cycles",  # u64,
    "pcs",  # u64,
    "values",  # u64,
    "fresh",  # u8
    "cover",  # offset in guest memory of the counters, a multiple of 8,
    "cover_size",  # how many there are, a multiple of 8,
    "seen",  # address of as many bytes,
    "classes",  # and of CLASSES
)


class Need(IntEnum):
    """Why `rounds` came back."""

    NOTHING = 0  # all rounds are done
    BEGIN = 1  # the machine or its memory has to be made ready by Python for this round
    GO_ON = 2  # this round is in the middle: what `State.exit_reason` says has to be done


class Ended(IntEnum):
    """How a round ended."""

    OTHERWISE = 0  # not here
    EXIT = 1  # by a system call that ends the guest; a0 is its argument
    UNTIL = 2  # at one of `untils`


def _class_of(count: int) -> int:
    """Return the bit of a counter's class: 1, 2, 3, 4-7, 8-15, 16-31, 32-127, 128-255."""
    bounds = (1, 2, 3, 4, 8, 16, 32, 128, 256)
    return sum(1 << bit for bit in range(8) if bounds[bit] <= count < bounds[bit + 1])


CLASSES = bytes(map(_class_of, range(256)))

_ADDRESSES = {"tracker", "run", "inputs", "ends", "size_at", "untils", "stops", "cycles", "pcs"}
_ADDRESSES |= {"values", "fresh", "seen", "classes"}


def _load(*fields: str) -> str:
    lines = []
    for field in fields:
        lines.append(f"  %b.{field} = getelementptr i64, ptr %b, i64 {ROUND.index(field)}")
        kind = "ptr" if field in _ADDRESSES else "i64"
        lines.append(f"  %{field} = load {kind}, ptr %b.{field}")
    return "\n".join(lines)


def _load_tracker(*fields: str) -> str:
    lines = []
    for field in fields:
        lines.append(f"  %t.{field} = getelementptr i64, ptr %tracker, i64 {TRACKER.index(field)}")
        lines.append(f"  %{field} = load ptr, ptr %t.{field}")
    return "\n".join(lines)


def _state(name: str, field: str, extra: int = 0) -> str:
    return f"  %{name} = getelementptr i8, ptr %state, i64 {offset_of(field) + extra}"


_ROUNDS = f"""
define i64 @rounds(ptr %b) nounwind {{
{_load("tracker", "run", "first", "second", "third", "next", "count", "inputs", "ends", "offset")}
{_load("size_at", "exit_one", "exit_two", "untils", "until_count", "stops")}
{_load_tracker("state", "memory", "flags", "listed")}
{_state("p.count", "dirty_count")}
{_state("p.reason", "exit_reason")}
{_state("p.a7", "x", 8 * A7)}
{_state("p.pc", "pc")}
  %target = getelementptr i8, ptr %memory, i64 %offset
  %first.page = lshr i64 %offset, {PAGE_SHIFT}
  br label %round
round:
  %i = phi i64 [ %next, %0 ], [ %i1, %ended ]
  store i64 %i, ptr %b.next
  %all = icmp uge i64 %i, %count
  br i1 %all, label %done, label %begin
done:
  ret i64 {int(Need.NOTHING)}
begin:
  %refused = call i64 @level_restore(ptr %tracker)
  %ready = icmp eq i64 %refused, 0
  br i1 %ready, label %write, label %not.ready
not.ready:
  ret i64 {int(Need.BEGIN)}
write:
  %p.start = getelementptr i64, ptr %ends, i64 %i
  %start = load i64, ptr %p.start
  %i1 = add i64 %i, 1
  %p.end = getelementptr i64, ptr %ends, i64 %i1
  %end = load i64, ptr %p.end
  %size = sub i64 %end, %start
  store i64 %size, ptr %size_at
  %source = getelementptr i8, ptr %inputs, i64 %start
  %empty = icmp eq i64 %size, 0
  br i1 %empty, label %go, label %pages
pages:
  %size1 = sub i64 %size, 1
  %last.byte = add i64 %offset, %size1
  %last.page = lshr i64 %last.byte, {PAGE_SHIFT}
  br label %page
page:
  %p = phi i64 [ %first.page, %pages ], [ %p1, %marked ]
  %p.flag = getelementptr i8, ptr %flags, i64 %p
  %flag = load i8, ptr %p.flag
  %kinds = and i8 %flag, {WRITABLE | HOLDS_CODE}
  %plain = icmp eq i8 %kinds, {WRITABLE}
  br i1 %plain, label %mark, label %not.ready
mark:
  %new.flag = or i8 %flag, {(DIRTY | LISTED | STORE_FAST) - 256}
  store i8 %new.flag, ptr %p.flag
  %was = and i8 %flag, {LISTED}
  %known = icmp ne i8 %was, 0
  br i1 %known, label %marked, label %list
list:
  %n = load i64, ptr %p.count
  %p.entry = getelementptr i32, ptr %listed, i64 %n
  %p32 = trunc i64 %p to i32
  store i32 %p32, ptr %p.entry
  %n1 = add i64 %n, 1
  store i64 %n1, ptr %p.count
  br label %marked
marked:
  %p1 = add i64 %p, 1
  %more.pages = icmp ule i64 %p1, %last.page
  br i1 %more.pages, label %page, label %copy
copy:
  %words = and i64 %size, -8
  br label %word
word:
  %w = phi i64 [ 0, %copy ], [ %w8, %word.copied ]
  %in.words = icmp ult i64 %w, %words
  br i1 %in.words, label %word.copied, label %byte
word.copied:
  %w.from = getelementptr i8, ptr %source, i64 %w
  %w.value = load i64, ptr %w.from, align 1
  %w.to = getelementptr i8, ptr %target, i64 %w
  store i64 %w.value, ptr %w.to, align 1
  %w8 = add i64 %w, 8
  br label %word
byte:
  %c = phi i64 [ %w, %word ], [ %c1, %byte.copied ]
  %in.bytes = icmp ult i64 %c, %size
  br i1 %in.bytes, label %byte.copied, label %go
byte.copied:
  %c.from = getelementptr i8, ptr %source, i64 %c
  %c.value = load i8, ptr %c.from
  %c.to = getelementptr i8, ptr %target, i64 %c
  store i8 %c.value, ptr %c.to
  %c1 = add i64 %c, 1
  br label %byte
go:
  call void %run(i64 %first, i64 %second, i64 %third)
  %reason = load i64, ptr %p.reason
  switch i64 %reason, label %in.the.middle [
    i64 {int(Exit.SYSCALL)}, label %call
    i64 {int(Exit.BREAKPOINT)}, label %stopped
    i64 {int(Exit.NO_CODE)}, label %stopped
  ]
call:
  %number = load i64, ptr %p.a7
  %one = icmp eq i64 %number, %exit_one
  %two = icmp eq i64 %number, %exit_two
  %exits = or i1 %one, %two
  br i1 %exits, label %ended, label %in.the.middle
stopped:
  %pc = load i64, ptr %p.pc
  br label %look
look:
  %u = phi i64 [ 0, %stopped ], [ %u1, %compare ]
  %in.untils = icmp ult i64 %u, %until_count
  br i1 %in.untils, label %compare, label %in.the.middle
compare:
  %p.until = getelementptr i64, ptr %untils, i64 %u
  %until = load i64, ptr %p.until
  %u1 = add i64 %u, 1
  %here = icmp eq i64 %until, %pc
  br i1 %here, label %ended, label %look
in.the.middle:
  ret i64 {int(Need.GO_ON)}
ended:
  %how = phi i8 [ {int(Ended.EXIT)}, %call ], [ {int(Ended.UNTIL)}, %compare ]
  %p.stop = getelementptr i8, ptr %stops, i64 %i
  store i8 %how, ptr %p.stop
  call void @round_note(ptr %b)
  br label %round
}}
"""

_NOTE = f"""
define void @round_note(ptr %b) nounwind {{
{_load("tracker", "next", "cycles", "pcs", "values", "fresh")}
{_load("cover", "cover_size", "seen", "classes")}
{_load_tracker("state", "memory")}
{_state("p.now", "cycles")}
{_state("p.pc", "pc")}
{_state("p.a0", "x", 8 * A0)}
  %now = load i64, ptr %p.now
  %pc = load i64, ptr %p.pc
  %a0 = load i64, ptr %p.a0
  %p.cycles = getelementptr i64, ptr %cycles, i64 %next
  store i64 %now, ptr %p.cycles
  %p.pcs = getelementptr i64, ptr %pcs, i64 %next
  store i64 %pc, ptr %p.pcs
  %p.value = getelementptr i64, ptr %values, i64 %next
  store i64 %a0, ptr %p.value
  %counters = getelementptr i8, ptr %memory, i64 %cover
  br label %word
word:
  %w = phi i64 [ 0, %0 ], [ %w8, %step ]
  %new = phi i8 [ 0, %0 ], [ %new.after, %step ]
  %more = icmp ult i64 %w, %cover_size
  br i1 %more, label %look, label %done
look:
  %p.word = getelementptr i8, ptr %counters, i64 %w
  %eight = load i64, ptr %p.word, align 8
  %w8 = add i64 %w, 8
  %quiet = icmp eq i64 %eight, 0
  br i1 %quiet, label %step, label %byte
byte:
  %c = phi i64 [ %w, %look ], [ %c1, %byte ]
  %new.c = phi i8 [ %new, %look ], [ %new.c1, %byte ]
  %p.counter = getelementptr i8, ptr %counters, i64 %c
  %counter = load i8, ptr %p.counter
  %counter64 = zext i8 %counter to i64
  %p.class = getelementptr i8, ptr %classes, i64 %counter64
  %class = load i8, ptr %p.class
  %p.seen = getelementptr i8, ptr %seen, i64 %c
  %before = load i8, ptr %p.seen
  %after = or i8 %before, %class
  store i8 %after, ptr %p.seen
  %difference = xor i8 %before, %after
  %new.c1 = or i8 %new.c, %difference
  %c1 = add i64 %c, 1
  %more.bytes = icmp ult i64 %c1, %w8
  br i1 %more.bytes, label %byte, label %step
step:
  %new.after = phi i8 [ %new, %look ], [ %new.c1, %byte ]
  br label %word
done:
  %any = icmp ne i8 %new, 0
  %answer = zext i1 %any to i8
  %p.fresh = getelementptr i8, ptr %fresh, i64 %next
  store i8 %answer, ptr %p.fresh
  ret void
}}
"""

CHECKPOINTS_IR = f"{LEVELS_IR}{_NOTE}{_ROUNDS}"
