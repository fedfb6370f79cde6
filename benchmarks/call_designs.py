"""Two ways to make guest calls, measured on one recursive function written by hand.

    python -m benchmarks.call_designs [--depth N] [--repeat N]

The guest is Fibonacci's recursion with its frame in guest memory. *host*: a guest call is a host
call, and what comes back is compared with the return address, as regions do. *tail*: every jump,
call and return is a tail call through the table of entries, places behind calls are entries of
their own. Both carry the same words in host registers and have the entry check of the cycle limit
and the window checks of the frame. Printed are nanoseconds of CPU time for one call with return.
"""

from __future__ import annotations

import argparse
import ctypes
import time
from collections.abc import Sequence

from rvjit.codegen.arena import Arena
from rvjit.codegen.llvm import compiler

_BASE, _SIZE = 0x10000, 1 << 20
_ENTRY, _FIRST, _SECOND, _HOME = (_BASE + offset for offset in (0, 16, 32, 48))
_TABLE, _LIMIT = 0, 8  # where the state holds the table's address and the cycle limit

_WORDS = "ptr noalias %st, ptr noalias %mem, i64 %cy, i64 %ra, i64 %sp, i64 %s0, i64 %s1, i64 %a0"
_RESULT = "{ i64, i64, i64, i64, i64, i64 }"  # pc, cycles, sp, s0, s1, a0


def _arguments(*words: str) -> str:
    """Write the arguments of a call; *words* are cycles, ra, sp, s0, s1 and a0."""
    return ", ".join(["ptr %st", "ptr %mem", *(f"i64 {word}" for word in words)])


def _checks(name: str, leave: str) -> str:
    """IR that compares the cycle limit and the frame below sp with their bounds."""
    return f"""
  %limitp = getelementptr i8, ptr %st, i64 {_LIMIT}
  %limit = load atomic i64, ptr %limitp monotonic, align 8
  %need = add i64 %cy, 16
  %over = icmp ugt i64 %need, %limit
  %low = sub i64 %sp, {_BASE + 24}
  %out = icmp ugt i64 %low, {_SIZE - 24}
  %bad = or i1 %over, %out
  br i1 %bad, label %{leave}, label %{name}, !prof !0
"""


def _slot(prefix: str, pc: str) -> str:
    """IR that looks *pc* up in the table of entries."""
    return f"""
  %{prefix}d = sub i64 {pc}, {_BASE}
  %{prefix}i = lshr i64 %{prefix}d, 1
  %{prefix}t = load ptr, ptr %st
  %{prefix}p = getelementptr ptr, ptr %{prefix}t, i64 %{prefix}i
  %{prefix} = load atomic ptr, ptr %{prefix}p monotonic, align 8
"""


_PUSH = f"""
  %f = sub i64 %sp, 24
  %fo = sub i64 %f, {_BASE}
  %p0 = getelementptr i8, ptr %mem, i64 %fo
  %p1 = getelementptr i8, ptr %p0, i64 8
  %p2 = getelementptr i8, ptr %p0, i64 16
  store i64 %ra, ptr %p0
  store i64 %s0, ptr %p1
  store i64 %s1, ptr %p2
  %n1 = sub i64 %a0, 1
"""

_POP = f"""
  %top = sub i64 %sp, {_BASE}
  %q0 = getelementptr i8, ptr %mem, i64 %top
  %q1 = getelementptr i8, ptr %q0, i64 8
  %q2 = getelementptr i8, ptr %q0, i64 16
  %old = load i64, ptr %q0
  %olds0 = load i64, ptr %q1
  %olds1 = load i64, ptr %q2
  %up = add i64 %sp, 24
"""


def _host() -> str:
    call = f"call x86_regcallcc {_RESULT}"

    def result(name: str, values: tuple[str, ...]) -> str:
        lines, last = [], "poison"
        for index, value in enumerate(values):
            lines.append(f"  %{name}{index} = insertvalue {_RESULT} {last}, i64 {value}, {index}")
            last = f"%{name}{index}"
        return "\n".join([*lines, f"  ret {_RESULT} {last}"])

    def unpack(name: str) -> str:
        return "\n".join(
            f"  %{name}{field} = extractvalue {_RESULT} %{name}, {index}"
            for index, field in enumerate(("pc", "cy", "sp", "s0", "s1", "a0"))
        )

    return f"""
define dso_local x86_regcallcc {_RESULT} @fib({_WORDS}) nounwind {{
  {_checks("go", "leave")}
leave:
{result("l", ("-1", "%cy", "%sp", "%s0", "%s1", "%a0"))}
go:
  %small = icmp ult i64 %a0, 2
  %c1 = add i64 %cy, 8
  br i1 %small, label %leaf, label %deep
leaf:
{result("r", ("%ra", "%c1", "%sp", "%s0", "%s1", "%a0"))}
deep:
{_PUSH}
  {_slot("code", str(_ENTRY))}
  %x = {call} %code({_arguments("%c1", str(_FIRST), "%f", "%a0", "%s1", "%n1")})
{unpack("x")}
  %back = icmp eq i64 %xpc, {_FIRST}
  br i1 %back, label %first, label %away, !prof !1
first:
  %n2 = sub i64 %xs0, 2
  %c2 = add i64 %xcy, 4
  {_slot("again", str(_ENTRY))}
  %y = {call} %again({_arguments("%c2", str(_SECOND), "%xsp", "%xs0", "%xa0", "%n2")})
{unpack("y")}
  %back2 = icmp eq i64 %ypc, {_SECOND}
  br i1 %back2, label %second, label %away2, !prof !1
away:
  ret {_RESULT} %x
away2:
  ret {_RESULT} %y
second:
  %sum = add i64 %ya0, %ys1
  %c3 = add i64 %ycy, 8
{_POP.replace("%sp", "%ysp")}
{result("z", ("%old", "%c3", "%up", "%olds0", "%olds1", "%sum"))}
}}
define i64 @enter(ptr %st, ptr %mem, i64 %sp, i64 %n) nounwind {{
  %x = {call} @fib({_arguments("0", str(_HOME), "%sp", "0", "0", "%n")})
  %v = extractvalue {_RESULT} %x, 5
  ret i64 %v
}}
!0 = !{{!"branch_weights", i32 1, i32 1048575}}
!1 = !{{!"branch_weights", i32 1048575, i32 1}}
"""


