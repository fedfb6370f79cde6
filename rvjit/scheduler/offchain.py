"""The system calls that ckb-debugger adds for scripts that run off the chain.

Files can be opened in directories that the caller allows, and nowhere else. Time is a function of
cycles and random numbers of a seed, unless the host is asked for its clock. No call costs anything
beyond its ecall.
"""

from __future__ import annotations

import io
from collections.abc import Callable

from rvjit.bits import to_signed
from rvjit.syscalls import Call, Outcome
from rvjit.syscalls.directories import O_CREAT, O_TRUNC
from rvjit.syscalls.files import OpenFile
from rvjit.syscalls.linux import LINUX

_FAILED = -1
_END_OF_FILE = -1
_O_WRITE, _O_READ_WRITE, _O_APPEND = 1, 2, 0o2000
_MODES = {
    b"r": 0,
    b"r+": _O_READ_WRITE,
    b"w": _O_WRITE | O_CREAT | O_TRUNC,
    b"w+": _O_READ_WRITE | O_CREAT | O_TRUNC,
    b"a": _O_WRITE | O_CREAT | _O_APPEND,
    b"a+": _O_READ_WRITE | O_CREAT | _O_APPEND,
}
_WHENCE = (io.SEEK_SET, io.SEEK_CUR, io.SEEK_END)
_PERMISSIONS = 0o644
_CHUNK = 1 << 16
# The streams of C's library as ckb-debugger passes them to the host: close, lseek, read, write,
# writev, fstat.
_STREAM_CALLS = (57, 62, 63, 64, 66, 80)

Handler = Callable[[Call], Outcome]


class _File:
    """A FILE of C: the host's file, and what feof and ferror say."""

    def __init__(self, file: OpenFile) -> None:
        self.file = file
        self.at_end = False
        self.failed = False

    def read(self, size: int) -> bytes:
        parts = []
        while size:
            part = self.file.peek(min(size, _CHUNK))
            if not part:
                self.at_end = True
                break
            self.file.consume(len(part))
            parts.append(bytes(part))
            size -= len(part)
        return b"".join(parts)


class OffChain:
    """Handlers by number, for `Scheduler(syscalls=...)`.

    *content* is what the script reads with call 9000. Files that scripts open are for all VMs of
    the script; they are no part of suspended states.
    """

    def __init__(self, content: bytes = b"") -> None:
        self._content = content
        self._position = 0
        self._files: dict[int, _File] = {}
        self._next = 1

    @property
    def handlers(self) -> dict[int, Handler]:
        """All of them."""
        found: dict[int, Handler] = {
            9000: self._read_content,
            9001: lambda call: call.host.clock.wall(call.machine.cycles + call.host.earlier_cycles),
            9002: lambda call: int.from_bytes(call.host.entropy.take(8), "little"),
            9003: self._open,
            9004: self._reopen,
            9005: self._read,
            9006: lambda call: self._flag(call, "at_end"),
            9007: lambda call: self._flag(call, "failed"),
            9008: self._get_char,
            9009: self._close,
            9010: self._tell,
            9011: self._seek,
            9012: self._write,
            9013: self._write_file,
        }
        for number in _STREAM_CALLS:
            entry = LINUX.find(number)
            assert entry is not None
            found[number] = _as_minus_one(entry.handler)
        return found

    def close(self) -> None:
        """Close what scripts left open."""
        for each in self._files.values():
            each.file.close()
        self._files.clear()

    def _read_content(self, call: Call) -> Outcome:
        address, size = call.args[:2]
        part = self._content[self._position : self._position + size]
        if not part:
            return _FAILED
        call.memory.write(address, part)
        self._position += len(part)
        return len(part)

    def _open(self, call: Call) -> Outcome:
        file = self._opened(call)
        if file is None:
            return 0
        handle = self._next
        self._next += 1
        self._files[handle] = file
        return handle

    def _reopen(self, call: Call) -> Outcome:
        handle = call.args[2]
        old, file = self._files.pop(handle, None), self._opened(call)
        if old is not None:
            old.file.close()
        if old is None or file is None:
            return 0
        self._files[handle] = file
        return handle

    def _opened(self, call: Call) -> _File | None:
        path, mode = (call.memory.read_string(address) for address in call.args[:2])
        flags = _MODES.get(mode.replace(b"b", b""))
        if flags is None:
            return None
        try:
            file = call.host.directories.open(path, flags, _PERMISSIONS)
        except OSError:
            return None
        return _File(file) if isinstance(file, OpenFile) else None

    def _read(self, call: Call) -> Outcome:
        address, size, count, handle = call.args[:4]
        file = self._files.get(handle)
        if file is None or not size:
            return 0
        data = file.read(min(size * count, call.memory.size))
        whole = len(data) // size
        if whole:
            call.memory.write(address, data[: whole * size])
        return whole

    def _write(self, call: Call) -> Outcome:
        address, size, count, handle = call.args[:4]
        file = self._files.get(handle)
        if file is None or not size or not count:
            return 0
        data = call.memory.read(address, size * count)
        try:
            return file.file.write(data) // size
        except OSError:
            file.failed = True
            return 0

    def _get_char(self, call: Call) -> Outcome:
        file = self._files.get(call.args[0])
        found = b"" if file is None else file.read(1)
        return found[0] if found else _END_OF_FILE

    def _flag(self, call: Call, name: str) -> Outcome:
        file = self._files.get(call.args[0])
        return _FAILED if file is None else int(getattr(file, name))

    def _close(self, call: Call) -> Outcome:
        file = self._files.pop(call.args[0], None)
        if file is None:
            return _FAILED
        file.file.close()
        return 0

    def _tell(self, call: Call) -> Outcome:
        file = self._files.get(call.args[0])
        return _FAILED if file is None else file.file.seek(0, io.SEEK_CUR)

    def _seek(self, call: Call) -> Outcome:
        file, whence = self._files.get(call.args[0]), call.args[2]
        if file is None or whence not in _WHENCE:
            return _FAILED
        try:
            file.file.seek(to_signed(call.args[1], 64), whence)
        except OSError:
            return _FAILED
        file.at_end = False
        return 0

    def _write_file(self, call: Call) -> Outcome:
        path_address, address, size = call.args[:3]
        path = call.memory.read_string(path_address)
        data = call.memory.read(address, size)
        try:
            file = call.host.directories.open(path, _MODES[b"w"], _PERMISSIONS)
            if not isinstance(file, OpenFile):
                return _FAILED
            file.write(data)
            file.close()
        except OSError:
            return _FAILED
        return 0


def _as_minus_one(handler: Handler) -> Handler:
    """Make a handler of Linux say -1 for every error."""

    def handle(call: Call) -> Outcome:
        try:
            outcome = handler(call)
        except OSError:
            return _FAILED
        return _FAILED if isinstance(outcome, int) and outcome < 0 else outcome

    return handle
