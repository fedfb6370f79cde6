"""One machine: limits, requests from other threads, state at the start, faults."""

from __future__ import annotations

import threading
import time

import pytest

import rvjit.engines
from rvjit.errors import ConfigError, IllegalInstruction, InternalError
from rvjit.isa import UNIT_PRICES, Isa
from rvjit.isa.ext import rv64i as i
from rvjit.machine.layout import NO_LIMIT, NO_RESERVATION
from rvjit.machine.machine import Machine
from rvjit.machine.memory import Memory
from rvjit.machine.rules import Rules
from rvjit.machine.stop import Exit, Stop

BASE = 0x10000


@pytest.fixture
def machine() -> Machine:
    memory = Memory(0x10000, BASE)
    memory.protect(BASE, 0x1000, read=True, write=False, execute=True)
    made = Machine(memory, Rules())
    made.pc = BASE
    return made


def put(machine: Machine, *words: int) -> None:
    machine.memory.initialise(BASE, b"".join(word.to_bytes(4, "little") for word in words))


def limit_word(machine: Machine) -> int:
    return int(machine.state.limit_word)


# The start.


def test_a_new_machine_is_at_rest(machine: Machine) -> None:
    assert list(machine.x) == [0] * 32
    assert (machine.cycles, machine.cycle_limit, limit_word(machine)) == (0, NO_LIMIT, NO_LIMIT)
    assert (machine.state.reservation, machine.state.reservation_size) == (NO_RESERVATION, 0)
    assert (machine.fault, machine.breakpoints, machine.pending()) == (None, frozenset(), False)


def test_rules_without_arguments_are_linux_ones() -> None:
    rules = Rules()
    assert rules.prices is UNIT_PRICES
    assert rules.isa == Isa.parse("imcba_zicond")
    assert (rules.ebreak_stops, rules.aligned_atomics) == (True, True)
    assert (rules.ckb_reservation, rules.strict_loads) == (False, False)
    assert hash(rules) == hash(Rules())


def test_properties_and_words_are_one_state(machine: Machine) -> None:
    machine.pc, machine.cycles = 0x1234, 77
    machine.words[5] = 9
    assert (machine.state.pc, machine.state.cycles, machine.state.x[5]) == (0x1234, 77, 9)
    machine.state.x[6] = (1 << 64) - 1
    assert machine.x[6] == (1 << 64) - 1


def test_compiled_code_is_given_the_buffers(machine: Machine) -> None:
    state, memory = machine.state, machine.memory
    assert (state.memory, state.page_flags, state.dirty_list) == memory.addresses
    memory.initialise(BASE + 0x3000, b"x")
    assert state.dirty_count == len(memory.dirty_pages) == 1
    state.dirty_count = 0  # as native code would change it
    assert memory.dirty_pages == []


def test_a_machine_takes_over_the_count_of_its_memory() -> None:
    memory = Memory(0x2000)
    memory.initialise(0, b"x")
    machine = Machine(memory, Rules())
    assert machine.state.dirty_count == 1
    assert memory.dirty_pages == [0]


# Limits.


@pytest.mark.parametrize("limit", [0, 1, 12345, NO_LIMIT])
def test_limits(machine: Machine, limit: int) -> None:
    machine.cycle_limit = limit
    assert machine.cycle_limit == limit_word(machine) == limit


@pytest.mark.parametrize("limit", [-1, NO_LIMIT + 1, 1 << 64])
def test_limits_that_are_refused(machine: Machine, limit: int) -> None:
    machine.cycle_limit = 5
    with pytest.raises(ConfigError, match=str(limit)):
        machine.cycle_limit = limit
    assert machine.cycle_limit == 5


def test_registers_are_copied_with_limit_and_reservation(machine: Machine) -> None:
    machine.words[7], machine.pc, machine.cycles, machine.cycle_limit = 70, 4, 5, 600
    machine.state.reservation, machine.state.reservation_size = 0x10, 8
    other = Machine(Memory(0x1000), Rules())
    other.copy_registers(machine)
    assert (other.x[7], other.pc, other.cycles, other.cycle_limit) == (70, 4, 5, 600)
    assert (other.state.reservation, other.state.reservation_size) == (0x10, 8)
    assert limit_word(other) == 600
    assert other.state.memory == other.memory.addresses[0]


# Requests.


