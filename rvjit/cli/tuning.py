"""What `rvjit run` shows of compiled code to those who tune it."""

from __future__ import annotations

import sys

from rvjit import VM
from rvjit.cli import output
from rvjit.errors import UnknownSymbol

_ALL = "all"


def address_of(vm: VM, where: str) -> int | None:
    """Return the address that *where*, a symbol or a number, names; None for ``all``.

    Raises `UnknownSymbol`.
    """
    if where == _ALL:
        return None
    try:
        return vm.address_of(where)
    except UnknownSymbol:
        try:
            return int(where, 0)
        except ValueError:
            pass
        raise


def dump_ir(vm: VM, where: str) -> None:
    """Print the texts of the region at *where*, or of all that there are now, on stderr.

    Raises `ConfigError` where no region can begin.
    """
    from rvjit.jit.dump import dump_region

    def name(address: int) -> str:
        found = vm.program.symbols.find(address)
        if found is None:
            return hex(address)
        offset = f"+{found[1]:#x}" if found[1] else ""
        return f"{address:#x} <{found[0]}{offset}>"

    address = address_of(vm, where)
    entries = vm.engine.entries if address is None else [address]
    if not entries:
        output.say("dump of IR: no region was compiled")
    eager = vm.engine.name != "tiered"
    for pc in entries:
        output.write(sys.stderr, dump_region(vm.machine, pc, name, eager=eager))
