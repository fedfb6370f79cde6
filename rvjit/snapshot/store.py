"""PageStore: many snapshots in one file, each page of 4096 bytes kept once, by its SHA-256.

A snapshot in the store is the portable form in which every page with bytes is a reference to a
source whose name is the page's digest. The file is an SQLite database: changes happen wholly or not
at all, and several processes may use it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from itertools import islice
from types import TracebackType

from rvjit.errors import SnapshotError, SnapshotFormatError
from rvjit.snapshot.pages import Kind, Pages, PagesBuilder, Source
from rvjit.snapshot.snapshot import Snapshot

_PREFIX = b"rvjit:sha256:"  # of the names of pages as sources
_TABLES = """
CREATE TABLE IF NOT EXISTS snapshots (id BLOB PRIMARY KEY, form BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pages (id BLOB PRIMARY KEY, bytes BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS uses (
    snapshot BLOB NOT NULL REFERENCES snapshots, page BLOB NOT NULL REFERENCES pages,
    PRIMARY KEY (snapshot, page)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS users ON uses (page);
"""


class PageStore:
    """A store in the file *path*, made where there is none. A context manager; `close` ends it.

    Raises `SnapshotError` where the file cannot be used as a store.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        with self._errors():
            self._base = sqlite3.connect(self._path, isolation_level=None)
            try:
                self._base.executescript(_TABLES)
            except sqlite3.Error:
                self._base.close()
                raise

    def __enter__(self) -> PageStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def put(self, snapshot: Snapshot) -> str:
        """Keep *snapshot* and return its id, the SHA-256 of its portable form, in hex.

        Equal snapshots have one id and are kept once.
        """
        digest = sha256()
        for part in snapshot.parts():
            digest.update(part)
        key = digest.digest()
        stored, pages = _referring(snapshot.pages)
        form = replace(snapshot, pages=stored).to_bytes()
        with self._transaction():
            if self._base.execute("SELECT 1 FROM snapshots WHERE id = ?", (key,)).fetchone():
                return key.hex()
            self._base.executemany("INSERT OR IGNORE INTO pages VALUES (?, ?)", pages.items())
            self._base.execute("INSERT INTO snapshots VALUES (?, ?)", (key, form))
            self._base.executemany(
                "INSERT INTO uses VALUES (?, ?)", ((key, page) for page in pages)
            )
        return key.hex()

    def get(self, key: str) -> Snapshot:
        """Return the snapshot with that id.

        Raises `SnapshotError` where there is none, `SnapshotFormatError` where it was damaged.
        """
        with self._errors():
            row = self._base.execute(
                "SELECT form FROM snapshots WHERE id = ?", (_raw(key),)
            ).fetchone()
        if row is None:
            raise SnapshotError(f"{self._path} has no snapshot {key}")
        kept = Snapshot.from_bytes(row[0])
        return replace(kept, pages=_resolved(kept.pages, self._page))

    def remove(self, key: str) -> None:
        """Forget a snapshot, and the pages that no other one has; unknown ids do not matter."""
        raw = _raw(key)
        with self._transaction():
            own = "SELECT page FROM uses WHERE snapshot = ?"
            pages = self._base.execute(own, (raw,)).fetchall()
            self._base.execute("DELETE FROM uses WHERE snapshot = ?", (raw,))
            self._base.execute("DELETE FROM snapshots WHERE id = ?", (raw,))
            unused = "DELETE FROM pages WHERE id = ? AND id NOT IN (SELECT page FROM uses)"
            self._base.executemany(unused, pages)

    def ids(self) -> list[str]:
        """Return the ids of all snapshots, sorted."""
        with self._errors():
            rows = self._base.execute("SELECT id FROM snapshots ORDER BY id").fetchall()
        return [row[0].hex() for row in rows]

    @property
    def page_count(self) -> int:
        """Number of pages that are kept."""
        with self._errors():
            return int(self._base.execute("SELECT count(*) FROM pages").fetchone()[0])

    def _page(self, digest: bytes) -> bytes:
        with self._errors():
            row = self._base.execute("SELECT bytes FROM pages WHERE id = ?", (digest,)).fetchone()
        if row is None or sha256(row[0]).digest() != digest:
            raise SnapshotFormatError(f"page {digest.hex()} is missing or damaged", 0)
        return bytes(row[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._errors():
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._base.execute("ROLLBACK")
                raise
            self._base.execute("COMMIT")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise SnapshotError(f"page store {self._path}: {error}") from error


def _referring(pages: Pages) -> tuple[Pages, dict[bytes, bytes]]:
    """Return *pages* with references instead of bytes, and the bytes by digest."""
    builder, found = PagesBuilder(), dict[bytes, bytes]()
    contents = pages.contents()
    for extent in pages.extents:
        if extent.kind is Kind.LITERAL or extent.kind is Kind.SAME:
            for page, data in islice(contents, extent.length):
                digest = sha256(data).digest()
                found[digest] = bytes(data)
                builder.add_source(page, 1, extent.flags, Source(_PREFIX + digest, 0))
        else:
            builder.add_extent(extent, pages.sources)
    return builder.build(), found


def _resolved(pages: Pages, load: Callable[[bytes], bytes]) -> Pages:
    """Undo `_referring`."""
    builder = PagesBuilder()
    for extent in pages.extents:
        name = pages.sources[extent.argument].id if extent.kind is Kind.SOURCE else None
        if isinstance(name, bytes) and name.startswith(_PREFIX):
            builder.add_bytes(extent.first, extent.flags, load(name.removeprefix(_PREFIX)))
        else:
            builder.add_extent(extent, pages.sources)
    return builder.build()


def _raw(key: str) -> bytes:
    try:
        return bytes.fromhex(key)
    except ValueError:
        raise SnapshotError(f"{key!r} is no id of a snapshot") from None
