"""`rvjit disasm`: a program's instructions, with the symbols they belong to."""

from __future__ import annotations

import sys
from argparse import Namespace
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from rvjit.cli import COMMANDS, arguments, output, programs
from rvjit.cli.parser import Parser
from rvjit.cli.status import CommandError, Status
from rvjit.errors import ConfigError, ElfError
from rvjit.isa import DEFAULT_ISA, Insn, Isa, disassemble
from rvjit.isa.expr import Op
from rvjit.loader.elf import load_linux
from rvjit.loader.install_ckb import install_ckb
from rvjit.loader.program import Program
from rvjit.loader.symbols import SymbolTable
from rvjit.machine.memory import MAX_SIZE
from rvjit.vm.profile import NAMES, Profile

_LINES_AT_ONCE = 512
_DIRECTIVES = {1: ".byte", 2: ".half", 4: ".word"}


def make_parser() -> Parser:
    """Make the command's parser."""
    parser = Parser("disasm", COMMANDS["disasm"])
    parser.add_argument("program", metavar="PROG", help="RV64 ELF file or example:NAME")
    parser.add_argument(
        "--start",
        metavar="WHERE",
        help="address (0x… or decimal) or symbol; a function is shown up to its end",
    )
    parser.add_argument(
        "--count", type=arguments.positive, metavar="N", help="at most N instructions"
    )
    parser.add_argument("--isa", metavar="NAME", help="extensions (default: all that rvjit has)")
    parser.add_argument(
        "--profile",
        choices=NAMES,
        default="linux",
        help="whose rules say what is loaded where (default linux)",
    )
    return parser


def main(args: Namespace) -> int:
    """Print the instructions asked for."""
    isa = DEFAULT_ISA if args.isa is None else Isa.parse(args.isa)
    with programs.named(args.program):
        program = load(programs.read(args.program), args.program, args.profile)
    listing = Listing(program, isa)
    start, end = _range(args.start, listing, args.count)
    lines = listing.lines(start, end, args.count)
    while some := list(islice(lines, _LINES_AT_ONCE)):
        output.write(sys.stdout, "\n".join(some))
    return 0


def load(file: bytes, name: str, profile: str) -> Program:
    """Load *file* as *profile* does; one too large for its memory is given more. `ElfError`."""
    chosen = Profile(profile)
    memory = chosen.make_memory()
    if chosen.is_ckb:
        return install_ckb(file, memory, (), chosen.vm_version, name=name).program
    try:
        return load_linux(file, window_base=memory.base, window_size=memory.size, name=name)
    except ElfError as refusal:
        try:
            return load_linux(file, window_base=0, window_size=MAX_SIZE, name=name)
        except ElfError:
            raise refusal from None


@dataclass(frozen=True)
class Code:
    """Executable bytes from *address* on."""

    address: int
    data: bytes

    @property
    def end(self) -> int:
        """First address after them."""
        return self.address + len(self.data)


class Listing:
    """The text of a program's executable segments, without the zeros that no file has."""

    def __init__(self, program: Program, isa: Isa) -> None:
        self.symbols: SymbolTable = program.symbols
        self.codes = [
            Code(segment.address, segment.data)
            for segment in program.segments
            if segment.executable and segment.data
        ]
        self.functions = list(self.symbols.functions())
        self._starts = [address for address, _, _ in self.functions]
        self._headings = frozenset(self._starts)
        self._decoder = isa.decoder

    def lines(self, start: int, end: int, count: int | None) -> Iterator[str]:
        """Yield the lines of instructions in ``[start, end)``, at most *count* of them."""
        left = sys.maxsize if count is None else count
        blank = ""  # before every heading but the first
        for code in self.codes:
            first = pc = max(code.address, start)
            while pc < min(code.end, end) and left:
                if pc == first or pc in self._headings:
                    yield f"{blank}{pc:016x}{self._where(pc)}:"
                    blank = "\n"
                word, length, insn = self._decode(code, pc)
                yield self._line(pc, word, length, insn)
                pc += length
                left -= 1

    def _decode(self, code: Code, pc: int) -> tuple[int, int, Insn | None]:
        """Return the word at *pc*, its bytes and what it is; a symbol always starts a new one."""
        following = bisect_right(self._starts, pc)
        end = self._starts[following] if following < len(self._starts) else code.end
        room = min(code.end, end) - pc
        offset = pc - code.address
        available = code.data[offset : offset + min(room, 4)]
        length = 4 if available[0] & 3 == 3 else 2
        if len(available) < length:
            length = 2 if len(available) >= 2 else 1
            return int.from_bytes(available[:length], "little"), length, None
        word = int.from_bytes(available[:length], "little")
        return word, length, self._decoder.decode(word)

    def _line(self, pc: int, word: int, length: int, insn: Insn | None) -> str:
        if insn is None:
            text = f"{_DIRECTIVES[length]} {word:#0{2 * length + 2}x}"
        else:
            text = disassemble(insn, pc) + self._target(insn, pc)
        return f"{pc:12x}:  {word:0{2 * length}x}{'':{8 - 2 * length}}  {text}"

    def _target(self, insn: Insn, pc: int) -> str:
        """Name the place that a direct jump or branch leads to."""
        jump = insn.spec.effects.jump
        if jump is None or jump.target.op is not Op.ADD or jump.target.args[0].op is not Op.PC:
            return ""
        return self._where(pc + insn.imm)

    def _where(self, address: int) -> str:
        found = self.symbols.find(address)
        if found is None:
            return ""
        name, offset = found
        return f" <{name}+{offset:#x}>" if offset else f" <{name}>"


def _range(where: str | None, listing: Listing, count: int | None) -> tuple[int, int]:
    """Return the addresses to show; *where* is an address or a symbol."""
    everywhere = max((code.end for code in listing.codes), default=0)
    if where is None:
        return 0, everywhere
    end = everywhere
    try:
        start = listing.symbols.address(where)
    except KeyError:
        try:
            start = int(where, 0)
        except ValueError:
            raise ConfigError(_no_symbol(where, listing)) from None
    else:
        sizes = {address: size for address, size, _ in listing.functions}
        if count is None and sizes.get(start):
            end = start + sizes[start]
    if not any(code.address <= start < code.end for code in listing.codes):
        ranges = ", ".join(f"{code.address:#x} to {code.end:#x}" for code in listing.codes)
        message = f"{where}: no code at {start:#x}; code is from {ranges or 'nowhere'}"
        raise CommandError(message, Status.USAGE)
    return start, end


def _no_symbol(name: str, listing: Listing) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, [each for _, _, each in listing.functions], n=3)
    hint = f", close are {', '.join(close)}" if close else ""
    return f"{name!r} is neither an address nor a symbol of the program{hint}"
