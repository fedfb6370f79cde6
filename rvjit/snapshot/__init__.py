"""Snapshots: machines at rest, in memory and in files.

`snapshot` is the value and its bytes (`container` the frame, `pages` the page table), `capture`
goes from a machine to it and back, `state` is what of the host belongs to a guest.
"""

from rvjit.snapshot.identity import Identity
from rvjit.snapshot.snapshot import Cpu, Snapshot, SnapshotKind
from rvjit.snapshot.state import HostPart, Selection

__all__ = ["Cpu", "HostPart", "Identity", "Selection", "Snapshot", "SnapshotKind"]
