"""Recordings in SQLite: one file, written beside its name and moved there when it is whole.

Owns: the file's tables. Values are frames and structs in MessagePack, catalogs are compressed with zlib.
Never changes a recording that is finished, and never opens an installation's stores: the recorder hands it parts.
"""

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from waypost.engines.local.durable import sync_path
from waypost.engines.sqlite.catalog_export import CatalogExport, export_catalogs, import_catalogs
from waypost.engines.sqlite.connection import store_error
from waypost.errors import WaypostError
from waypost.model.ids import KeyRing
from waypost.ports.feed import Block
from waypost.ports.recording import RecordedBatch, RecordingInfo, StartState

FORMAT = 1
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE blocks (source TEXT, first INT, count INT, at_ms INT, watermark_ms INT, data BLOB,
  PRIMARY KEY (source, first)) WITHOUT ROWID;
CREATE TABLE batches (nth INTEGER PRIMARY KEY, data BLOB NOT NULL);
"""
_to_bytes = msgspec.msgpack.Encoder().encode


class SqliteRecordingWriter:
    """See `ports.recording.RecordingWriter`. Raises WaypostError `recording_exists`, `data_unwritable`."""

    def __init__(self, file: Path, catalogs: Path) -> None:
        """`catalogs` is the folder that the recorded catalog versions are taken from."""
        self._catalogs = catalogs
        if file.exists():
            raise WaypostError("recording_exists", place=str(file))
        self._file = file
        self._partial = file.with_name(f".{file.name}.partial")
        self._partial.unlink(missing_ok=True)
        try:
            self._partial.touch(mode=0o600)
            self._connection = sqlite3.connect(self._partial, isolation_level=None)
            self._connection.executescript(_SCHEMA)
            self._connection.execute("PRAGMA journal_mode=OFF")  # a half of it is of no use to anybody
            self._connection.execute("BEGIN")
        except (sqlite3.Error, OSError) as error:
            raise store_error(error, str(file)) from error

    def add_block(self, source: str, block: Block) -> None:
        self._insert("blocks", (source, block.first, block.count, block.at_ms, block.watermark_ms, block.data))

    def add_batch(self, batch: RecordedBatch) -> None:
        self._insert("batches", (None, _to_bytes(batch)))

    def finish(self, info: RecordingInfo, state: StartState, ring: KeyRing, versions: Sequence[int]) -> None:
        """See the port."""
        parts = {"format": FORMAT, "info": info, "state": state, "ring": ring.keys}
        for name, part in parts.items():
            self._insert("meta", (name, _to_bytes(part)))
        export = export_catalogs(self._catalogs, versions)
        self._insert("meta", ("catalogs", zlib.compress(_to_bytes(export), 1)))
        try:
            self._connection.execute("COMMIT")
            self._connection.close()
            sync_path(self._partial)
            self._partial.rename(self._file)
            sync_path(self._file.parent)
        except (sqlite3.Error, OSError) as error:
            raise store_error(error, str(self._file)) from error

    def abandon(self) -> None:
        """Leaves nothing behind; after `finish` it has no effect."""
        self._connection.close()
        self._partial.unlink(missing_ok=True)

    def _insert(self, table: str, row: tuple[Any, ...]) -> None:
        try:
            self._connection.execute(f"INSERT OR IGNORE INTO {table} VALUES ({','.join('?' * len(row))})", row)
        except sqlite3.Error as error:
            raise store_error(error, str(self._file)) from error


class SqliteRecording:
    """See `ports.recording.Recording`. Raises WaypostError `data_missing`, `store_corrupt`, `wire_version`."""

    def __init__(self, file: Path) -> None:
        self._place = str(file)
        if not file.is_file():
            raise WaypostError("data_missing", "there is no such recording", place=self._place)
        try:
            self._connection = sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True)
            found = self._meta("format", int)
        except sqlite3.Error as error:
            raise WaypostError("store_corrupt", f"is no recording: {error}", place=self._place) from error
        if found != FORMAT:
            raise WaypostError("wire_version", f"has format {found}, this release reads {FORMAT}", place=self._place)
        self.info = self._meta("info", RecordingInfo)

    def start(self) -> StartState:
        state: StartState = self._meta("state", StartState)
        return state

    def ring(self) -> KeyRing:
        return KeyRing(self._meta("ring", dict[str, bytes]))

    def batches(self) -> Iterator[RecordedBatch]:
        decode = msgspec.msgpack.Decoder(RecordedBatch).decode
        for (data,) in self._connection.execute("SELECT data FROM batches ORDER BY nth"):
            yield decode(data)

    def blocks(self, source: str, start: int, end: int) -> list[Block]:
        """See the port."""
        rows = self._connection.execute(
            "SELECT first, count, at_ms, watermark_ms, data FROM blocks"
            " WHERE source = ? AND first >= ? AND first < ? ORDER BY first",
            (source, start, end),
        )
        found = [Block(*row) for row in rows]
        position = start
        for block in found:
            if block.first != position:
                break
            position = block.end
        if position != end:
            raise WaypostError("store_corrupt", f"{source}: position {position} is missing", place=self._place)
        return found

    def unpack_catalogs(self, folder: Path) -> None:
        """See the port."""
        data = zlib.decompress(self._raw("catalogs"))
        import_catalogs(msgspec.msgpack.decode(data, type=CatalogExport), folder)

    def close(self) -> None:
        self._connection.close()

    def _raw(self, name: str) -> bytes:
        found = self._connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        if found is None:
            raise WaypostError("store_corrupt", f"`{name}` is missing", place=self._place)
        return bytes(found[0])

    def _meta(self, name: str, kind: type[Any]) -> Any:
        try:
            return msgspec.msgpack.decode(self._raw(name), type=kind)
        except msgspec.DecodeError as error:
            raise WaypostError("store_corrupt", f"`{name}` cannot be read: {error}", place=self._place) from error
