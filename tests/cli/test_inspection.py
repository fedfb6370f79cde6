"""`rvjit disasm`, `info` and `examples`."""

from __future__ import annotations

import json
import struct

import pytest

import rvjit
from rvjit.cli import main
from rvjit.cli.arguments import directory
from rvjit.cli.elf_facts import read_facts
from rvjit.cli.output import printable
from rvjit.cli.status import Status
from rvjit.examples import EXAMPLES


def test_a_listing_has_headings_addresses_bytes_and_text(capfd):
    assert main(["disasm", "example:hello"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "0000000000011000 <_start>:"
    assert lines[1].split() == ["11000:", "4401", "c.li", "s0,", "0"]
    assert any(line.endswith(" <main>:") for line in lines)
    assert any("<leave+0x" in line and "bgeu" in line for line in lines)


def test_a_symbol_is_listed_to_its_end(capfd):
    assert main(["disasm", "--start", "leave", "example:hello"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].endswith(" <leave>:")
    assert sum(line.endswith(":") for line in lines) == 1
    assert any("ecall" in line for line in lines)


def test_start_and_count(capfd):
    assert main(["disasm", "--start", "0x11002", "--count", "2", "example:hello"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "0000000000011002 <_start+0x2>:"
    assert [line.split()[0] for line in lines[1:]] == ["11002:", "11004:"]


def test_unknown_words_are_data(guest, capfd):
    assert main(["disasm", guest("wild")]) == 0
    out = capfd.readouterr().out
    assert "ffffffff  .word 0xffffffff" in out
    assert "0000      .half 0x0000" in out
    assert ".half" in out.splitlines()[-1]  # the text ends with half an instruction


def test_the_isa_decides_what_is_unknown(guest, capfd):
    main(["disasm", "--isa", "imc", guest("atomics")])
    assert "amoadd" not in capfd.readouterr().out
    main(["disasm", guest("atomics")])
    assert "amoadd.d" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["disasm", "--start", "mian", "example:hello"], Status.USAGE, ["'mian'", "main"]),
        (["disasm", "--start", "0x1", "example:hello"], Status.USAGE, ["0x1", "0x11000"]),
        (["disasm", "--count", "0", "example:hello"], Status.USAGE, ["--count", "at least 1"]),
        (["disasm", "--isa", "x", "example:hello"], Status.USAGE, ["'x'"]),
        (["disasm"], Status.USAGE, ["PROG"]),
        (["disasm", "/no/file"], Status.LOAD, ["/no/file"]),
        (["disasm", __file__], Status.LOAD, [__file__, "not an ELF file"]),
        (["info", __file__], Status.LOAD, [__file__, "not an ELF file"]),
        (["info", "example:helo"], Status.LOAD, ["did you mean 'hello'?"]),
    ],
)
def test_mistakes(arguments, status, words, capfd):
    assert main(arguments) == status
    err = capfd.readouterr().err
    assert err.startswith("rvjit: error: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err


def test_info_of_a_program(capfd):
    assert main(["info", "example:json"]) == 0
    out = capfd.readouterr().out
    for text in ("executable, RISC-V (soft-float, compressed)", "rv64i2p1_m2p0", "<_start>", "R-X"):
        assert text in out
    assert main(["info", "--json", "example:json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["profiles"] == {
        "ckb 0": None,
        "ckb 1": None,
        "ckb 2": None,
        "linux": None,
    }
    assert [each["permissions"] for each in found["segments"]] == ["R--", "R-X", "RW-"]
    assert found["functions"] > 5


def test_the_least_memory_is_enough_and_no_less_is(capfd):
    main(["info", "--json", "example:sieve"])
    least = json.loads(capfd.readouterr().out)["least_linux_memory"]
    path = rvjit.example("sieve")
    rvjit.VM.from_elf(path, memory_size=least, name="x")
    with pytest.raises(rvjit.ElfError):
        rvjit.VM.from_elf(path, memory_size=least - 4096, name="x")


def test_info_says_why_a_profile_refuses(tmp_path, capfd):
    file = bytearray(rvjit.example("hello").read_bytes())
    struct.pack_into("<H", file, 18, 62)  # e_machine: x86-64
    (tmp_path / "other.elf").write_bytes(file)
    assert main(["info", str(tmp_path / "other.elf")]) == 0
    out = capfd.readouterr().out
    assert "executable, x86-64\n" in out
    assert "refuses: e_machine = 0x3e: not a RISC-V program" in out
    assert "loads" in out  # CKB-VM does not look at e_machine


def test_info_of_broken_files_never_fails(tmp_path, capfd):
    file = rvjit.example("hello").read_bytes()
    for length in (4, 6, 20, 63, 64, 100, 300, len(file) // 2):
        (tmp_path / "cut.elf").write_bytes(file[:length])
        assert main(["info", str(tmp_path / "cut.elf")]) in (0, Status.LOAD)
    assert "internal" not in capfd.readouterr().err
    start = file.index(b"A", file.index(b"riscv") - 8)
    for position in range(start, start + 40):
        broken = bytearray(file)
        broken[position] ^= 0xFF
        read_facts(bytes(broken))


def test_info_of_the_installation(capfd):
    assert main(["info"]) == 0
    out = capfd.readouterr().out
    for text in (rvjit.__version__, "llvmlite", "engine jit", "cache  ", "124  "):
        assert text in out
    assert main(["info", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["engines"]["interp"] is None
    assert found["packages"].keys() == {"llvmlite", "pyelftools", "msgpack", "rich"}
    assert int(found["llvm"].split(".")[0]) >= 14
    assert found["profiles"]["ckb"]["memory_size"] == 4 << 20
    assert found["exit_statuses"]["130"] == "Ctrl-C"


def test_info_says_why_an_engine_is_not_available(monkeypatch, capfd):
    def make(name, machine):
        raise rvjit.EngineUnavailable(f"{name}: no such luck")

    monkeypatch.setattr("rvjit.cli.info.engines.make", make)
    main(["info"])
    assert "not available: jit: no such luck" in capfd.readouterr().out


def test_examples_are_listed(capfd):
    assert main(["examples"]) == 0
    out = capfd.readouterr().out
    for example in EXAMPLES:
        assert example.name in out
        assert example.summary in out
    assert main(["examples", "--json"]) == 0
    listed = json.loads(capfd.readouterr().out)
    assert [each["name"] for each in listed] == [example.name for example in EXAMPLES]


def test_names_from_files_cannot_control_the_terminal():
    assert printable("ok\n\x1b[31mred\x07\u202e") == "ok\n\\x1b[31mred\\x07\\u202e"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/a:/b", ("/a", "/b", False)),
        ("/a:/b:ro", ("/a", "/b", False)),
        (".:/:rw", (".", "/", True)),
        ("a:b:/c:rw", ("a:b", "/c", True)),
        ("a:/rw", ("a", "/rw", False)),
    ],
)
def test_directories(text, found):
    assert directory(text) == found
