"""TransactionContext: the transaction, cells and headers that a script can look at."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from rvjit.errors import ConfigError
from rvjit.scheduler.data import CELL_DEP, INPUT, OUTPUT, PROGRAM, DataPieces, Source
from rvjit.scheduler.limits import INDEX_OUT_OF_BOUND, ITEM_MISSING
from rvjit.scheduler.molecule import Cell, Header, Input, Script, Transaction, ckb_hash

LOCK, TYPE = "lock", "type"

# VM versions by how a script names its code; "type" takes the newest.
VERSIONS = {"data": 0, "data1": 1, "data2": 2, "type": 2}


@dataclass(frozen=True)
class ScriptGroup:
    """One script of a transaction, and the inputs and outputs that have it."""

    kind: str  # LOCK or TYPE
    script: Script
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()


@dataclass(frozen=True)
class TransactionContext:
    """A transaction with everything it refers to; also the data source of its scripts.

    *inputs* are the cells that its inputs spend, in their order, *cell_deps* the cells of its cell
    deps, those of groups in the place of the group. *headers* are those of its header deps and
    *extensions* block extensions, by block hash. *group* is the script that runs and where it
    stands; `for_script` finds one. *program* is its code, which `code` finds otherwise.
    """

    transaction: Transaction
    inputs: tuple[Cell, ...] = ()
    cell_deps: tuple[Cell, ...] = ()
    headers: Mapping[bytes, Header] = field(default_factory=dict)
    extensions: Mapping[bytes, bytes] = field(default_factory=dict)
    group: ScriptGroup = ScriptGroup(LOCK, Script())
    program: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        wanted, found = len(self.transaction.inputs), len(self.inputs)
        if wanted != found:
            raise ConfigError(f"{found} cells for {wanted} inputs")
        outputs, data = self.transaction.outputs, self.transaction.outputs_data
        if len(outputs) != len(data):
            raise ConfigError(f"{len(data)} pieces of data for {len(outputs)} outputs")

    @classmethod
    def around(cls, program: bytes, args: bytes = b"") -> TransactionContext:
        """Return a transaction with one input, whose lock is *program*, the only cell dep."""
        from rvjit.scheduler.molecule import CellDep, OutPoint, Output

        lock = Script(ckb_hash(program), "data2", args)
        transaction = Transaction(
            cell_deps=(CellDep(),), inputs=(Input(OutPoint(index=1)),), witnesses=()
        )
        return cls(
            transaction,
            inputs=(Cell(Output(lock=lock)),),
            cell_deps=(Cell(Output(capacity=len(program)), program),),
            group=ScriptGroup(LOCK, lock, (0,)),
            program=program,
        )

    # The script that runs.

    @cached_property
    def groups(self) -> tuple[ScriptGroup, ...]:
        """All scripts, as CKB runs them: locks by hash, then types by hash."""
        scripts: dict[tuple[str, bytes], Script] = {}
        inputs: dict[tuple[str, bytes], list[int]] = {}
        outputs: dict[tuple[str, bytes], list[int]] = {}

        def add(kind: str, script: Script | None, places: dict[Any, list[int]], at: int) -> None:
            if script is not None:
                scripts[kind, script.hash] = script
                places.setdefault((kind, script.hash), []).append(at)

        for index, cell in enumerate(self.inputs):
            add(LOCK, cell.output.lock, inputs, index)
            add(TYPE, cell.output.type, inputs, index)
        for index, output in enumerate(self.transaction.outputs):
            add(TYPE, output.type, outputs, index)
        return tuple(
            ScriptGroup(
                key[0], scripts[key], tuple(inputs.get(key, ())), tuple(outputs.get(key, ()))
            )
            for key in sorted(scripts)
        )

    def choose(self, script: str, program: bytes | None = None) -> TransactionContext:
        """Return the same for a script given as ``input.0.lock`` or its hash, ``0x…``.

        *program* replaces its code. Raises `ConfigError` where there is no such script.
        """
        if re.fullmatch("0x[0-9a-fA-F]{64}", script):
            found = self.for_hash(bytes.fromhex(script[2:]))
        else:
            parts = re.fullmatch(r"(\w+)\.(\d+)\.(\w+)", script)
            if parts is None:
                raise ConfigError(f"script {script!r}: give input.0.lock or such, or 0x and a hash")
            found = self.for_script(parts[3], parts[1], int(parts[2]))
        return found if program is None else replace(found, program=program)

    def for_script(self, kind: str, cell: str, index: int) -> TransactionContext:
        """Return the same for the *kind* of script (lock, type) of a *cell* (input, output).

        Raises `ConfigError` where that cell has none, or none that runs.
        """
        outputs = {
            "input": [each.output for each in self.inputs],
            "output": list(self.transaction.outputs),
        }.get(cell)
        if outputs is None or kind not in (LOCK, TYPE):
            raise ConfigError(f"{kind} of {cell}: a lock or type of an input or output")
        if not 0 <= index < len(outputs):
            raise ConfigError(f"{cell} {index}: there are {len(outputs)}")
        script = outputs[index].lock if kind == LOCK else outputs[index].type
        if script is None:
            raise ConfigError(f"{cell} {index} has no type script")
        return self.for_hash(script.hash, kind)

    def for_hash(self, script_hash: bytes, kind: str | None = None) -> TransactionContext:
        """Return the same for the script with a hash. Raises `ConfigError` where there is none."""
        for group in self.groups:
            if group.script.hash == script_hash and kind in (None, group.kind):
                return replace(self, group=group)
        raise ConfigError(f"no {kind or 'script'} that runs has the hash 0x{script_hash.hex()}")

    @cached_property
    def code(self) -> bytes:
        """The program of the script: *program*, or what a cell dep has.

        The last cell dep with its data hash, or the first whose type script has its hash. Raises
        `ConfigError` where there is none, or where cells of that type differ.
        """
        if self.program is not None:
            return self.program
        script = self.group.script
        if script.hash_type == "type":
            typed = [
                cell.data
                for cell in self.cell_deps
                if cell.output.type is not None and cell.output.type.hash == script.code_hash
            ]
            if len(set(typed)) > 1:
                raise ConfigError(
                    f"cell deps of type 0x{script.code_hash.hex()} differ (MultipleMatches)"
                )
            found = typed[:1]
        else:
            found = [cell.data for cell in self.cell_deps if cell.data_hash == script.code_hash]
        if not found:
            raise ConfigError(
                f"no cell dep has the code 0x{script.code_hash.hex()} (ScriptNotFound)"
            )
        return found[-1]

    @property
    def version(self) -> int:
        """The VM version that the script names, the newest where it names none."""
        return VERSIONS[self.group.script.hash_type]

    # What system calls look up. Where nothing is found they return the code for the guest.

    @cached_property
    def output_cells(self) -> tuple[Cell, ...]:
        """The outputs with their data."""
        pairs = zip(self.transaction.outputs, self.transaction.outputs_data, strict=True)
        return tuple(Cell(output, data) for output, data in pairs)

    def _of_group(self, indices: Sequence[int], index: int) -> int | None:
        return indices[index] if index < len(indices) else None

    def cell(self, source: Source, index: int) -> Cell | int:
        """Return a cell."""
        at: int | None = index
        cells: tuple[Cell, ...] = ()
        match source:
            case Source(1, group):
                cells = self.inputs
                at = self._of_group(self.group.inputs, index) if group else index
            case Source(2, group):
                cells = self.output_cells
                at = self._of_group(self.group.outputs, index) if group else index
            case Source(3, False):
                cells = self.cell_deps
            case _:
                at = None
        return cells[at] if at is not None and at < len(cells) else INDEX_OUT_OF_BOUND

    def input(self, source: Source, index: int) -> Input | int:
        """Return an input."""
        if source.entry != INPUT:
            return INDEX_OUT_OF_BOUND
        at = self._of_group(self.group.inputs, index) if source.group else index
        inputs = self.transaction.inputs
        return inputs[at] if at is not None and at < len(inputs) else INDEX_OUT_OF_BOUND

    def witness(self, source: Source, index: int) -> bytes | int:
        """Return a witness."""
        if source.entry not in (INPUT, OUTPUT):
            return INDEX_OUT_OF_BOUND
        at: int | None = index
        if source.group:
            group = self.group
            at = self._of_group(group.inputs if source.entry == INPUT else group.outputs, index)
        witnesses = self.transaction.witnesses
        return witnesses[at] if at is not None and at < len(witnesses) else INDEX_OUT_OF_BOUND

    def block_hash(self, source: Source, index: int) -> bytes | int:
        """Return the hash of a block that is a header dep: one of them, or that of a cell."""
        deps = self.transaction.header_deps
        match source:
            case Source(4, False):
                return deps[index] if index < len(deps) else INDEX_OUT_OF_BOUND
            case Source(1, _) | Source(3, False):
                cell = self.cell(source, index)
                if not isinstance(cell, Cell):
                    return cell
                found = cell.block_hash
                return found if found is not None and found in deps else ITEM_MISSING
            case _:
                return INDEX_OUT_OF_BOUND

    def header(self, source: Source, index: int) -> Header | int:
        """Return a header."""
        found = self.block_hash(source, index)
        return found if isinstance(found, int) else self.headers.get(found, ITEM_MISSING)

    def extension(self, source: Source, index: int) -> bytes | int:
        """Return a block extension."""
        found = self.block_hash(source, index)
        return found if isinstance(found, int) else self.extensions.get(found, ITEM_MISSING)

    # The data source.

    @cached_property
    def _pieces(self) -> DataPieces:
        return DataPieces({PROGRAM: self.code}, self._find)

    def load_data(self, name: object, offset: int, length: int) -> tuple[memoryview, int] | None:
        """Return data by name, as `DataPieces.load_data`."""
        return self._pieces.load_data(name, offset, length)

    def _find(self, name: str) -> bytes | None:
        kind, _, number = name.partition("/")
        index = int(number)
        entry, group, witness = _PLACES[kind]
        source = Source(entry, group)
        if witness:
            found = self.witness(source, index)
            return None if isinstance(found, int) else found
        cell = self.cell(source, index)
        return cell.data if isinstance(cell, Cell) else None


# Source, whether of the group, and whether a witness, by the first word of a name of data.
_PLACES = {
    "input": (INPUT, False, False),
    "output": (OUTPUT, False, False),
    "cell_dep": (CELL_DEP, False, False),
    "group_input": (INPUT, True, False),
    "group_output": (OUTPUT, True, False),
    "witness": (INPUT, False, True),
    "group_input_witness": (INPUT, True, True),
    "group_output_witness": (OUTPUT, True, True),
}
