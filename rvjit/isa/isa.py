"""Isa: which extensions a machine has, by name; what is in them is imported to decode."""

from __future__ import annotations

from functools import cached_property

from rvjit.errors import ConfigError
from rvjit.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rvjit.isa.decode import Decoder

# In the order of canonical ISA strings.
NAMES = ("i", "m", "a", "c", "zba", "zbb", "zbc", "zbs", "zicond", "mop")

_BASE = frozenset({"i", "m", "c"})  # always present, as in CKB-VM
_B = frozenset({"zba", "zbb", "zbc", "zbs"})
_MOP = "mop"  # macro-op fusion: no extension of the manual's, but CKB-VM counts it as one
_OPTIONAL = frozenset({"a", "zicond", _MOP}) | _B

VM_VERSIONS = (0, 1, 2)  # of CKB-VM

ALL = "imcba_mop"  # what CKB-VM can do, in one word: "all"

# Bytes that an instruction, and a sequence that is fused, has at most.
LONGEST = 4
LONGEST_FUSED = 20


@dataclass(frozen=True)
class Isa:
    """A set of extensions. Make one with `Isa.parse`."""

    extensions: frozenset[str]
    strict_fences: bool = False  # refuse FENCE and FENCE.I words with reserved fields (CKB-VM)
    # Whose version of CKB-VM decodes. 0: no HINTs among compressed words, and JALR links before it
    # reads rs1. 1 and 2 differ in macro-op fusion only.
    version: int = 2

    def __post_init__(self) -> None:
        unknown = self.extensions - _BASE - _OPTIONAL
        if unknown or not self.extensions >= _BASE:
            raise ConfigError(f"ISA of {sorted(self.extensions)}: use Isa.parse")
        if self.version not in VM_VERSIONS:
            raise ConfigError(f"VM version {self.version!r}: CKB has 0, 1 and 2")
        if self.fuses and self.version == 0:
            raise ConfigError(
                f"ISA {self} in VM version 0: macro-op fusion (mop) is part of versions 1 and 2 "
                "(InvalidVersion)"
            )

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle as names; the decoder is made anew."""
        return Isa, (self.extensions, self.strict_fences, self.version)

    @staticmethod
    def parse(text: str, *, strict_fences: bool = False, version: int = 2) -> Isa:
        """Read an ISA string such as ``imc``, ``imcba``, ``imac_zba_zbb`` or ``rv64imcb_mop``.

        Single letters first (i, m, c required; a and b optional; b means Zba, Zbb, Zbc and Zbs),
        then longer names after underscores. ``mop`` is CKB-VM's macro-op fusion, and ``all`` is
        ``imcba_mop``. Raises `ConfigError` that names what is unknown.
        """
        if text.lower() == "all":
            text = ALL
        letters, *names = text.lower().removeprefix("rv64").split("_")
        found = set(letters) | set(names)
        if "b" in found:
            found = found - {"b"} | _B
        unknown = sorted(found - _BASE - _OPTIONAL)
        if unknown or not letters:
            raise ConfigError(
                f"ISA {text!r}: {', '.join(unknown) or 'nothing named'}: known are i, m, c "
                f"(required), a, b, {', '.join(sorted(_OPTIONAL - {'a'}))}"
            )
        missing = sorted(_BASE - found)
        if missing:
            raise ConfigError(f"ISA {text!r}: lacks {', '.join(missing)}, which is always required")
        return Isa(frozenset(found), strict_fences, version)

    def __str__(self) -> str:
        """Return the canonical ISA string, such as ``rv64imac_zba_zbb_zbc_zbs``."""
        names = [name for name in NAMES if name in self.extensions]
        letters = "".join(name for name in names if len(name) == 1)
        return "_".join(["rv64" + letters, *(name for name in names if len(name) > 1)])

    @property
    def fuses(self) -> bool:
        """Whether sequences of instructions are fused."""
        return _MOP in self.extensions

    @property
    def reach(self) -> int:
        """Bytes from pc on that may have a part in what is decoded there."""
        return LONGEST_FUSED if self.fuses else LONGEST

    @cached_property
    def decoder(self) -> Decoder:
        """The decoder for these extensions."""
        return _decoder(self)


_decoders: dict[Isa, Decoder] = {}


def _decoder(isa: Isa) -> Decoder:
    if isa not in _decoders:
        # Definitions are for those who decode, which a process with all it needs in the cache does
        # not: they take a quarter of a start.
        from rvjit.isa.decode import Decoder
        from rvjit.isa.ext.fence_any import FENCE_ANY
        from rvjit.isa.ext.link_first import LINK_FIRST
        from rvjit.isa.extensions import EXTENSIONS

        chosen = [ext for ext in EXTENSIONS if ext.name in isa.extensions]
        if not isa.strict_fences:
            chosen.append(FENCE_ANY)
        if isa.version == 0:
            chosen.append(LINK_FIRST)
        fusions = None
        if isa.fuses:
            from rvjit.isa.ext.mop import MOP

            fusions = MOP
        _decoders[isa] = Decoder(
            chosen, hints=isa.version > 0, fusions=fusions, version=isa.version
        )
    return _decoders[isa]


DEFAULT_ISA = Isa.parse("imcba_zicond")