@pytest.mark.parametrize("reason", [Stop.PAUSE, Stop.TIMEOUT, Stop.INTERRUPT])
def test_a_request_zeroes_the_limit_word_until_it_is_served(machine: Machine, reason: Stop) -> None:
    machine.cycle_limit = 100
    machine.request(reason)
    assert (machine.pending(), limit_word(machine), machine.cycle_limit) == (True, 0, 100)
    machine.arm_limit()
    assert limit_word(machine) == 0
    machine.cycle_limit = 200
    assert limit_word(machine) == 0
    assert machine.take_request() is reason
    assert machine.take_request() is None
    machine.arm_limit()
    assert limit_word(machine) == 200


def test_requests_are_served_one_by_one_the_most_urgent_first(machine: Machine) -> None:
    for reason in (Stop.TIMEOUT, Stop.PAUSE, Stop.INTERRUPT, Stop.PAUSE):
        machine.request(reason)
    for reason in (Stop.INTERRUPT, Stop.PAUSE, Stop.TIMEOUT):
        machine.arm_limit()
        assert (machine.pending(), limit_word(machine)) == (True, 0)
        assert machine.take_request() is reason
    assert (machine.pending(), machine.take_request()) == (False, None)


def test_a_withdrawn_request_is_forgotten(machine: Machine) -> None:
    machine.request(Stop.TIMEOUT)
    machine.request(Stop.PAUSE)
    machine.withdraw(Stop.PAUSE)
    machine.withdraw(Stop.INTERRUPT)
    assert machine.take_request() is Stop.TIMEOUT
    machine.request(Stop.TIMEOUT)
    machine.withdraw(Stop.TIMEOUT)
    assert machine.take_request() is None


def test_a_withdrawn_request_does_not_stop_a_run(engine: str, machine: Machine) -> None:
    put(machine, i.addi.encode(rd=10, rs1=10, imm=1), i.ecall.encode())
    runner = rvjit.engines.make(engine, machine)
    machine.request(Stop.TIMEOUT)
    machine.withdraw(Stop.TIMEOUT)
    assert runner.run() is Stop.SYSCALL
    assert (machine.x[10], machine.cycles) == (1, 2)


def test_a_request_before_the_run_stops_it_at_once(engine: str, machine: Machine) -> None:
    put(machine, i.addi.encode(rd=10, rs1=10, imm=1), i.ecall.encode())
    runner = rvjit.engines.make(engine, machine)
    machine.request(Stop.PAUSE)
    assert runner.run() is Stop.PAUSE
    assert (machine.pc, machine.cycles, machine.x[10]) == (BASE, 0, 0)
    assert runner.run() is Stop.SYSCALL


def test_no_pause_is_lost(engine: str, machine: Machine) -> None:
    # An endless loop: a lost request would hang it, so a watchdog fails the test instead.
    put(machine, i.addi.encode(rd=10, rs1=10, imm=1), i.jal.encode(rd=0, imm=-4))
    runner = rvjit.engines.make(engine, machine)
    rounds = 150
    served = threading.Semaphore(0)
    lost: list[int] = []

    def pauses() -> None:
        for number in range(rounds):
            if number % 3:
                time.sleep(0.0003 * (number % 5))
            machine.request(Stop.PAUSE)
            if not served.acquire(timeout=10):
                lost.append(number)
                machine.request(Stop.INTERRUPT)
                return

    thread = threading.Thread(target=pauses)
    thread.start()
    last = -1
    for _ in range(rounds):
        stop = runner.run()
        if stop is not Stop.PAUSE:
            break
        # Exact wherever it stopped: two cycles a turn, the first of which counts.
        assert machine.x[10] == (machine.cycles + 1) // 2
        assert machine.pc == BASE + 4 * (machine.cycles % 2)
        assert machine.cycles >= last
        last = machine.cycles
        served.release()
    thread.join(30)
    assert not lost, f"pause {lost} was lost"
    assert machine.cycles > 0


# Faults and names.


def test_a_fault_is_taken_only_where_there_is_one(machine: Machine) -> None:
    with pytest.raises(InternalError):
        machine.take_fault()
    machine.fault = IllegalInstruction(0)
    assert machine.take_fault() is machine.fault


def test_names_of_stops_are_those_of_the_command_line() -> None:
    assert [stop.value for stop in Stop] == [
        "exit", "cycle_limit", "pause", "timeout", "interrupt", "fault", "breakpoint", "step",
        "syscall",
    ]  # fmt: skip


def test_numbers_of_exits_are_part_of_compiled_code() -> None:
    assert {each.name: each.value for each in Exit} == {
        "NO_CODE": 0, "EXACT": 1, "LIMIT": 2, "SYSCALL": 3, "BREAKPOINT": 4, "ENTER": 5, "HOT": 6,
    }  # fmt: skip
