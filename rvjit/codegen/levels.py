"""Native code of checkpoints: copy the listed pages, and only those, in one call.

A **tracker** is a structure of 64-bit words, `TRACKER` in that order; a **level** is a record in
its arena, written by *push* at the tracker's cursor::

    0    number of pages
    8    `registers` of the tracker before
    16   the saved state, `SAVED_WORDS` words
    320  for every page: the address of its newest copy before (8 bytes each), its index (4), the
         saved flags before (1); then, aligned to 64 bytes, its contents (4096)

The functions work on the pages in the machine's dirty list, which hold no more than those that were
written, or made otherwise, since the tracker was here last::

    i64 level_push(ptr tracker)      0, or the bytes of room that the arena lacks
    i64 level_restore(ptr tracker)   0, or 1 + the index of a listed page that Python has to make
                                     ready first: it holds code, or its executability changes
    i64 level_unwind(ptr tracker)    forget the newest level and list its pages; 0

They are plain C functions with a `caller` each, are called with the interpreter lock held (a page
takes well under a microsecond), and notice nothing by themselves: their caller has seen that the
machine is at rest.
"""

from __future__ import annotations

import ctypes

from rvjit.codegen.builtin import caller
from rvjit.machine.layout import offset_of, word_of
from rvjit.machine.pages import (
    EXECUTABLE,
    HOLDS_CODE,
    LISTED,
    PAGE_SHIFT,
    PAGE_SIZE,
    SAVED_FLAGS,
    STORE_FAST,
)

TRACKER = (
    "state",  # addresses: of the state buffer,
    "memory",  # guest memory,
    "flags",  # page flags,
    "listed",  # dirty list;
    "root",  # contents of memory at the checkpoint, in the same places,
    "newest",  # for every page the address of its newest copy in the arena; 0: only the root's
    "saved_flags",  # for every page what its flags were at the newest level
    "registers",  # the saved state of the newest level
    "cursor",  # where the next level begins, a multiple of 64
    "limit",  # end of the arena
    # 1 where the next restore begins with the last listed page, else 0. They take turns, so it
    # begins with what the one before came to last, which is in the caches still.
    "downward",
)

# The words of the state buffer that are the guest's, in the order in which levels have them.
SAVED_WORDS = (
    *range(word_of("cycles") + 1),
    word_of("reservation"),
    word_of("reservation_size"),
)
STATE_AT = 16  # bytes into a level
_ENTRIES_AT = 320
_ALIGN = 64
_ROOM_LEAST = 384  # bytes of a level without pages, alignment included
_ROOM_PAGE = PAGE_SIZE + 16  # bytes of a page in it, at most

_STRIDE = 256  # bytes copied in one turn
_VECTOR = 32


def level_at(registers: int) -> tuple[int, int, int]:
    """Read the level whose saved state is at *registers*.

    Returns its number of pages, where the state of the level before is (0 for none), and the
    address of its pages' indices.
    """
    level = registers - STATE_AT
    count, before = (ctypes.c_uint64 * 2).from_address(level)
    return count, before, level + _ENTRIES_AT + 8 * count


def _load(*fields: str) -> str:
    lines = []
    for field in fields:
        lines.append(f"  %t.{field} = getelementptr i64, ptr %t, i64 {TRACKER.index(field)}")
        kind = "i64" if field in ("cursor", "limit") else "ptr"
        lines.append(f"  %{field} = load {kind}, ptr %t.{field}")
    return "\n".join(lines)


def _copy_state(source: str, target: str, *, saving: bool) -> str:
    """Copy `SAVED_WORDS`, registers as vectors of eight, the rest word by word."""
    lines = []

    def move(name: str, kind: str, word: int, index: int) -> None:
        here, there = 8 * word, 8 * index
        first, second = (here, there) if saving else (there, here)
        lines.append(f"  %s.{name} = getelementptr i8, ptr {source}, i64 {first}")
        lines.append(f"  %v.{name} = load {kind}, ptr %s.{name}, align 8")
        lines.append(f"  %d.{name} = getelementptr i8, ptr {target}, i64 {second}")
        lines.append(f"  store {kind} %v.{name}, ptr %d.{name}, align 8")

    for index in range(0, 32, 8):
        move(f"x{index}", "<8 x i64>", SAVED_WORDS[index], index)
    for index in range(32, len(SAVED_WORDS)):
        move(f"w{index}", "i64", SAVED_WORDS[index], index)
    return "\n".join(lines)


def _copy_page() -> str:
    """Copy a page between places that are aligned to 64 bytes."""
    kind = f"<{_VECTOR} x i8>"
    loads, stores = [], []
    for index, at in enumerate(range(0, _STRIDE, _VECTOR)):
        loads += [
            f"  %s{index} = getelementptr i8, ptr %from, i64 {at}",
            f"  %v{index} = load {kind}, ptr %s{index}, align {_VECTOR}",
        ]
        stores += [
            f"  %d{index} = getelementptr i8, ptr %to, i64 {at}",
            f"  store {kind} %v{index}, ptr %d{index}, align {_VECTOR}",
        ]
    body = "\n".join(loads + stores)
    return f"""
define private void @copy_page(ptr %source, ptr %target) alwaysinline nounwind {{
  br label %next
next:
  %at = phi i64 [ 0, %0 ], [ %at1, %next ]
  %from = getelementptr i8, ptr %source, i64 %at
  %to = getelementptr i8, ptr %target, i64 %at
{body}
  %at1 = add i64 %at, {_STRIDE}
  %more = icmp ult i64 %at1, {PAGE_SIZE}
  br i1 %more, label %next, label %done
done:
  ret void
}}
"""


