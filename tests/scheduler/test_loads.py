"""Calls that load: what scripts see of a transaction, and code and programs out of cells."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rvjit.errors import ScriptError
from rvjit.scheduler.data import GROUP_BIT, DataPieces
from rvjit.scheduler.molecule import (
    Cell,
    CellDep,
    Header,
    Input,
    OutPoint,
    Output,
    Script,
    Transaction,
    ckb_hash,
)
from rvjit.scheduler.scheduler import Scheduler
from rvjit.scheduler.transaction import TransactionContext
from tests.engines.assemble import R, X, assemble, elf
from tests.scheduler.scripts import program

QUERY = program("query")
LOCK = Script(ckb_hash(QUERY), "data2", b"\x01\x02")
KIND = Script(b"\x07" * 32, "type", b"id")
HEADER = Header(number=1003, epoch=(1800 << 40) | (3 << 24) | 7, dao=b"\x05" * 32)
OTHER = Header(number=5)
TRANSACTION = Transaction(
    cell_deps=(CellDep(OutPoint(b"\x01" * 32, 0)), CellDep(OutPoint(b"\x01" * 32, 1))),
    header_deps=(HEADER.hash, OTHER.hash),
    inputs=(Input(OutPoint(b"\x02" * 32, 3), 0x1234), Input(OutPoint(b"\x02" * 32, 4))),
    outputs=(Output(61, LOCK, KIND), Output(500, Script())),
    outputs_data=(b"output zero", b""),
    witnesses=(b"witness 0", b"the second witness", b"witness 2"),
)
INPUTS = (
    Cell(Output(1000, Script(), KIND), b"someone else's", b"\x09" * 32),
    Cell(Output(2000, LOCK), b"ours" * 50, HEADER.hash),
)
CONTEXT = TransactionContext(
    TRANSACTION,
    inputs=INPUTS,
    cell_deps=(Cell(Output(0, LOCK), QUERY), Cell(Output(7), b"dep", OTHER.hash)),
    headers={HEADER.hash: HEADER, OTHER.hash: OTHER},
    extensions={HEADER.hash: b"an extension"},
).for_hash(LOCK.hash)

INPUT, OUTPUT, CELL_DEP, HEADER_DEP = 1, 2, 3, 4
GROUP_INPUT, GROUP_OUTPUT = GROUP_BIT | INPUT, GROUP_BIT | OUTPUT
ELSEWHERE = 0x02 << 56  # no group: counts as the transaction


def ask(number: int, *args: int, size: int = 4096, offset: int = 0) -> tuple[int, int, bytes]:
    """Have a guest make a call; return code, length and bytes."""
    printed: list[bytes] = []
    scheduler = Scheduler(
        CONTEXT,
        args=[str(each).encode() for each in (number, size, offset, *args)],
        engine="threaded",
        debug=printed.append,
    )
    try:
        scheduler.run()
    finally:
        scheduler.close()
    code, length, data = printed[0].split(b" ")
    return int(code, 16), int(length, 16), bytes.fromhex(data.decode())


def u64(value: int) -> bytes:
    return value.to_bytes(8, "little")


def names(call: tuple[int, ...]) -> str:
    return "-".join(map(hex, call))


FOUND = [
    ((2051,), TRANSACTION.packed),
    ((2052,), LOCK.packed),
    ((2061,), TRANSACTION.hash),
    ((2062,), LOCK.hash),
    ((2071, 1, INPUT), INPUTS[1].output.packed),
    ((2071, 0, GROUP_INPUT), INPUTS[1].output.packed),
    ((2071, 0, ELSEWHERE | INPUT), INPUTS[0].output.packed),
    ((2071, 0, OUTPUT), TRANSACTION.outputs[0].packed),
    ((2071, 1, CELL_DEP), Output(7).packed),
    ((2081, 0, INPUT, 0), u64(1000)),
    ((2081, 1, INPUT, 1), ckb_hash(b"ours" * 50)),
    ((2081, 1, OUTPUT, 1), bytes(32)),  # the hash of no data
    ((2081, 0, OUTPUT, 2), LOCK.packed),
    ((2081, 0, OUTPUT, 3), LOCK.hash),
    ((2081, 0, OUTPUT, 4), KIND.packed),
    ((2081, 0, OUTPUT, 5), KIND.hash),
    # 8 of capacity, a lock of 32 + 1 + 2, a type of 32 + 1 + 2, and the data.
    ((2081, 0, OUTPUT, 6), u64((8 + 35 + 35 + 11) * 10**8)),
    ((2072, 0, HEADER_DEP), HEADER.packed),
    ((2072, 1, INPUT), HEADER.packed),
    ((2072, 0, GROUP_INPUT), HEADER.packed),
    ((2072, 1, CELL_DEP), OTHER.packed),
    ((2082, 0, HEADER_DEP, 0), u64(7)),
    ((2082, 0, HEADER_DEP, 1), u64(1000)),
    ((2082, 0, HEADER_DEP, 2), u64(1800)),
    ((2073, 0, INPUT), TRANSACTION.inputs[0].packed),
    ((2073, 0, GROUP_INPUT), TRANSACTION.inputs[1].packed),
    ((2083, 0, INPUT, 0), b"\x02" * 32 + (3).to_bytes(4, "little")),
    ((2083, 0, INPUT, 1), u64(0x1234)),
    ((2074, 2, INPUT), b"witness 2"),
    ((2074, 2, OUTPUT), b"witness 2"),
    ((2074, 0, GROUP_INPUT), b"the second witness"),
    ((2104, 0, HEADER_DEP), b"an extension"),
    ((2104, 1, INPUT), b"an extension"),
    ((2092, 1, INPUT), b"ours" * 50),
    ((2092, 0, GROUP_INPUT), b"ours" * 50),
    ((2092, 0, OUTPUT), b"output zero"),
]

MISSING = [
    ((2071, 2, INPUT), 1),
    ((2071, 1, GROUP_INPUT), 1),
    ((2071, 0, GROUP_OUTPUT), 1),
    ((2071, 0, HEADER_DEP), 1),
    ((2071, 0, GROUP_BIT | CELL_DEP), 1),
    ((2081, 0, HEADER_DEP, 99), 1),  # the cell is looked up before the field
    ((2081, 1, OUTPUT, 4), 2),
    ((2081, 1, OUTPUT, 5), 2),
    ((2072, 0, INPUT), 2),  # in a block that is no header dep
    ((2072, 0, CELL_DEP), 2),  # in none
    ((2072, 0, OUTPUT), 1),
    ((2072, 2, HEADER_DEP), 1),
    ((2072, 0, GROUP_BIT | HEADER_DEP), 1),
    ((2073, 0, OUTPUT), 1),
    ((2073, 0, CELL_DEP), 1),
    ((2074, 3, INPUT), 1),
    ((2074, 0, CELL_DEP), 1),
    ((2074, 0, GROUP_OUTPUT), 1),
    ((2104, 1, HEADER_DEP), 2),
    ((2104, 0, OUTPUT), 1),
    ((2092, 5, INPUT), 1),
    ((2092, 0, HEADER_DEP), 1),
    ((2092, 1 << 32, INPUT), 1),
]

FATAL = [
    ((2071, 0, 5), "SourceEntry parse_from_u64 5"),
    ((2092, 0, 0), "SourceEntry parse_from_u64 0"),
    ((2081, 0, INPUT, 7), "CellField parse_from_u64 7"),
    ((2082, 0, HEADER_DEP, 3), "HeaderField parse_from_u64 3"),
    ((2083, 0, INPUT, 2), "InputField parse_from_u64 2"),
]


@pytest.mark.parametrize(("call", "data"), FOUND, ids=[names(call) for call, _ in FOUND])
def test_what_is_there(call: tuple[int, ...], data: bytes) -> None:
    assert ask(*call, size=2000) == (0, len(data), data[:2000])
    assert ask(*call, size=5, offset=3) == (0, max(len(data) - 3, 0), data[3:8])
    assert ask(*call, size=0) == (0, len(data), b"")
    assert ask(*call, offset=1 << 63) == (0, 0, b"")


@pytest.mark.parametrize(("call", "code"), MISSING, ids=[names(call) for call, _ in MISSING])
def test_what_is_not(call: tuple[int, ...], code: int) -> None:
    assert ask(*call, size=77) == (code, 77, b"")


@pytest.mark.parametrize(("call", "text"), FATAL)
def test_arguments_that_end_the_script(call: tuple[int, ...], text: str) -> None:
    with pytest.raises(ScriptError) as caught:
        ask(*call)
    assert (caught.value.name, caught.value.detail) == ("External", text)


LOAD = """
    _start: li sp, 0x300000
            li a0, {size}
            sd a0, 0(sp)
            mv a1, sp
            addi a0, sp, 64
            li a2, 0
            li a3, 1
            li a4, 1
            li a7, {number}
            ecall
            li a7, 93
            ecall
