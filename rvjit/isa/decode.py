"""Words to decoded instructions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from rvjit.errors import DefinitionError
from rvjit.isa.cost import Cost
from rvjit.isa.encoding import OPCODE_BITS, OPCODE_BITS_COMPRESSED, Row
from rvjit.isa.spec import Expansion, Extension, InsnSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rvjit.isa.fusion import Fusion, Fusions


@dataclass(frozen=True, slots=True)
class Insn:
    """A decoded instruction: the base definition and its operands.

    Registers that the instruction does not have are 0. *imm* is a signed int. *spelling* is the
    compressed form it was written in, if any; *length* is in bytes.
    """

    spec: InsnSpec
    rd: int
    rs1: int
    rs2: int
    imm: int
    length: int
    word: int
    spelling: Expansion | None = None

    @property
    def cost(self) -> Cost:
        """What it costs."""
        return self.spec.cost

    @property
    def steps(self) -> tuple[Insn]:
        """What runs, as of a fused operation: this."""
        return (self,)


class Decoder:
    """Decodes words of a fixed set of extensions.

    Where two rows overlap, one must be a strict special case of the other, and wins; anything else
    is a `DefinitionError`.
    """

    def __init__(
        self,
        extensions: Iterable[Extension],
        *,
        hints: bool = True,
        fusions: Fusions | None = None,
        version: int = 2,
    ) -> None:
        """Without *hints*, HINTs among the compressed words are no instructions.

        *fusions* are those of VM *version*.
        """
        forms: list[InsnSpec | Expansion] = []
        replaced: dict[InsnSpec, InsnSpec] = {}
        for extension in extensions:
            forms += extension.insns
            forms += extension.expansions
            replaced |= extension.replaced
        forms = [_replace_base(form, replaced) for form in forms if form not in replaced]
        if not hints:
            forms = [without for form in forms if (without := _without_hints(form)) is not None]
        # What may be the first of a sequence, and the sequences in the order of trial.
        self.fusions: dict[InsnSpec, list[Fusion]] = {}
        if fusions is not None:
            forms = [_with_nops(form, fusions.nop) for form in forms]
            for fusion in fusions.of_version(version):
                self.fusions.setdefault(fusion.members[0].spec, []).append(fusion)
        _check_overlaps(forms)
        # Most specific first; then only forms that share the low seven (or quadrant) bits matter.
        forms.sort(key=lambda form: -form.row.mask.bit_count())
        self.forms = tuple(forms)  # in the order in which they are tried
        self._long: dict[int, list[InsnSpec | Expansion]] = {}
        self._short: dict[int, list[InsnSpec | Expansion]] = {}
        for form in forms:
            row = form.row
            if row.length == 4:
                self._long.setdefault(row.match & OPCODE_BITS, []).append(form)
            else:
                self._short.setdefault(row.match & OPCODE_BITS_COMPRESSED, []).append(form)

    def decode(self, word: int) -> Insn | None:
        """Decode *word*: 32 bits where the low two are 3, else its low 16 are looked at.

        None where the word is no instruction of these extensions.
        """
        if word & 3 == 3:
            forms = self._long.get(word & OPCODE_BITS, ())
        else:
            word &= 0xFFFF
            forms = self._short.get(word & OPCODE_BITS_COMPRESSED, ())
        for form in forms:
            row = form.row
            if word & row.mask == row.match:
                return (
                    _decode_long(form, word) if isinstance(form, InsnSpec) else _expand(form, word)
                )
        return None


def _replace_base(
    form: InsnSpec | Expansion, replaced: Mapping[InsnSpec, InsnSpec]
) -> InsnSpec | Expansion:
    if isinstance(form, Expansion) and form.base in replaced:
        return replace(form, base=replaced[form.base])
    return form


def _without_hints(form: InsnSpec | Expansion) -> InsnSpec | Expansion | None:
    if isinstance(form, InsnSpec):
        return form
    if form.is_hint:
        return None
    refused = () if form.hints_are_old else form.hints
    return replace(form, nonzero=form.nonzero + refused)


def _with_nops(form: InsnSpec | Expansion, nop: InsnSpec) -> InsnSpec | Expansion:
    """Let HINTs be *nop* with all its operands 0, since it matters what stands beside others."""
    if isinstance(form, InsnSpec):
        return form
    if form.is_hint:
        return replace(form, base=nop, operands=dict.fromkeys(form.operands, 0))
    return replace(form, nop=nop) if form.hints else form


def _decode_long(spec: InsnSpec, word: int) -> Insn:
    row = spec.row
    operands = row.operands
    immediate = row.immediate
    return Insn(
        spec,
        row.extract("rd", word) if "rd" in operands else 0,
        row.extract("rs1", word) if "rs1" in operands else 0,
        row.extract("rs2", word) if "rs2" in operands else 0,
        row.extract(immediate, word) if immediate else 0,
        4,
        word,
    )


def _expand(form: Expansion, word: int) -> Insn | None:
    row = form.row
    if any(not row.extract(name, word) for name in form.nonzero):
        return None
    if form.nop is not None and any(not row.extract(name, word) for name in form.hints):
        return Insn(form.nop, 0, 0, 0, 0, length=2, word=word, spelling=form)
    values = {"rd": 0, "rs1": 0, "rs2": 0, "imm": 0}
    for name, source in form.operands.items():
        values[name] = source if isinstance(source, int) else row.extract(source, word)
    return Insn(form.base, **values, length=2, word=word, spelling=form)


def _check_overlaps(forms: list[InsnSpec | Expansion]) -> None:
    groups: dict[int, list[InsnSpec | Expansion]] = {}
    for form in forms:
        key = form.row.match & (OPCODE_BITS if form.row.length == 4 else OPCODE_BITS_COMPRESSED)
        groups.setdefault(key, []).append(form)
    for group in groups.values():
        for index, first in enumerate(group):
            for second in group[index + 1 :]:
                a: Row = first.row
                b: Row = second.row
                if a.overlaps(b) and not (a.more_specific_than(b) or b.more_specific_than(a)):
                    raise DefinitionError(
                        f"{first.name} and {second.name} overlap: {a.text!r}, {b.text!r}"
                    )
