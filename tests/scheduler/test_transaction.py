"""Transactions: bytes and hashes that others have published, and mock transactions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rvjit.errors import ConfigError
from rvjit.scheduler.mock import MockTransactionError, load_mock, parse_mock
from rvjit.scheduler.molecule import (
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
from tests.scheduler.scripts import FOLDER, program

ALWAYS_SUCCESS = "28e83a1277d48add8e72fadaa9248559e1b632bab2bd60b27955ebc4c03800a5"


def h(text: str) -> bytes:
    return bytes.fromhex(text)


def test_hashes_as_in_the_documentation_of_ckbs_rpc() -> None:
    """Recorded from a node: the hash of nothing, of a script, of a transaction."""
    assert ckb_hash(b"").hex().startswith("44f4c69744d5f8c55d642062949dcae4")
    script = Script(h(ALWAYS_SUCCESS), "data")
    assert script.hash.hex() == "4ceaa32f692948413e213ce6f3a83337145bde6e11fd8cb94377ce2637dcc412"
    transaction = Transaction(
        cell_deps=(
            CellDep(
                OutPoint(h("a4037a893eb48e18ed4ef61034ce26eba9c585f15c9cee102ae58505565eccc3"))
            ),
        ),
        header_deps=(h("7978ec7ce5b507cfb52e149e36b1a23f6062ed150503c85bbf825da3599095ed"),),
        inputs=(
            Input(OutPoint(h("365698b50ca0da75dca2c87f9e7b563811d3b5813736b8cc62cc3b106faceb17"))),
        ),
        outputs=(Output(0x2540BE400, script),),
        outputs_data=(b"",),
    )
    assert transaction.hash.hex() == (
        "a0ef4eb5f4ceeb08a4c8524d84c5da95dce2f608e0ca2ec8091191b0f330c6e3"
    )


def test_sizes_of_structs() -> None:
    assert len(Input().packed) == 44
    assert len(CellDep().packed) == 37
    assert len(Header().packed) == 208


@pytest.mark.parametrize(
    "make",
    [
        lambda: Script(b"short"),
        lambda: Script(hash_type="data9"),
        lambda: CellDep(dep_type="cell"),
        lambda: Input(since=-1).packed,
        lambda: OutPoint(index=1 << 32).packed,
        lambda: TransactionContext(Transaction(inputs=(Input(),))),
        lambda: TransactionContext(Transaction(outputs=(Output(),))),
        lambda: TransactionContext.around(b"").for_script("type", "input", 0),
        lambda: TransactionContext.around(b"").for_script("lock", "input", 1),
        lambda: TransactionContext.around(b"").choose("input.0"),
        lambda: TransactionContext.around(b"").choose("0x" + "00" * 32),
    ],
)
def test_what_cannot_be(make: Any) -> None:
    with pytest.raises(ConfigError):
        make()


# Mock transactions.


def mock(name: str = "pingpong") -> dict[str, Any]:
    """A transaction whose first input has the guest as its lock, by a template."""
    nothing = "0x" + "00" * 32
    lock = {"code_hash": f"0x{{{{ hash {name}.elf }}}}", "hash_type": "data2", "args": "0x"}
    place = {"tx_hash": "0x" + "01" * 32, "index": "0x0"}
    spent = {"since": "0x0", "previous_output": {"tx_hash": "0x" + "02" * 32, "index": "0x0"}}
    dep = {"out_point": place, "dep_type": "code"}
    found = {
        "mock_info": {
            "inputs": [
                {
                    "input": spent,
                    "output": {"capacity": "0x10", "lock": lock, "type": None},
                    "data": "0x",
                    "header": nothing,
                }
            ],
            "cell_deps": [
                {
                    "cell_dep": dep,
                    "output": {
                        "capacity": "0x0",
                        "lock": {"code_hash": nothing, "hash_type": "data", "args": "0x"},
                        "type": "{{ def_type code }}",
                    },
                    "data": f"0x{{{{ data {name}.elf }}}}",
                    "header": None,
                }
            ],
            "header_deps": [],
        },
        "tx": {
            "version": "0x0",
            "cell_deps": [dep],
            "header_deps": [],
            "inputs": [spent],
            "outputs": [],
            "outputs_data": [],
            "witnesses": ["0x0102"],
        },
    }
    return json.loads(json.dumps(found))  # nothing is shared


def test_a_mock_transaction_runs() -> None:
    context = parse_mock(json.dumps(mock()), folder=FOLDER)
    assert context.transaction.witnesses == (b"\x01\x02",)
    assert context.code == program("pingpong")
    assert context.version == 2
    assert Scheduler(context, engine="threaded").run().exit_code == 0


def test_code_by_type(tmp_path: Path) -> None:
    found = mock("errors")
    lock = found["mock_info"]["inputs"][0]["output"]["lock"]
    lock |= {"code_hash": "0x{{ ref_type code }}", "hash_type": "type"}
    path = tmp_path / "tx.json"
    path.write_text(json.dumps(found))
    (tmp_path / "errors.elf").write_bytes(program("errors"))
    assert Scheduler(load_mock(path), engine="threaded").run().exit_code == 21


def test_a_dep_group_stands_for_its_cells() -> None:
    found = mock()
    group = {"tx_hash": "0x" + "03" * 32, "index": "0x1"}
    found["tx"]["cell_deps"] = [{"out_point": group, "dep_type": "dep_group"}]
    members = (1).to_bytes(4, "little") + b"\x01" * 32 + bytes(4)
    cell = dict(found["mock_info"]["cell_deps"][0])
    cell |= {"cell_dep": {"out_point": group, "dep_type": "dep_group"}}
    cell |= {"data": "0x" + members.hex()}
    found["mock_info"]["cell_deps"].append(cell)
    context = parse_mock(json.dumps(found), folder=FOLDER)
    assert [each.data for each in context.cell_deps] == [program("pingpong")]


def broken(path: str, value: Any) -> str:
    found = mock()
    *way, last = path.split(".")
    at: Any = found
    for step in way:
        at = at[int(step)] if step.isdecimal() else at[step]
    at[int(last) if last.isdecimal() else last] = value
    return json.dumps(found)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("{", "the file"),
        ("[]", "the file"),
        ("{}", "the file"),
        (broken("tx.version", 0), "tx.version"),
        (broken("tx.inputs.0.since", "0xffffffffffffffffff"), "tx.inputs[0]"),
        (broken("tx.witnesses.0", "0x1"), "tx.witnesses[0]"),
        (broken("tx.cell_deps.0.dep_type", "x"), "tx.cell_deps[0]"),
        (broken("tx.cell_deps.0.out_point.index", "0x7"), "mock_info.cell_deps"),
        (broken("tx.header_deps", ["0x" + "11" * 32]), "mock_info.header_deps"),
        (broken("tx.inputs.0.previous_output.index", "0x9"), "mock_info.inputs"),
        (broken("mock_info.inputs.0.output.lock.code_hash", "0x00"), "mock_info.inputs[0]"),
        (broken("mock_info.cell_deps.0.data", "0x{{ data none.elf }}"), "none.elf"),
        (broken("mock_info.extensions", [["0x"]]), "mock_info.extensions"),
        (broken("tx.outputs_data", ["0x"]), "tx"),
    ],
)
def test_broken_mock_transactions(text: str, where: str) -> None:
    with pytest.raises(MockTransactionError) as caught:
        parse_mock(text, folder=FOLDER)
    assert caught.value.where.startswith(where)