def _module() -> str:
    return f"""
{_copy_page()}

define i64 @level_restore(ptr %t) nounwind {{
{_load("state", "memory", "flags", "listed", "root", "newest", "saved_flags", "registers")}
  %p.count = getelementptr i8, ptr %state, i64 {offset_of("dirty_count")}
  %count = load i64, ptr %p.count
  %none = icmp eq i64 %count, 0
  br i1 %none, label %state.back, label %begin
begin:
  %t.downward = getelementptr i64, ptr %t, i64 {TRACKER.index("downward")}
  %downward = load i64, ptr %t.downward
  %upward = xor i64 %downward, 1
  store i64 %upward, ptr %t.downward
  %down = icmp ne i64 %downward, 0
  %last = sub i64 %count, 1
  %first = select i1 %down, i64 %last, i64 0
  %step = select i1 %down, i64 -1, i64 1
  br label %next
next:
  %left = phi i64 [ %count, %begin ], [ %left1, %copied ]
  %i = phi i64 [ %first, %begin ], [ %i1, %copied ]
  %p.page = getelementptr i32, ptr %listed, i64 %i
  %page32 = load i32, ptr %p.page
  %page = zext i32 %page32 to i64
  %p.flag = getelementptr i8, ptr %flags, i64 %page
  %flag = load i8, ptr %p.flag
  %p.saved = getelementptr i8, ptr %saved_flags, i64 %page
  %saved = load i8, ptr %p.saved
  %changed = xor i8 %flag, %saved
  %executability = and i8 %changed, {EXECUTABLE}
  %code = and i8 %flag, {HOLDS_CODE}
  %matters = or i8 %executability, %code
  %slow = icmp ne i8 %matters, 0
  br i1 %slow, label %refuse, label %take
take:
  store i8 %saved, ptr %p.flag
  %p.newest = getelementptr ptr, ptr %newest, i64 %page
  %copy = load ptr, ptr %p.newest
  %at = shl i64 %page, {PAGE_SHIFT}
  %original = getelementptr i8, ptr %root, i64 %at
  %no = icmp eq ptr %copy, null
  %source = select i1 %no, ptr %original, ptr %copy
  %target = getelementptr i8, ptr %memory, i64 %at
  call void @copy_page(ptr %source, ptr %target)
  br label %copied
copied:
  %i1 = add i64 %i, %step
  %left1 = sub i64 %left, 1
  %more = icmp ne i64 %left1, 0
  br i1 %more, label %next, label %finish
finish:
  store i64 0, ptr %p.count
  br label %state.back
state.back:
{_copy_state("%registers", "%state", saving=False)}
  ret i64 0
refuse:
  %rest = select i1 %down, i64 0, i64 %i
  br label %keep
keep:
  %m = phi i64 [ 0, %refuse ], [ %m1, %keep ]
  %m.old = add i64 %rest, %m
  %p.old = getelementptr i32, ptr %listed, i64 %m.old
  %kept = load i32, ptr %p.old
  %p.new = getelementptr i32, ptr %listed, i64 %m
  store i32 %kept, ptr %p.new
  %m1 = add i64 %m, 1
  %m.more = icmp ult i64 %m1, %left
  br i1 %m.more, label %keep, label %refused
refused:
  store i64 %left, ptr %p.count
  %answer = add i64 %page, 1
  ret i64 %answer
}}

define i64 @level_push(ptr %t) nounwind {{
{_load("state", "memory", "flags", "listed", "newest", "saved_flags", "registers")}
{_load("cursor", "limit")}
  %p.count = getelementptr i8, ptr %state, i64 {offset_of("dirty_count")}
  %count = load i64, ptr %p.count
  %bytes = mul i64 %count, {_ROOM_PAGE}
  %needed = add i64 %bytes, {_ROOM_LEAST}
  %room = sub i64 %limit, %cursor
  %fits = icmp uge i64 %room, %needed
  br i1 %fits, label %begin, label %full
full:
  ret i64 %needed
begin:
  %level = inttoptr i64 %cursor to ptr
  store i64 %count, ptr %level
  %p.before = getelementptr i8, ptr %level, i64 8
  store ptr %registers, ptr %p.before
  %kept = getelementptr i8, ptr %level, i64 {STATE_AT}
{_copy_state("%state", "%kept", saving=True)}
  store ptr %kept, ptr %t.registers
  %olds = getelementptr i8, ptr %level, i64 {_ENTRIES_AT}
  %pages = getelementptr i64, ptr %olds, i64 %count
  %bits = getelementptr i32, ptr %pages, i64 %count
  %end = getelementptr i8, ptr %bits, i64 %count
  %end.i = ptrtoint ptr %end to i64
  %end.up = add i64 %end.i, {_ALIGN - 1}
  %data.i = and i64 %end.up, -{_ALIGN}
  %data = inttoptr i64 %data.i to ptr
  %size = shl i64 %count, {PAGE_SHIFT}
  %cursor1 = add i64 %data.i, %size
  store i64 %cursor1, ptr %t.cursor
  store i64 0, ptr %p.count
  %none = icmp eq i64 %count, 0
  br i1 %none, label %done, label %next
next:
  %i = phi i64 [ 0, %begin ], [ %i1, %copied ]
  %p.page = getelementptr i32, ptr %listed, i64 %i
  %page32 = load i32, ptr %p.page
  %page = zext i32 %page32 to i64
  %p.newest = getelementptr i64, ptr %newest, i64 %page
  %old = load i64, ptr %p.newest
  %p.old = getelementptr i64, ptr %olds, i64 %i
  store i64 %old, ptr %p.old
  %p.index = getelementptr i32, ptr %pages, i64 %i
  store i32 %page32, ptr %p.index
  %p.saved = getelementptr i8, ptr %saved_flags, i64 %page
  %saved = load i8, ptr %p.saved
  %p.bit = getelementptr i8, ptr %bits, i64 %i
  store i8 %saved, ptr %p.bit
  %p.flag = getelementptr i8, ptr %flags, i64 %page
  %flag = load i8, ptr %p.flag
  %flag.saved = and i8 %flag, {SAVED_FLAGS}
  store i8 %flag.saved, ptr %p.saved
  %flag.armed = and i8 %flag, {255 & ~(LISTED | STORE_FAST)}
  store i8 %flag.armed, ptr %p.flag
  %here = shl i64 %i, {PAGE_SHIFT}
  %target = getelementptr i8, ptr %data, i64 %here
  store ptr %target, ptr %p.newest
  %at = shl i64 %page, {PAGE_SHIFT}
  %source = getelementptr i8, ptr %memory, i64 %at
  call void @copy_page(ptr %source, ptr %target)
  br label %copied
copied:
  %i1 = add i64 %i, 1
  %more = icmp ult i64 %i1, %count
  br i1 %more, label %next, label %done
done:
  ret i64 0
}}

define i64 @level_unwind(ptr %t) nounwind {{
{_load("state", "flags", "listed", "newest", "saved_flags", "registers")}
  %p.listed = getelementptr i8, ptr %state, i64 {offset_of("dirty_count")}
  %level = getelementptr i8, ptr %registers, i64 -{STATE_AT}
  %count = load i64, ptr %level
  %p.before = getelementptr i8, ptr %level, i64 8
  %before = load ptr, ptr %p.before
  store ptr %before, ptr %t.registers
  %t.cursor = getelementptr i64, ptr %t, i64 {TRACKER.index("cursor")}
  store ptr %level, ptr %t.cursor
  %olds = getelementptr i8, ptr %level, i64 {_ENTRIES_AT}
  %pages = getelementptr i64, ptr %olds, i64 %count
  %bits = getelementptr i32, ptr %pages, i64 %count
  %listed0 = load i64, ptr %p.listed
  br label %next
next:
  %i = phi i64 [ 0, %0 ], [ %i1, %step ]
  %listed.n = phi i64 [ %listed0, %0 ], [ %listed.n1, %step ]
  %more = icmp ult i64 %i, %count
  br i1 %more, label %take, label %done
take:
  %p.index = getelementptr i32, ptr %pages, i64 %i
  %page32 = load i32, ptr %p.index
  %page = zext i32 %page32 to i64
  %p.old = getelementptr i64, ptr %olds, i64 %i
  %old = load i64, ptr %p.old
  %p.newest = getelementptr i64, ptr %newest, i64 %page
  store i64 %old, ptr %p.newest
  %p.bit = getelementptr i8, ptr %bits, i64 %i
  %bit = load i8, ptr %p.bit
  %p.saved = getelementptr i8, ptr %saved_flags, i64 %page
  store i8 %bit, ptr %p.saved
  %p.flag = getelementptr i8, ptr %flags, i64 %page
  %flag = load i8, ptr %p.flag
  %known = and i8 %flag, {LISTED}
  %new = icmp eq i8 %known, 0
  br i1 %new, label %list, label %step
list:
  %flag1 = or i8 %flag, {LISTED - 256}
  store i8 %flag1, ptr %p.flag
  %p.entry = getelementptr i32, ptr %listed, i64 %listed.n
  store i32 %page32, ptr %p.entry
  %listed.up = add i64 %listed.n, 1
  br label %step
step:
  %listed.n1 = phi i64 [ %listed.n, %take ], [ %listed.up, %list ]
  %i1 = add i64 %i, 1
  br label %next
done:
  store i64 %listed.n, ptr %p.listed
  ret i64 0
}}
"""


FUNCTIONS = ("level_push", "level_restore", "level_unwind")
LEVELS_IR = _module() + "".join(map(caller, FUNCTIONS))
