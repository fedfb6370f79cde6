"""Machine: the state, memory and requests of one guest, without an engine."""

from __future__ import annotations

import ctypes

from rvjit.errors import ConfigError, GuestFault, InternalError
from rvjit.machine.layout import NO_LIMIT, NO_RESERVATION, WORDS, State, word_of
from rvjit.machine.memory import Memory, reserve
from rvjit.machine.pages import PAGE_SIZE
from rvjit.machine.rules import Rules
from rvjit.machine.stop import Stop

_LIMIT_WORD = word_of("limit_word")
_CYCLE_LIMIT = word_of("cycle_limit")
_CYCLES = word_of("cycles")
_PC = word_of("pc")
_COPIED = (_PC, _CYCLES, _CYCLE_LIMIT, word_of("reservation"), word_of("reservation_size"))

# When several people asked for a stop, this is the order in which they are served.
_REQUEST_ORDER = (Stop.INTERRUPT, Stop.PAUSE, Stop.TIMEOUT)


class Machine:
    """One hart and its memory.

    `words` is the state as 64-bit words, `x` its first 32. Engines read and write both directly;
    everybody else uses the properties.
    """

    def __init__(self, memory: Memory, rules: Rules) -> None:
        self.memory = memory
        self.rules = rules
        # A page of its own: compiled code counts on the alignment (codegen/abi.py).
        self.state = State.from_buffer(reserve(PAGE_SIZE))
        self.words = memoryview(self.state).cast("B").cast("Q")
        assert len(self.words) == WORDS
        self.x = self.words[:32]
        self.fault: GuestFault | None = None
        self.breakpoints: frozenset[int] = frozenset()
        # Counts what may have changed the guest's host: system calls and the caller's handlers.
        self.host_calls = 0
        # What was loaded, so that machines with the same may share compiled code; None for nobody.
        self.program_key: bytes | None = None
        self.keeps_code = True  # share it at all, or on disk
        self._requests: set[Stop] = set()
        state = self.state
        state.memory, state.page_flags, state.dirty_list = memory.addresses
        memory.share_dirty_count(ctypes.c_uint64.from_buffer(self.state, State.dirty_count.offset))
        state.reservation = NO_RESERVATION
        self.cycle_limit = NO_LIMIT

    @property
    def pc(self) -> int:
        """Address of the next instruction."""
        return self.words[_PC]

    @pc.setter
    def pc(self, value: int) -> None:
        self.words[_PC] = value

    @property
    def cycles(self) -> int:
        """Cycles charged since the machine was made."""
        return self.words[_CYCLES]

    @cycles.setter
    def cycles(self, value: int) -> None:
        self.words[_CYCLES] = value

    @property
    def cycle_limit(self) -> int:
        """The limit that `cycles` may reach but not pass; at most `NO_LIMIT` (2**63 - 1)."""
        return self.words[_CYCLE_LIMIT]

    @cycle_limit.setter
    def cycle_limit(self, value: int) -> None:
        if not 0 <= value <= NO_LIMIT:
            raise ConfigError(f"cycle limit {value}: must be between 0 and 2**63 - 1")
        self.words[_CYCLE_LIMIT] = value
        self.arm_limit()

    def copy_registers(self, source: Machine) -> None:
        """Take registers, pc, cycles, limit and reservation from *source*."""
        self.x[:] = source.x
        for word in _COPIED:
            self.words[word] = source.words[word]
        self.arm_limit()

    # Requests from other threads. The requester notes its reason, then zeroes the limit word; the
    # runner writes the word, then looks at the reasons. Both happen under the GIL, whose hand-over
    # is the fence between the two halves (DESIGN 4); no request can be lost.

    def request(self, reason: Stop) -> None:
        """Ask the engine to come back soon with *reason* (PAUSE, TIMEOUT or INTERRUPT)."""
        self._requests.add(reason)
        self.words[_LIMIT_WORD] = 0

    def withdraw(self, reason: Stop) -> None:
        """Forget a request that was not served; a left-over zero limit word does no harm."""
        self._requests.discard(reason)

    def arm_limit(self) -> None:
        """Let running code go up to the cycle limit again, unless a request is open."""
        self.words[_LIMIT_WORD] = self.words[_CYCLE_LIMIT]
        if self._requests:
            self.words[_LIMIT_WORD] = 0

    def pending(self) -> bool:
        """Whether a request waits to be served."""
        return bool(self._requests)

    def take_request(self) -> Stop | None:
        """Serve the most urgent open request and return it, or None; others stay open."""
        for reason in _REQUEST_ORDER:
            if reason in self._requests:
                self._requests.discard(reason)
                return reason
        return None

    def take_fault(self) -> GuestFault:
        """Return the fault that the last `Stop.FAULT` left."""
        if self.fault is None:
            raise InternalError("an engine stopped with FAULT and left no fault")
        return self.fault
