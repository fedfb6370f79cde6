"""Scripts end as they should, in the same way on every engine, and every time."""

from __future__ import annotations

import pytest

from rvjit import engines
from rvjit.errors import Deadlock
from rvjit.scheduler import limits
from rvjit.scheduler.scheduler import Scheduler
from tests.engines.assemble import R, X, assemble, elf
from tests.scheduler.scripts import CASES, IDS, Ended, make, run


@pytest.mark.parametrize(("name", "args", "end"), CASES, ids=IDS)
def test_a_script_ends_as_it_should_and_always_the_same(
    name: str, args: tuple[str, ...], end: int | str
) -> None:
    first = run(name, *args)
    assert (first.error or first.result.exit_code) == end
    check_accounts(first)
    assert run(name, *args) == first
    assert run(name, *args, engine="interp") == first


def check_engines(name: str, args: tuple[str, ...]) -> None:
    first = run(name, *args)
    for engine in engines.NAMES:
        assert run(name, *args, engine=engine) == first, engine


def test_a_script_is_the_same_on_every_engine() -> None:
    check_engines("passing", ())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "args", "end"), CASES, ids=IDS)
def test_every_script_is_the_same_on_every_engine(
    name: str, args: tuple[str, ...], end: int | str
) -> None:
    check_engines(name, args)


def check_accounts(ended: Ended) -> None:
    """The total is what VMs ran, and the price of each eviction and each return.

    But for those of the last look at pipes, which no iteration has taken up (CKB-FACTS 8.9).
    """
    kinds = [event.kind for event in ended.events]
    last_run = len(kinds) - 1 - kinds[::-1].index("ran")
    late = [
        at
        for at, kind in enumerate(kinds)
        if kind in ("evicted", "resumed") and at > last_run and ended.error == "Unexpected"
    ]
    swaps = kinds.count("evicted") + kinds.count("resumed") - len(late)
    ran = sum(event.details["cycles"] for event in ended.events if event.kind == "ran")
    assert ended.cycles == ran + swaps * limits.SWAP_CYCLES


def test_no_more_than_four_vms_have_machines() -> None:
    scheduler = make("ring")
    most = 0
    while scheduler.iterate().terminated_status is None:
        assert len(scheduler.instantiated_ids) <= limits.MAX_INSTANTIATED
        most = max(most, len(scheduler.vm_ids))
    assert most == 16


def test_a_deadlock_says_who_waits_for_what() -> None:
    with pytest.raises(Deadlock) as caught:
        make("deadlock", "two").run()
    assert caught.value.waiting == {0: "reads from fd 4", 1: "reads from fd 2"}
    assert "A deadlock situation has been reached!" in str(caught.value)


def test_the_root_ends_everything() -> None:
    scheduler = make("early")
    assert scheduler.run().exit_code == 42
    assert scheduler.vm_ids == [0]
    assert scheduler.run().exit_code == 42  # and so it stays


SPAWN = """
    _start: lw a0, 0(sp)
            bnez a0, child
            addi sp, sp, -64
            li a0, 1
            sd a0, 0(sp)         # argc
            addi a0, sp, 32
            sd a0, 8(sp)         # argv, of one pointer
            addi a0, sp, 40
            sd a0, 16(sp)        # where the id goes
            sd zero, 24(sp)      # no fds
            addi a0, sp, 48
            sd a0, 32(sp)        # the argument: what is at sp + 48, no text
            li a0, 0
            li a1, 3
            li a2, 0
            li a3, 0
            mv a4, sp
            li a7, 2601
            ecall
            ld a0, 40(sp)
            li a7, 93
            ecall
    child:  li a0, 7
            li a7, 93
            ecall
"""


def test_cycles_by_hand() -> None:
    """Every charge of a root that spawns one child and ends, added up from the price lists."""
    code = assemble(SPAWN)
    file = elf(code, R | X)
    scheduler = Scheduler(file_pieces(file), engine="threaded")
    result = scheduler.run()
    size = len(code.data)  # what the one segment loads
    load_root = -(-(size + 16) // 4)  # and 16 bytes of stack without arguments
    # Up to the call: lw 3, bnez 3, eleven of 1 (addi, li, mv; the two of li 2601 are fused), five
    # sd of 2.
    root = 3 + 3 + 11 * 1 + 5 * 2 + 500 + 100_000 + 800
    # The child: 1 byte of text, argc, argv[0], NULL: 25 bytes, aligned to 32. It runs first.
    load_child = -(-(size + 32) // 4)
    child = 3 + 3 + 2 * 1 + 500
    # Then the root: ld 2, li 1, ecall 500.
    end = 2 + 1 + 500
    assert result.exit_code == 1
    assert result.consumed_cycles == load_root + root + load_child + child + end


def file_pieces(file: bytes):
    from rvjit.scheduler.data import DataPieces

    return DataPieces({"program": file, "cell_dep/0": file})
