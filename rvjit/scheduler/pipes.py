"""Pipes: who owns which end, and the transfers between VMs that wait for each other."""

from __future__ import annotations

from rvjit.bits import MASK64
from rvjit.scheduler.access import load_bytes, store64, store_bytes
from rvjit.scheduler.events import Account
from rvjit.scheduler.limits import FIRST_FD, SUCCESS, bytes_price
from rvjit.scheduler.population import Population
from rvjit.scheduler.requests import RUNNABLE, State, WaitForRead, WaitForWrite


class Pipes:
    """The open ends of all pipes: *owners* has the VM of each fd."""

    def __init__(self) -> None:
        self.owners: dict[int, int] = {}
        self.next_fd = FIRST_FD

    def open(self, owner: int) -> tuple[int, int]:
        """Make a pipe; return the end to read from and the end to write to."""
        read_fd = self.next_fd
        self.next_fd += 2
        self.owners[read_fd] = self.owners[read_fd + 1] = owner
        return read_fd, read_fd + 1

    def close_all_of(self, owner: int) -> None:
        """Close everything that a VM has open."""
        for fd in [fd for fd, vm_id in self.owners.items() if vm_id == owner]:
            del self.owners[fd]

    def process(self, states: dict[int, State], vms: Population, account: Account) -> None:
        """Wake VMs whose other end is closed, and move bytes between those that are paired.

        *states* are in ascending order of ids. Raises `MemoryFault` for a bad pointer of a guest.
        """
        owners = self.owners
        readers: dict[int, int] = {}  # by fd
        closed: list[int] = []
        writers: list[tuple[int, int]] = []
        for vm_id, state in states.items():
            if type(state) is WaitForRead:
                if state.fd ^ 1 in owners:
                    readers[state.fd] = vm_id
                else:
                    closed.append(vm_id)
            elif type(state) is WaitForWrite:
                writers.append((vm_id, state.fd ^ 1))
        pairs: list[tuple[int, int]] = []
        for vm_id, other in writers:
            if other not in owners:
                closed.append(vm_id)
            elif other in readers:
                pairs.append((readers[other], vm_id))
        for vm_id in closed:
            _wake(vm_id, states, vms, account)
        for reader_id, writer_id in pairs:
            _transfer(reader_id, writer_id, states, vms, account)


def _wake(vm_id: int, states: dict[int, State], vms: Population, account: Account) -> None:
    """Let a VM go on whose other end is gone: it has read nothing, or written what was taken."""
    guest = vms.get(vm_id)
    state = states[vm_id]
    assert isinstance(state, WaitForRead | WaitForWrite)
    moved = state.consumed if isinstance(state, WaitForWrite) else 0
    store64(guest.memory, state.length_address, moved)
    guest.answer(SUCCESS)
    states[vm_id] = RUNNABLE
    account.tell("closed", vm_id, fd=state.fd)


def _transfer(
    reader_id: int, writer_id: int, states: dict[int, State], vms: Population, account: Account
) -> None:
    """Move as much as both want; a reader is served by any bytes, a writer by all of its own."""
    live = vms.live
    if reader_id not in live or writer_id not in live:
        vms.ensure(reader_id, writer_id)
    reader, writer = live[reader_id], live[writer_id]
    read, write = states[reader_id], states[writer_id]
    assert isinstance(read, WaitForRead)
    assert isinstance(write, WaitForWrite)
    size = min(read.length, write.length - write.consumed)
    price = bytes_price(size)
    writer.charge(price)
    data = load_bytes(writer.memory, (write.buffer + write.consumed) & MASK64, size)
    reader.charge(price)
    store_bytes(reader.memory, read.buffer, data)
    store64(reader.memory, read.length_address, size)
    reader.answer(SUCCESS)
    states[reader_id] = RUNNABLE
    consumed = write.consumed + size
    if account.observer is not None:
        account.tell(
            "transfer", writer_id, fd=write.fd, reader=reader_id, writer=writer_id, bytes=size
        )
    if consumed == write.length:
        store64(writer.memory, write.length_address, write.length)
        writer.answer(SUCCESS)
        states[writer_id] = RUNNABLE
    else:
        states[writer_id] = write._replace(consumed=consumed)
