"""IR text to linked machine code, through llvmlite."""

from __future__ import annotations

import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import llvmlite.binding as llvm

from rvjit.codegen import abi
from rvjit.codegen.blob import Blob
from rvjit.codegen.lower import declarations
from rvjit.codegen.objects import link, link_each
from rvjit.errors import EngineUnavailable, InternalError

# Parts of code generation that we do without, each with LLVM's own choice, which comes back behind:
# the options are the process's, and others may want them. Loop strength reduction takes a sixth of
# the time of regions, for what address modes do as well; the machine scheduler 4 in 100, for
# nothing on a processor that reorders by itself; what host instructions have in common, what is the
# same in every turn of a loop, copies, equal ends of blocks and blocks for copies of their own 2 to
# 3 in 100 each, hoisted constants 1, for no difference that could be measured. Preparing IR for
# code generation takes 5: what it is for, addresses in the block that uses them, is written so.
_LEFT_OUT = {
    "-disable-lsr=1": "-disable-lsr=0",
    "-enable-misched=0": "-enable-misched=1",
    "-disable-machine-cse=1": "-disable-machine-cse=0",
    "-disable-constant-hoisting=1": "-disable-constant-hoisting=0",
    "-disable-cgp=1": "-disable-cgp=0",
    "-disable-machine-licm=1": "-disable-machine-licm=0",
    "-disable-postra-machine-licm=1": "-disable-postra-machine-licm=0",
    "-disable-copyprop=1": "-disable-copyprop=0",
    "-enable-tail-merge=0": "-enable-tail-merge=1",
    "-disable-phi-elim-edge-splitting=1": "-disable-phi-elim-edge-splitting=0",
}

LLVM_VERSION = ".".join(map(str, llvm.llvm_version_info))


class Compiler:
    """Compiles regions for the CPU of this machine. Make one with `compiler()`."""

    def __init__(self) -> None:
        if platform.machine() not in ("x86_64", "AMD64") or platform.system() != "Linux":
            raise EngineUnavailable(
                f"jit: supported on Linux x86-64, this is {platform.system()} {platform.machine()}"
            )
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        llvm.initialize_native_asmparser()  # for inline assembler
        self.cpu = llvm.get_host_cpu_name()
        features = llvm.get_host_cpu_features()
        self.features = features.flatten()
        self.pclmul = bool(features.get("pclmul"))
        target = llvm.Target.from_triple(llvm.get_process_triple())
        # Small and position independent: no absolute address, so blobs need no relocation.
        self._machine = target.create_target_machine(
            cpu=self.cpu, features=self.features, opt=1, reloc="pic", codemodel="small"
        )
        self._triple = llvm.get_process_triple()
        self._emitting = threading.Lock()

    def compile(self, functions: str) -> dict[str, Blob]:
        """Compile the text of some regions (declarations and metadata are added), by symbol.

        Raises `InternalError` with LLVM's message where the text is not valid.
        """
        module = self._parse(_module(functions))
        self._optimise(module)
        return link_each(self._generate(module))

    def compile_plain(self, module: str) -> Blob:
        """Compile a whole module without passes over its IR, for code that is written well.

        Raises `InternalError` with LLVM's message where the text is not valid.
        """
        return link(self._generate(self._parse(module)))

    @cached_property
    def runtime(self) -> Blob:
        """The functions `enter` and `store_slow`."""
        module = self._parse(abi.RUNTIME_IR + abi.METADATA)
        self._optimise(module)
        return link(self._generate(module))

    def explain(self, functions: str) -> tuple[str, str]:
        """Return the IR of some functions after the passes, and their host code, as text.

        Raises `InternalError` with LLVM's message where the text is not valid.
        """
        module = self._parse(_module(functions))
        self._optimise(module)
        defined = [str(each) for each in module.functions if not each.is_declaration]
        with self._quickly():
            assembly = str(self._machine.emit_assembly(module))
        module.close()
        return "\n".join(defined), assembly

    def _parse(self, text: str) -> llvm.ModuleRef:
        try:
            module = llvm.parse_assembly(text)
            module.triple = self._triple
            module.verify()
        except RuntimeError as error:
            raise InternalError(f"LLVM refuses generated code: {error}") from error
        return module

    def _generate(self, module: llvm.ModuleRef) -> bytes:
        """Return the object file of *module*, which is done with."""
        with self._quickly():
            code: bytes = self._machine.emit_object(module)
        module.close()
        return code

    @contextmanager
    def _quickly(self) -> Iterator[None]:
        """Generate code without what is left out."""
        with self._emitting:
            for option in _LEFT_OUT:
                llvm.set_option("rvjit", option)
            try:
                yield
            finally:
                for option in _LEFT_OUT.values():
                    llvm.set_option("rvjit", option)

    def _optimise(self, module: llvm.ModuleRef) -> None:
        """Run the passes that earn their time.

        Registers out of allocas, and constants. Combining instructions takes twice as long as both;
        what it found is not written in the first place (`FunctionText`). Simplifying control flow
        costs more than it saves later. LLVM's own function pipelines gave no faster code.
        """
        options = llvm.create_pipeline_tuning_options()
        for function in module.functions:
            if function.is_declaration:
                continue
            # A PassBuilder keeps a dangling hook of every run, so each run gets its own.
            builder = llvm.create_pass_builder(self._machine, options)
            passes = llvm.create_new_function_pass_manager()
            passes.add_sroa_pass()
            passes.add_sccp_pass()
            passes.run(function, builder)
            passes.close()
            builder.close()


def _module(functions: str) -> str:
    """Return the text of a module of *functions*."""
    return declarations(functions) + functions + abi.METADATA


_compiler: Compiler | None = None


def compiler() -> Compiler:
    """Return the process's compiler. Raises `EngineUnavailable` where there can be none."""
    global _compiler  # noqa: PLW0603
    if _compiler is None:
        _compiler = Compiler()
    return _compiler
