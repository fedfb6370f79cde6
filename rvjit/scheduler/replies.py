"""Replies: what the scheduler does about the requests that VMs yield with."""

from __future__ import annotations

from array import array
from collections.abc import Callable

from rvjit.scheduler.access import Arguments, load64, store64, store_bytes
from rvjit.scheduler.events import Account
from rvjit.scheduler.guest import Guest
from rvjit.scheduler.limits import (
    INVALID_FD,
    MAX_FDS,
    MAX_FDS_CREATED,
    MAX_VMS,
    MAX_VMS_SPAWNED,
    OTHER_END_CLOSED,
    SUCCESS,
    WAIT_FAILURE,
)
from rvjit.scheduler.pipes import Pipes
from rvjit.scheduler.population import Population
from rvjit.scheduler.requests import (
    RUNNABLE,
    Close,
    Exec,
    InheritedFds,
    MakePipe,
    Request,
    Spawn,
    State,
    Wait,
    WaitForRead,
    WaitForWrite,
    Waiting,
    details,
)

_WORD = 8


class Replies:
    """Carries out requests on *states*, *vms* and *pipes*; see `reply`."""

    def __init__(
        self,
        vms: Population,
        pipes: Pipes,
        states: dict[int, State],
        terminated: dict[int, int],
        account: Account,
    ) -> None:
        self._vms = vms
        self._pipes = pipes
        self._states = states
        self._terminated = terminated
        self._account = account
        self.inherited: dict[int, tuple[int, ...]] = {}  # fds that each VM was spawned with
        self._by_kind: dict[type[Request], Callable[..., int | None]] = {
            Spawn: self._spawn,
            Exec: self._exec,
            Wait: self._wait,
            MakePipe: self._pipe,
            WaitForRead: self._transfer,
            WaitForWrite: self._transfer,
            InheritedFds: self._inherited_fds,
            Close: self._close,
        }

    def reply(self, guest: Guest, request: Request) -> None:
        """Carry out *request* of *guest*, which ran last and has a machine.

        Raises `MemoryFault` for a bad pointer, `ScriptError` for a program that cannot be loaded.
        """
        if self._account.observer is not None:
            self._account.tell("request", guest.id, **details(request))
        code = self._by_kind[type(request)](guest, request)
        if code is not None:
            self._vms.get(guest.id).answer(code)

    def forget(self, vm_id: int) -> None:
        """Drop what only a VM that has ended could ask for."""
        self.inherited.pop(vm_id, None)

    # Each returns the code for the guest, None for none yet.

    def _spawn(self, guest: Guest, request: Spawn) -> int:
        owners = self._pipes.owners
        if any(owners.get(fd) != guest.id for fd in request.fds):
            return INVALID_FD
        if len(self._vms) > MAX_VMS:
            return MAX_VMS_SPAWNED
        args = Arguments(guest.memory, request.argc, request.argv)
        child = self._vms.boot(request.location, args)
        self._states[child.id] = RUNNABLE
        for fd in request.fds:
            owners[fd] = child.id
        self.inherited[child.id] = request.fds
        parent = self._vms.get(guest.id)  # it may have been evicted for the child
        store64(parent.memory, request.id_address, child.id)
        return SUCCESS

    def _exec(self, guest: Guest, request: Exec) -> None:
        self._vms.replace(guest, request.location, request.argc, request.argv)

    def _wait(self, guest: Guest, request: Wait) -> int | None:
        code = self._terminated.get(request.target)
        if code is not None:
            guest.memory.write_int(request.code_address, code, 1)
            del self._terminated[request.target]
            return SUCCESS
        if request.target not in self._states:
            return WAIT_FAILURE
        self._states[guest.id] = Waiting(*request)
        return None

    def _pipe(self, guest: Guest, request: MakePipe) -> int:
        if len(self._pipes.owners) >= MAX_FDS:
            return MAX_FDS_CREATED
        read_fd, write_fd = self._pipes.open(guest.id)
        store64(guest.memory, request.address, read_fd)
        store64(guest.memory, request.address + _WORD, write_fd)
        return SUCCESS

    def _transfer(self, guest: Guest, request: WaitForRead | WaitForWrite) -> int | None:
        owners = self._pipes.owners
        fd = request.fd
        if owners.get(fd) != guest.id:
            return INVALID_FD
        if fd ^ 1 not in owners:
            return OTHER_END_CLOSED
        self._states[guest.id] = request
        return None

    def _inherited_fds(self, guest: Guest, request: InheritedFds) -> int:
        fds = self.inherited.get(guest.id, ())
        memory = guest.memory
        count = min(load64(memory, request.count_address), len(fds))
        store_bytes(memory, request.buffer, array("Q", fds[:count]).tobytes())
        store64(memory, request.count_address, len(fds))
        return SUCCESS

    def _close(self, guest: Guest, request: Close) -> int:
        if self._pipes.owners.get(request.fd) != guest.id:
            return INVALID_FD
        del self._pipes.owners[request.fd]
        return SUCCESS