def _tail() -> str:
    def go(name: str, code: str, words: Sequence[str]) -> str:
        call = f"musttail call ghccc i64 {code}({_arguments(*words)})"
        return f"  %{name} = {call}\n  ret i64 %{name}"

    return f"""
define dso_local ghccc i64 @fib({_WORDS}) nounwind {{
  {_checks("go", "leave")}
leave:
  ret i64 -1
go:
  %small = icmp ult i64 %a0, 2
  %c1 = add i64 %cy, 8
  br i1 %small, label %leaf, label %deep
leaf:
  {_slot("home", "%ra")}
{go("l", "%home", ("%c1", "%ra", "%sp", "%s0", "%s1", "%a0"))}
deep:
{_PUSH}
  {_slot("code", str(_ENTRY))}
{go("d", "%code", ("%c1", str(_FIRST), "%f", "%a0", "%s1", "%n1"))}
}}
define dso_local ghccc i64 @first({_WORDS}) nounwind {{
  {_checks("go", "leave")}
leave:
  ret i64 -1
go:
  %n2 = sub i64 %s0, 2
  %c2 = add i64 %cy, 4
  {_slot("code", str(_ENTRY))}
{go("d", "%code", ("%c2", str(_SECOND), "%sp", "%s0", "%a0", "%n2"))}
}}
define dso_local ghccc i64 @second({_WORDS}) nounwind {{
  {_checks("go", "leave")}
leave:
  ret i64 -1
go:
  %sum = add i64 %a0, %s1
  %c3 = add i64 %cy, 8
{_POP}
  {_slot("home", "%old")}
{go("d", "%home", ("%c3", "%old", "%up", "%olds0", "%olds1", "%sum"))}
}}
define dso_local ghccc i64 @home({_WORDS}) nounwind {{
  ret i64 %a0
}}
define i64 @enter(ptr %st, ptr %mem, i64 %sp, i64 %n) nounwind {{
  %v = call ghccc i64 @fib({_arguments("0", str(_HOME), "%sp", "0", "0", "%n")})
  ret i64 %v
}}
!0 = !{{!"branch_weights", i32 1, i32 1048575}}
"""


class Design:
    """One design, compiled and ready to run."""

    def __init__(self, arena: Arena, text: str) -> None:
        blob = compiler().compile_plain(text)
        address = arena.place(blob.code)
        self._table = (ctypes.c_uint64 * 64)()
        for name, pc in (("fib", _ENTRY), ("first", _FIRST), ("second", _SECOND), ("home", _HOME)):
            if name in blob.symbols:
                self._table[(pc - _BASE) // 2] = address + blob.symbols[name]
        self._state = (ctypes.c_uint64 * 64)(ctypes.addressof(self._table), 1 << 62)
        self._memory = ctypes.create_string_buffer(_SIZE)
        word = ctypes.c_uint64
        self._enter = ctypes.CFUNCTYPE(word, ctypes.c_void_p, ctypes.c_void_p, word, word)(
            address + blob.symbols["enter"]
        )

    def run(self, depth: int) -> tuple[int, float]:
        """Return what the guest computed and the CPU seconds."""
        started = time.process_time()
        state, memory = ctypes.addressof(self._state), ctypes.addressof(self._memory)
        value = self._enter(state, memory, _BASE + _SIZE, depth)
        return value, time.process_time() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--depth", type=int, default=34, metavar="N", help="Fibonacci number")
    parser.add_argument("--repeat", type=int, default=9, metavar="N")
    options = parser.parse_args()
    arena = Arena()
    designs = {"host": Design(arena, _host()), "tail": Design(arena, _tail())}
    best: dict[str, float] = {}
    expected, calls = 0, 1
    for _ in range(options.depth):  # fib(n) takes 2 fib(n + 1) - 1 calls
        expected, calls = calls, calls + expected
    for _ in range(options.repeat):
        for name, design in designs.items():
            value, seconds = design.run(options.depth)
            if value != expected:
                raise SystemExit(f"{name}: fib({options.depth}) is {expected}, not {value}")
            best[name] = min(best.get(name, seconds), seconds)
    for name, seconds in best.items():
        print(f"{name}: {seconds * 1e9 / (2 * calls - 1):.2f} ns a call with return")
    print(f"tail / host: {best['tail'] / best['host']:.2f}")


if __name__ == "__main__":
    main()
