"""Mock transactions: the JSON that ckb-debugger takes, with everything a transaction refers to.

A file may name others in place of hex digits: ``{{ data PATH }}`` is a file's bytes,
``{{ hash PATH }}`` their hash, ``{{ def_type NAME }}`` a type script called NAME (in place of the
whole value), and ``{{ ref_type NAME }}`` that one's hash. Paths are relative to the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from rvjit.errors import ConfigError, LoadError
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
from rvjit.scheduler.transaction import TransactionContext

_TYPE_ID = bytes(25) + b"TYPE_ID"
_OUT_POINT_SIZE = 36


class MockTransactionError(LoadError):
    """A mock transaction cannot be read; *where* is the path to the value in it."""

    def __init__(self, where: str, reason: str) -> None:
        self.where = where
        super().__init__(f"mock transaction, {where}: {reason}")


def load_mock(path: str | Path) -> TransactionContext:
    """Read a mock transaction from a file. Raises `MockTransactionError` and `OSError`."""
    path = Path(path)
    return parse_mock(path.read_text(encoding="utf-8"), folder=path.parent)


def parse_mock(text: str, *, folder: Path | None = None) -> TransactionContext:
    """Read a mock transaction; names of files need the *folder* that they are relative to.

    The group is that of the first input's lock. Raises `MockTransactionError`.
    """
    try:
        found = json.loads(_embed(text, folder))
    except (ValueError, RecursionError) as error:
        raise MockTransactionError("the file", f"no JSON: {error}") from error
    return _context(_Reader(found, "the file"))


def _embed(text: str, folder: Path | None) -> str:
    def content(name: str) -> bytes:
        if folder is None:
            raise MockTransactionError(name, "files can be named in files only")
        try:
            return (folder / name).read_bytes()
        except OSError as error:
            raise MockTransactionError(name, f"cannot be read: {error.strerror}") from error

    def replace(pattern: str, make: Callable[[str], str]) -> None:
        nonlocal text
        text = re.sub(pattern, lambda found: make(found[1]), text)

    def type_script(name: str) -> Script:
        return Script(_TYPE_ID, "type", name.encode())

    def as_json(name: str) -> str:
        script = type_script(name)
        return json.dumps(
            {
                "code_hash": "0x" + script.code_hash.hex(),
                "hash_type": script.hash_type,
                "args": "0x" + script.args.hex(),
            }
        )

    replace(r"\{\{ ?data (.+?) ?\}\}", lambda name: content(name).hex())
    replace(r"\{\{ ?hash (.+?) ?\}\}", lambda name: ckb_hash(content(name)).hex())
    replace(r'"?\{\{ ?def_type (.+?) ?\}\}"?', as_json)
    replace(r"\{\{ ?ref_type (.+?) ?\}\}", lambda name: type_script(name).hash.hex())
    return text


class _Reader:
    """A JSON value, and how one gets there."""

    def __init__(self, value: Any, where: str) -> None:
        self.value = value
        self.where = where

    def fail(self, reason: str) -> NoReturn:
        shown = repr(self.value)
        raise MockTransactionError(self.where, f"{reason}, not {shown[:60]}")

    def __getitem__(self, name: str) -> _Reader:
        if not isinstance(self.value, dict):
            self.fail("expected an object")
        if name not in self.value:
            raise MockTransactionError(self.where, f"has no {name!r}")
        return _Reader(self.value[name], f"{self.where}.{name}".removeprefix("the file."))

    def get(self, name: str) -> _Reader | None:
        """Return a member that may be missing or null."""
        if not isinstance(self.value, dict):
            self.fail("expected an object")
        return None if self.value.get(name) is None else self[name]

    def items(self) -> list[_Reader]:
        if not isinstance(self.value, list):
            self.fail("expected a list")
        return [_Reader(each, f"{self.where}[{at}]") for at, each in enumerate(self.value)]

    def text(self) -> str:
        if not isinstance(self.value, str):
            self.fail("expected a text")
        return str(self.value)

    def number(self) -> int:
        text = self.text()
        if re.fullmatch("0x[0-9a-fA-F]{1,32}", text) is None:
            self.fail("expected a number such as 0x1f")
        return int(text, 16)

    def blob(self) -> bytes:
        text = self.text()
        if re.fullmatch("0x([0-9a-fA-F]{2})*", text) is None:
            self.fail("expected bytes such as 0x00ff")
        return bytes.fromhex(text[2:])

    def digest(self) -> bytes:
        found = self.blob()
        if len(found) != len(_TYPE_ID):
            self.fail("expected 32 bytes")
        return found

    def make(self, kind: Callable[..., Any], **fields: Any) -> Any:
        """Make a value of *fields*, of which *kind* may refuse some."""
        try:
            made = kind(**fields)
            getattr(made, "packed", None)
        except ConfigError as error:
            raise MockTransactionError(self.where, str(error)) from error
        return made


def _script(at: _Reader) -> Script:
    made: Script = at.make(
        Script,
        code_hash=at["code_hash"].digest(),
        hash_type=at["hash_type"].text(),
        args=at["args"].blob(),
    )
    return made


def _output(at: _Reader) -> Output:
    kind = at.get("type")
    made: Output = at.make(
        Output,
        capacity=at["capacity"].number(),
        lock=_script(at["lock"]),
        type=None if kind is None else _script(kind),
    )
    return made


def _out_point(at: _Reader) -> OutPoint:
    made: OutPoint = at.make(OutPoint, tx_hash=at["tx_hash"].digest(), index=at["index"].number())
    return made


def _input(at: _Reader) -> Input:
    made: Input = at.make(
        Input, previous_output=_out_point(at["previous_output"]), since=at["since"].number()
    )
    return made


def _cell_dep(at: _Reader) -> CellDep:
    made: CellDep = at.make(
        CellDep, out_point=_out_point(at["out_point"]), dep_type=at["dep_type"].text()
    )
    return made


def _cell(at: _Reader) -> Cell:
    header = at.get("header")
    return Cell(
        _output(at["output"]), at["data"].blob(), None if header is None else header.digest()
    )


_HASHES = ("parent_hash", "transactions_root", "proposals_hash", "extra_hash", "dao")
_NUMBERS = ("version", "compact_target", "timestamp", "number", "epoch", "nonce")


def _header(at: _Reader) -> Header:
    fields: dict[str, Any] = {name: at[name].digest() for name in _HASHES}
    fields |= {name: at[name].number() for name in _NUMBERS}
    made: Header = at.make(Header, given_hash=at["hash"].digest(), **fields)
    return made


def _transaction(at: _Reader) -> Transaction:
    made: Transaction = at.make(
        Transaction,
        version=at["version"].number(),
        cell_deps=tuple(map(_cell_dep, at["cell_deps"].items())),
        header_deps=tuple(each.digest() for each in at["header_deps"].items()),
        inputs=tuple(map(_input, at["inputs"].items())),
        outputs=tuple(map(_output, at["outputs"].items())),
        outputs_data=tuple(each.blob() for each in at["outputs_data"].items()),
        witnesses=tuple(each.blob() for each in at["witnesses"].items()),
    )
    return made


def _context(top: _Reader) -> TransactionContext:
    info, transaction = top["mock_info"], _transaction(top["tx"])
    spent: dict[Input, Cell] = {}
    for each in info["inputs"].items():
        spent.setdefault(_input(each["input"]), _cell(each))
    deps: dict[OutPoint, Cell] = {}
    for each in info["cell_deps"].items():
        deps.setdefault(_cell_dep(each["cell_dep"]).out_point, _cell(each))
    headers = {each.given_hash or b"": each for each in map(_header, info["header_deps"].items())}
    for block_hash in transaction.header_deps:
        if block_hash not in headers:
            reason = f"has no header 0x{block_hash.hex()}"
            raise MockTransactionError("mock_info.header_deps", reason)
    inputs = []
    for position, each_input in enumerate(transaction.inputs):
        if each_input not in spent:
            raise MockTransactionError("mock_info.inputs", f"has no input {position} of tx")
        inputs.append(spent[each_input])
    extensions = info.get("extensions")
    pairs = [] if extensions is None else [each.items() for each in extensions.items()]
    try:
        context = TransactionContext(
            transaction,
            inputs=tuple(inputs),
            cell_deps=tuple(_resolved(transaction, deps)),
            headers={block_hash: headers[block_hash] for block_hash in transaction.header_deps},
            extensions={block_hash.digest(): data.blob() for block_hash, data in pairs},
        )
    except ConfigError as error:
        raise MockTransactionError("tx", str(error)) from error
    except ValueError as error:
        raise MockTransactionError("mock_info.extensions", "expected pairs") from error
    return context.for_script("lock", "input", 0) if inputs else context


def _resolved(transaction: Transaction, deps: dict[OutPoint, Cell]) -> list[Cell]:
    """Return the cells of all cell deps; a group stands for those that its data names."""

    def look_up(out_point: OutPoint) -> Cell:
        if out_point not in deps:
            where = f"0x{out_point.tx_hash.hex()} {out_point.index}"
            raise MockTransactionError("mock_info.cell_deps", f"has no cell {where}")
        return deps[out_point]

    found = []
    for dep in transaction.cell_deps:
        cell = look_up(dep.out_point)
        if dep.dep_type == "code":
            found.append(cell)
            continue
        data = cell.data
        count = int.from_bytes(data[:4], "little")
        if len(data) != 4 + count * _OUT_POINT_SIZE or not count:
            raise MockTransactionError("mock_info.cell_deps", "data of a dep group: broken")
        for at in range(4, len(data), _OUT_POINT_SIZE):
            index = int.from_bytes(data[at + 32 : at + 36], "little")
            found.append(look_up(OutPoint(data[at : at + 32], index)))
    return found
