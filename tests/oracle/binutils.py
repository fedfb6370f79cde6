"""GNU binutils as an oracle for decoding and text."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

_PREFIXES = ("riscv64-unknown-elf-", "riscv64-linux-gnu-")
_TOOLS = ("as", "objcopy", "objdump")
_LINE = re.compile(r"^\s*([0-9a-f]+):\t([0-9a-f]+)\s+\t(.*)$")
_TARGET = re.compile(r"^(c\.j|c\.beqz|c\.bnez|jal|beq|bne|blt|bge|bltu|bgeu) (.* )?([0-9a-f]+)$")


@lru_cache(maxsize=1)
def prefix() -> str | None:
    """Prefix of the tools' names, or None where they are not installed."""
    for each in _PREFIXES:
        if all(shutil.which(each + tool) for tool in _TOOLS):
            return each
    return None


def disassembly(code: bytes, arch: str) -> list[tuple[int, int, str]]:
    """Return (offset, word, text as `normal` writes it) of every instruction in *code*.

    *arch* is an ISA string as the assembler takes it. What objdump does not know starts with a dot.
    """
    tools = prefix()
    assert tools is not None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, object_, binary = folder / "x.s", folder / "x.o", folder / "x.bin"
        source.write_text(" nop\n")
        binary.write_bytes(code)
        for command in (
            ["as", f"-march={arch}", str(source), "-o", str(object_)],
            ["objcopy", "--update-section", f".text={binary}", str(object_)],
        ):
            subprocess.run([tools + command[0], *command[1:]], check=True)
        text = subprocess.run(
            [f"{tools}objdump", "-d", "-z", "-M", "no-aliases", str(object_)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    found = []
    for line in text.splitlines():
        match = _LINE.match(line)
        if match:
            found.append((int(match[1], 16), int(match[2], 16), normal(_hex_target(match[3]))))
    return found


def _hex_target(text: str) -> str:
    """Put 0x before the addresses that objdump writes without."""
    text = (
        text.split(" <", maxsplit=1)[0]
        .split(" #", maxsplit=1)[0]
        .replace("\t", " ")
        .replace(",", ", ")
    )
    found = _TARGET.match(text)
    return f"{found[1]} {found[2] or ''}0x{found[3]}" if found else text


def normal(text: str) -> str:
    """Text with single blanks, no commas and decimal numbers, so that two sources compare."""
    for mark in "()":
        text = text.replace(mark, f" {mark} ")
    return " ".join(_decimal(part) for part in text.replace(",", " ").split())


def _decimal(part: str) -> str:
    try:
        return str(int(part, 0))
    except ValueError:
        return part
