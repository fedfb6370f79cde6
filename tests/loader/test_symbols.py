"""Symbol tables: useful where they are right, silent where they are wrong."""

from __future__ import annotations

import pytest

from rvjit.loader.symbols import SymbolTable

FUNC, OBJECT, NOTYPE = 2, 1, 0
LOCAL, GLOBAL = 0x00, 0x10
ABS = 0xFFF1

SYMBOLS = [
    ("main", 0x11020, 0x20, GLOBAL | FUNC, 1),
    ("_start", 0x11000, 0, GLOBAL | NOTYPE, 1),
    ("helper", 0x11050, 0x30, LOCAL | FUNC, 1),
    ("inner", 0x11060, 0x08, LOCAL | FUNC, 1),
    ("label", 0x11030, 0, LOCAL | NOTYPE, 1),
    ("alias", 0x11020, 0x20, LOCAL | FUNC, 1),
    ("last", 0x11FF0, 0, GLOBAL | NOTYPE, 1),
    ("$x", 0x11000, 0, LOCAL | NOTYPE, 1),
    (".L1", 0x11002, 0, LOCAL | NOTYPE, 1),
    ("absent", 0, 0, GLOBAL | NOTYPE, 0),
    ("constant", 0x11024, 0, GLOBAL | NOTYPE, ABS),
    ("table", 0x14000, 0x10, GLOBAL | OBJECT, 2),
    ("thread", 0x11000, 8, GLOBAL | 6, 1),
]


@pytest.fixture
def table(make_elf):
    return SymbolTable(make_elf(symbols=SYMBOLS))


@pytest.mark.parametrize(
    ("address", "found"),
    [
        (0x10FFF, None),
        (0x11000, ("_start", 0)),
        (0x1101F, ("_start", 0x1F)),
        (0x11020, ("main", 0)),
        (0x11030, ("main", 0x10)),
        (0x1103F, ("main", 0x1F)),
        (0x11040, None),
        (0x11050, ("helper", 0)),
        (0x11060, ("inner", 0)),
        (0x11067, ("inner", 7)),
        (0x11068, ("helper", 0x18)),
        (0x11080, None),
        (0x11FFF, ("last", 0xF)),
        (0x12000, None),
        (0x14008, ("table", 8)),
        (0, None),
        ((1 << 64) - 1, None),
    ],
)
def test_find_names_the_innermost_symbol(table, address, found):
    assert table.find(address) == found


def test_functions_come_by_address_without_data_and_labels_inside(table):
    assert list(table.functions()) == [
        (0x11000, 0x20, "_start"),
        (0x11020, 0x20, "main"),
        (0x11050, 0x30, "helper"),
        (0x11060, 0x08, "inner"),
        (0x11FF0, 0x10, "last"),
    ]


def test_names_have_addresses(table):
    names = ("alias", "label", "constant", "table")
    assert [table.address(name) for name in names] == [0x11020, 0x11030, 0x11024, 0x14000]
    for name in ("absent", "$x", ".L1", "thread", "nobody"):
        with pytest.raises(KeyError):
            table.address(name)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_a_global_name_wins_over_local_ones(make_elf, order):
    same = [
        ("same", 0x11000, 4, LOCAL | FUNC, 1),
        ("same", 0x11010, 4, GLOBAL | FUNC, 1),
        ("same", 0x11020, 4, LOCAL | FUNC, 1),
    ]
    table = SymbolTable(make_elf(symbols=[same[each] for each in order]))
    assert table.address("same") == 0x11010


def test_big_endian_tables_are_read_too(make_elf):
    table = SymbolTable(make_elf(symbols=SYMBOLS, order=">"))
    assert table.find(0x11024) == ("main", 4)


@pytest.mark.parametrize(
    "changes",
    [
        {"sections": {"sh_size": (1 << 64) - 1}},
        {"sections": {"sh_offset": (1 << 64) - 1}},
        {"sections": {"sh_link": 9}},
        {"sections": {"sh_link": 1}},
        {"sections": {"sh_entsize": 0}},
        {"sections": {"sh_entsize": 1 << 40}},
        {"sections": {"sh_type": 5}},
        {"e_shnum": 0},
        {"e_shnum": 0xFFFF},
        {"e_shoff": (1 << 64) - 1},
        {"e_shoff": 0},
        {"e_shentsize": 0},
        {"e_shentsize": 3},
    ],
)
def test_broken_tables_count_as_none(make_elf, changes):
    table = SymbolTable(make_elf(symbols=SYMBOLS, **changes))
    assert list(table.functions()) == []
    assert table.find(0x11000) is None
    with pytest.raises(KeyError):
        table.address("main")


@pytest.mark.parametrize("file", [b"", b"\x7fELF", b"\x7fELF\x02\x01\x01", bytes(100)])
def test_no_file_has_no_symbols(file):
    assert SymbolTable(file).find(0) is None


def test_names_that_are_no_utf8_are_kept_readable(make_elf):
    file = make_elf(symbols=[("n\u00e4me", 0x11000, 4, GLOBAL | FUNC, 1)])
    broken = file.replace("n\u00e4me".encode(), b"n\xff\xfeme")
    name, _ = SymbolTable(broken).find(0x11000)
    assert name == "n\ufffd\ufffdme"


def test_symbols_move_with_the_bias(make_elf):
    table = SymbolTable(make_elf(symbols=SYMBOLS), 0x1000)
    assert table.find(0x12024) == ("main", 4)
    assert table.find(0x12FFF) == ("last", 0xF)
    assert table.address("constant") == 0x11024
    wrapped = SymbolTable(make_elf(symbols=SYMBOLS), -0x20000)
    assert wrapped.address("main") == (1 << 64) - 0xEFE0
