"""Geo files: MMDB databases that say of an address where it is and whose network it belongs to.

Owns: opening, proving and replacing one file. Reads the file; writes a copy of it, which is what all doors of a machine
map together: a mapped file that is written over in place (`cp new.mmdb city.mmdb`) kills whoever reads it (SIGBUS), and
that would be all doors at once. Never keeps what it was asked for.

Records of MaxMind's GeoIP2 and GeoLite2 (City, Country, ISP, ASN) and of files with the same or a flat form.
"""

import contextlib
import os
import shutil
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import maxminddb

from waypost.errors import WaypostError

_TREE_SEPARATOR_BYTES = 16
_PROBES = 512  # addresses looked up before a file is believed


class _Stamp(NamedTuple):
    """What tells one file from its successor under the same name."""

    inode: int
    size: int
    mtime_ns: int


class GeoFile:
    """One MMDB file, as it stood when it was last found valid. Without a folder for `copies` it is mapped itself."""

    def __init__(self, file: Path, copies: Path | None = None) -> None:
        self.file = file
        self._copies = copies
        self._stamp: _Stamp | None = None
        self._refused: _Stamp | None = None
        self._reader: maxminddb.Reader | None = None
        self.built_s = 0  # when it was built; 0 while none is in use
        self.built = ""  # the day of it, in the form that facts have

    def look(self, address: str) -> dict[str, Any]:
        """The record of an address; empty if there is none, or if this is no address."""
        reader = self._reader
        if reader is None:
            return {}
        try:
            found = reader.get(address)
        except (ValueError, TypeError, maxminddb.InvalidDatabaseError):
            return {}
        return found if isinstance(found, dict) else {}

    def refresh(self) -> bool:
        """Takes the file if it is another one than before. Whether it was taken.

        Raises WaypostError `bad_geo_file`, once for each file, and keeps the one in use.
        """
        stamp = self._now()
        if stamp is None:
            if self._reader is None and self._refused is None:
                self._refused = _Stamp(0, 0, 0)
                raise WaypostError("bad_geo_file", "there is no such file", place=str(self.file))
            return False
        if stamp in (self._stamp, self._refused):
            return False
        mapped = self._copied(stamp)
        try:
            reader = _opened(mapped, mapped.stat().st_size)
        except (OSError, ValueError, KeyError, TypeError, maxminddb.InvalidDatabaseError) as error:
            self._refused = stamp
            if mapped != self.file:
                mapped.unlink(missing_ok=True)
            raise WaypostError("bad_geo_file", str(error) or type(error).__name__, place=str(self.file)) from error
        self._tidy(mapped)
        self._stamp, self._reader = stamp, reader  # the old one is unmapped when its last look-up has ended
        self.built_s = int(reader.metadata().build_epoch)
        self.built = datetime.fromtimestamp(self.built_s, UTC).strftime("%Y%m%d")
        return True

    def _copied(self, stamp: _Stamp) -> Path:
        """The copy of the file as it is, made unless another door has; the file itself if there is no room for one."""
        if self._copies is None:
            return self.file
        name = f"{self._copy_name}{stamp.inode:x}-{stamp.size:x}-{stamp.mtime_ns:x}.mmdb"
        copy, aside = self._copies / name, self._copies / f".{name}.{os.getpid()}"
        try:
            self._copies.mkdir(parents=True, exist_ok=True)
            if not copy.exists():
                shutil.copyfile(self.file, aside)
                aside.rename(copy)
        except OSError:
            with contextlib.suppress(OSError):
                aside.unlink()
            return self.file
        return copy

    @property
    def _copy_name(self) -> str:
        """What the names of this file's copies begin with."""
        return blake2b(str(self.file).encode(), digest_size=6).hexdigest() + "-"

    def _tidy(self, kept: Path) -> None:
        """Removes the other copies; who has one mapped keeps it."""
        for copy in self._copies.glob(f"{self._copy_name}*.mmdb") if self._copies is not None else ():
            if copy != kept:
                copy.unlink(missing_ok=True)

    def _now(self) -> _Stamp | None:
        with contextlib.suppress(OSError):
            found = self.file.stat()
            return _Stamp(found.st_ino, found.st_size, found.st_mtime_ns)
        return None


def _opened(file: Path, size: int) -> maxminddb.Reader:
    """A reader that was tried out: sizes agree, and records all over the tree can be read. Raises what is wrong."""
    reader = maxminddb.open_database(str(file), maxminddb.MODE_MMAP_EXT)
    about = reader.metadata()
    tree_bytes = about.node_count * about.record_size * 2 // 8
    if about.node_count < 1 or tree_bytes + _TREE_SEPARATOR_BYTES > size:
        raise ValueError("the search tree is larger than the file")
    step = (1 << 32) // _PROBES
    for nth in range(_PROBES):
        four = (nth * step + step // 3).to_bytes(4, "big")
        record = reader.get(".".join(str(byte) for byte in four))
        if record is not None and not isinstance(record, dict):
            raise ValueError("its records are no mappings")
    return reader


def place_of(record: dict[str, Any]) -> dict[str, str]:
    """Country (ISO 3166), region (ISO 3166-2, or its name where the file has no code), city, in English."""
    facts: dict[str, str] = {}
    country = _code(record.get("country")) or _text(record.get("country_code"))
    if country:
        facts["country"] = country.upper()
    region = _region(record, facts.get("country", ""))
    if region:
        facts["region"] = region
    city = _name(record.get("city"))
    if city:
        facts["city"] = city
    return facts


def network_of(record: dict[str, Any]) -> str:
    """The provider's name."""
    for key in ("isp", "organization", "autonomous_system_organization", "as_name", "name"):
        found = _text(record.get(key))
        if found:
            return found
    return ""


def _region(record: dict[str, Any], country: str) -> str:
    parts = record.get("subdivisions")
    if isinstance(parts, list) and parts and isinstance(parts[0], dict):
        code = _text(parts[0].get("iso_code"))
        return f"{country}-{code}" if code and country else code or _name(parts[0])
    return _text(record.get("region"))


def _code(value: object) -> str:
    return _text(value.get("iso_code")) if isinstance(value, dict) else _text(value)


def _name(value: object) -> str:
    if isinstance(value, dict):
        names = value.get("names")
        return _text(names.get("en")) if isinstance(names, dict) else _text(value.get("name"))
    return _text(value)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
