"""The native code of the threaded engine: handlers, decoder and entries for one set of rules."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rvjit.codegen import abi as region_abi
from rvjit.codegen import threaded_abi as abi
from rvjit.codegen.blob import Blob
from rvjit.codegen.lower import DECLARATIONS
from rvjit.codegen.threaded_decoder import (
    FETCH_IR,
    Choice,
    DecoderEmitter,
    Kind,
    decode_text,
)
from rvjit.codegen.threaded_extend import extend_text
from rvjit.codegen.threaded_fusion import FusedEmitter, MatcherEmitter
from rvjit.codegen.threaded_handlers import (
    Form,
    HandlerEmitter,
    Watch,
    form_of,
    is_direct,
    is_relative,
    store_cold,
)
from rvjit.codegen.threaded_sequences import sequences
from rvjit.isa.fusion import Fusion
from rvjit.isa.isa import Isa
from rvjit.isa.spec import Effects, Expansion, InsnSpec, System
from rvjit.machine.rules import Rules

if TYPE_CHECKING:
    from rvjit.codegen.llvm import Compiler


@dataclass
class ThreadedPlan:
    """Which handlers there are, and what instructions get which."""

    symbols: list[str]  # by number; "" for a beginning of sequences that has no handler
    singles: dict[int, Form]  # handlers of one instruction
    choices: dict[Form, Choice]
    longer: dict[Longer, int]  # handlers of several, and beginnings of such
    fused: dict[Fusion, int]  # handlers of fused operations


@dataclass(frozen=True)
class Longer:
    """A handler of several instructions, by that of all *before* the last, and that of the last.

    *forwards* has bit 0 where rs1 of the last is the result of the one before, bit 1 for rs2.
    """

    before: int
    last: int
    forwards: int


def compile_threaded(rules: Rules, compiler: Compiler, *, counts: bool) -> Blob:
    """Compile everything for *rules*; the table of handlers is behind the code.

    *counts* is whether visits are counted, for tiered engines; it costs 5 % of the speed.

    The blob depends on nothing but `threaded_abi.key` and the compiler, and runs at any address.
    """
    plan = make_plan(rules)
    blob = compiler.compile_plain(module_text(rules, plan, pclmul=compiler.pclmul, counts=counts))
    symbols = dict(blob.symbols)
    assert symbols[plan.symbols[0]] == 0
    code = blob.code + bytes(-len(blob.code) % 16)
    offsets = (symbols[name] if name else 0 for name in plan.symbols)
    table = struct.pack(f"<{len(plan.symbols)}I", *offsets)
    return Blob(
        code + table, {name: symbols[name] for name in abi.ENTRIES} | {abi.TABLE: len(code)}
    )


def make_plan(rules: Rules) -> ThreadedPlan:
    """Number the handlers that instructions under *rules* need."""
    plan = ThreadedPlan(["undecoded", *abi.MARKS.values(), "exact"], {}, {}, {}, {})
    exact = len(plan.symbols) - 1
    for form, name in named_forms(rules.isa).items():
        effects = form.spec.effects
        if effects.system is System.EBREAK and rules.ebreak_stops:
            plan.choices[form] = Choice(exact, Kind.PLAIN, ends=True)
            continue
        kind, variants = _variants(form)
        plan.choices[form] = Choice(
            len(plan.symbols), kind, ends=_ends(effects), offset=is_relative(effects)
        )
        for variant in variants:
            number = len(plan.symbols)
            plan.singles[number] = variant
            plan.symbols.append(f"h{number}.{name}")
    _add_sequences(plan, rules.isa)
    for fusions in rules.isa.decoder.fusions.values():
        for fusion in fusions:
            number = plan.fused[fusion] = len(plan.symbols)
            plan.symbols.append(f"f{number}.{fusion.name}")
    return plan


def named_forms(isa: Isa) -> dict[Form, str]:
    """What has handlers of its own, with the name of the encoding that fixes the least."""

    def fixes(encoding: InsnSpec | Expansion) -> int:
        operands = encoding.operands.values() if isinstance(encoding, Expansion) else ()
        return sum(isinstance(each, int) for each in operands)

    forms: dict[Form, str] = {}
    for encoding in sorted(isa.decoder.forms, key=fixes):
        forms.setdefault(form_of(encoding), encoding.name)
    return forms


def _add_sequences(plan: ThreadedPlan, isa: Isa) -> None:
    """Number the handlers of several instructions, as far as the ISA has them, and beginnings."""
    singles = {name: plan.choices[form].number for form, name in named_forms(isa).items()}
    for sequence in sequences():
        if not all(step.name in singles for step in sequence):
            continue
        first, *others = sequence
        number = singles[first.name] + first.added
        for step in others:
            longer = Longer(number, singles[step.name] + step.added, step.forwards)
            if longer not in plan.longer:
                plan.longer[longer] = len(plan.symbols)
                plan.symbols.append("")
            number = plan.longer[longer]
        plan.symbols[number] = f"s{number}"


def _variants(form: Form) -> tuple[Kind, list[Form]]:
    effects = form.spec.effects
    if effects.jump is None:
        return Kind.PLAIN, [form]
    counted = replace(form, watch=Watch.COUNT)
    if effects.jump.condition is not None:
        return Kind.BRANCH, [form, counted]
    linking = replace(counted, links=True)
    if is_direct(effects):
        return Kind.JUMP, [form, counted, linking]
    return Kind.INDIRECT, [replace(form, watch=Watch.LIMIT), counted, linking]


def _ends(effects: Effects) -> bool:
    """Whether what comes next in memory need not be an instruction."""
    jump = effects.jump
    return (jump is not None and jump.condition is None) or effects.system is not None


def module_text(rules: Rules, plan: ThreadedPlan, *, pclmul: bool, counts: bool) -> str:
    """The whole module as text."""
    parts = [DECLARATIONS, abi.MARKS_IR]
    symbols = plan.symbols
    for number, (forms, forwards) in _parts(plan).items():
        if not symbols[number]:
            continue
        emitter = HandlerEmitter(
            symbols[number], forms, rules, pclmul=pclmul, counts=counts, forwards=forwards
        )
        parts.append(emitter.emit())
    for fusion, number in plan.fused.items():
        fused = FusedEmitter(symbols[number], fusion, rules, pclmul=pclmul, counts=counts)
        parts.append(fused.emit())
    if plan.fused:
        parts.append(MatcherEmitter(rules.isa.decoder.fusions, plan.fused, plan.choices).emit())
    parts += [abi.COLD_IR, *(store_cold(size) for size in (1, 2, 4, 8))]
    parts += [region_abi.STORE_SLOW_IR, FETCH_IR, decode_text(fuses=bool(plan.fused))]
    numbers = {(each.before, each.last, each.forwards): n for each, n in plan.longer.items()}
    parts.append(extend_text(numbers))
    parts.append(DecoderEmitter(rules.isa.decoder.forms, plan.choices).emit())
    parts += [abi.ENTRIES_IR, abi.METADATA]
    return "\n".join(parts)


def _parts(plan: ThreadedPlan) -> dict[int, tuple[tuple[Form, ...], tuple[int, ...]]]:
    """What each handler runs, and what each part of that has from the one before."""
    found: dict[int, tuple[tuple[Form, ...], tuple[int, ...]]] = {}
    for number, form in plan.singles.items():
        found[number] = (form,), (0,)
    for longer, number in plan.longer.items():
        forms, forwards = found[longer.before]
        found[number] = (*forms, plan.singles[longer.last]), (*forwards, longer.forwards)
    return found
