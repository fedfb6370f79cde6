"""Native code that makes the handler of a record longer by the instruction that follows."""

from __future__ import annotations

from collections.abc import Mapping

from rvjit.codegen import threaded_abi as abi
from rvjit.codegen.text import FunctionText
from rvjit.codegen.threaded_decoder import AT_REGISTERS, field_of

# Multiplicative hashing: Knuth's factor, of 2**32 over the golden ratio.
_HASH_FACTOR = 2654435769
_HASH_SHIFT = 20


def extend_text(longer: Mapping[tuple[int, int, int], int]) -> str:
    """``i64 extend(context, number, record, before, word)``: add an instruction to a handler.

    *number* is the handler of *record* and of what follows up to *before*, *word* what
    `decode_word` says of the instruction behind that; *longer* has the numbers for handler, next
    handler and what is forwarded. It returns the number of the longer handler, which goes into the
    record, or 0. What is only the beginning of handlers has a number, but an offset of 0.
    """
    slots = 4 << len(longer).bit_length()
    table = [0] * slots
    for (number, following, forwards), found in longer.items():
        key = (number << 16 | following) << 2 | forwards
        at = _hashed(key) % slots
        while table[at]:
            at = (at + 1) % slots
        table[at] = key << 16 | found
    entries = ", ".join(f"i64 {entry}" for entry in table)
    forwarded = FunctionText()
    rd = field_of(forwarded, "%before", AT_REGISTERS, 0xFF)
    bits = []
    for bit in (1, 2):
        source = field_of(forwarded, "%word", AT_REGISTERS + 8 * bit, 0xFF)
        same = forwarded.value(f"icmp eq i64 {rd}, {source}")
        bits.append(forwarded.value(f"select i1 {same}, i64 {bit}, i64 0"))
    either = forwarded.value(f"or i64 {bits[0]}, {bits[1]}")
    shown = "\n".join(forwarded.lines)
    return f"""
@longer = internal constant [{slots} x i64] [{entries}]

define internal i64 @extend(ptr noalias %cx, i64 %number, i64 %r, i64 %before, i64 %word)
    noinline {abi.ATTRIBUTES} {{
entry:
  %dead = icmp eq i64 %number, 0
  br i1 %dead, label %none, label %alive
alive:
{shown}
  %following = and i64 %word, 65535
  %high = shl i64 %number, 16
  %both = or i64 %high, %following
  %key0 = shl i64 %both, 2
  %key1 = or i64 %key0, {either}
  br label %try
try:
  %key = phi i64 [ %key1, %alive ], [ %key0, %missed ]
  %product = mul i64 %key, {_HASH_FACTOR}
  %hashed = lshr i64 %product, {_HASH_SHIFT}
  br label %look
look:
  %any = phi i64 [ %hashed, %try ], [ %following.slot, %other ]
  %slot = and i64 %any, {slots - 1}
  %where = getelementptr i64, ptr @longer, i64 %slot
  %entry.word = load i64, ptr %where
  %entry.key = lshr i64 %entry.word, 16
  %hit = icmp eq i64 %entry.key, %key
  br i1 %hit, label %found, label %miss
miss:
  %empty = icmp eq i64 %entry.word, 0
  br i1 %empty, label %missed, label %other
other:
  %following.slot = add i64 %slot, 1
  br label %look
missed:
  ; one that forwards nothing serves for all
  %last.try = icmp eq i64 %key, %key0
  br i1 %last.try, label %none, label %try
none:
  ret i64 0
found:
  %result = and i64 %entry.word, 65535
  {abi.of_context("table", "handlers")}
  %handlers = inttoptr i64 %table to ptr
  %at = inttoptr i64 %r to ptr
  %now = load i32, ptr %at
  %last.p = getelementptr i32, ptr %handlers, i64 {len(abi.MARKS)}
  %last.mark = load i32, ptr %last.p
  %marked = icmp ule i32 %now, %last.mark
  br i1 %marked, label %done, label %set
set:
  %handler.p = getelementptr i32, ptr %handlers, i64 %result
  %handler = load i32, ptr %handler.p
  %begins = icmp eq i32 %handler, 0
  br i1 %begins, label %done, label %put
put:
  store i32 %handler, ptr %at
  br label %done
done:
  ret i64 %result
}}
"""


def _hashed(key: int) -> int:
    return (key * _HASH_FACTOR & (1 << 64) - 1) >> _HASH_SHIFT