"""


@pytest.mark.parametrize("number", [2092, 2074])
def test_each_four_bytes_cost_a_cycle(number: int) -> None:
    witness = CONTEXT.transaction.witnesses[1]
    have = len(INPUTS[1].data) if number == 2092 else len(witness)

    def cycles(size: int) -> int:
        file = elf(assemble(LOAD.format(size=size, number=number)), R | X)
        scheduler = Scheduler(replace(CONTEXT, program=file), engine="threaded")
        return scheduler.run().consumed_cycles

    nothing = cycles(0)
    for size in (1, 4, 5, 40, 1000):
        assert cycles(size) - nothing == -(-min(size, have) // 4)


def test_there_are_no_such_calls_without_a_transaction() -> None:
    scheduler = Scheduler(QUERY, args=[b"2051"], engine="threaded")
    with pytest.raises(ScriptError, match="InvalidEcall: 2051"):
        scheduler.run()


@pytest.mark.parametrize("number", [2104, 2601, 2603, 2608])
def test_version_1_lacks_what_came_with_2(number: int) -> None:
    with pytest.raises(ScriptError, match="InvalidEcall"):
        Scheduler(CONTEXT, version=1, args=[b"%d" % number], engine="threaded").run()


# Code out of cells.

FUNCTION = assemble("_start: addi a0, a0, 22\n ret", 0).data


def as_code(data: bytes, *args: int, version: int = 2) -> int:
    pieces = DataPieces({"program": program("ascode"), "cell_dep/1": data})
    scheduler = Scheduler(
        pieces, args=[b"%d" % each for each in args], version=version, engine="threaded"
    )
    return scheduler.run().exit_code


def test_cell_data_as_code() -> None:
    assert as_code(FUNCTION) == 42
    assert as_code(bytes(100) + FUNCTION, 0x2000, 100, 8) == 42
    assert as_code(FUNCTION, 0x1000, 0, 8, version=1) == 42


@pytest.mark.parametrize(
    ("args", "end"),
    [
        ((0x1000, 0, 0), 53),  # nothing: as if there were no data
        ((0x1000, 8, 1), 53),
        ((0x1000, 0, 9), 53),
        ((4, 0, 8), 53),
        ((0x1001, 0, 8), "MemPageUnalignedAccess"),
        ((0x400000, 0, 8), "MemOutOfBound"),
        ((0x1000, (1 << 64) - 1, 8), "MemOutOfBound"),
    ],
)
def test_code_that_cannot_be(args: tuple[int, ...], end: int | str) -> None:
    if isinstance(end, int):
        assert as_code(FUNCTION, *args) == end
    else:
        with pytest.raises(ScriptError) as caught:
            as_code(FUNCTION, *args)
        assert caught.value.name == end


# exec of version 1.


def exec_1(*args: str, **pieces: bytes) -> int:
    data = {"program": program("exec1"), "cell_dep/0": program("exec1"), **pieces}
    return Scheduler(
        DataPieces(data), version=1, args=[each.encode() for each in args], engine="interp"
    ).run().exit_code  # fmt: skip


def test_exec_of_version_1() -> None:
    assert exec_1("0", "3", "0", "0") == 77
    assert exec_1("0", "3", "0", "0", "55") == 55
    inside = b"junk" + program("exec1") + b"junk"
    bounds = 4 << 32 | len(program("exec1"))
    more = {"witness/2": inside}
    assert exec_1("2", "1", "1", str(bounds), "21", **more) == 21
    assert exec_1("1", "1", "1", "0") == 101  # no such witness
    assert exec_1("0", "4", "0", "0") == 101
    assert exec_1("0", "3", "0", str(1 << 50 | 1)) == 103


@pytest.mark.parametrize(
    ("args", "name"),
    [
        (("0", "9", "0", "0"), "External"),
        (("0", "3", "2", "0"), "External"),
        # What is no program leaves blank memory, which nothing can be fetched from.
        (("1", "3", "0", "0"), "MemWriteOnExecutablePage"),
    ],
)
def test_exec_of_version_1_fails(args: tuple[str, ...], name: str) -> None:
    with pytest.raises(ScriptError) as caught:
        exec_1(*args, **{"cell_dep/1": b"no program at all"})
    assert caught.value.name == name
