"""Certificates of a door: a folder of pairs, one of which a handshake gets by the name that it asks for.

Owns: the contexts in force and their replacement. Reads the folder: `NAME.crt` or `NAME.pem` beside `NAME.key`, and
`NAME/fullchain.pem` beside `NAME/privkey.pem`; the names a pair stands for are those in its certificate. `default` is
for clients that ask for no name or an unknown one; without it the first pair is. Writes nothing.
Never takes a pair into force that cannot be loaded, does not belong together, or is out of its time while the pair that
it replaces is not: then the old one goes on. Connections that are open keep what they began with.
"""

import datetime
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509

from waypost.errors import WaypostError
from waypost.telemetry.log import logger
from waypost.telemetry.stats import Stats

_DEFAULT = "default"
_PROTOCOLS = ["http/1.1"]
_ENDS = (".crt", ".pem")
_FOLDER_PAIR = ("fullchain.pem", "privkey.pem")
_State = tuple[tuple[int, int], ...]


class Pair(NamedTuple):
    """A certificate with its key, loaded."""

    names: tuple[str, ...]  # lower case; `*.` before those that stand for one label
    context: ssl.SSLContext
    not_before_ms: int
    not_after_ms: int
    state: _State  # size and time of both files, by which a change is seen
    pem: tuple[bytes, bytes] = (b"", b"")  # key and certificates as they were read

    def holds(self, now_ms: int) -> bool:
        """Whether it is within its time."""
        return self.not_before_ms <= now_ms < self.not_after_ms


class TlsFolder:
    """`context` is for listening; `refresh` looks for changes, and may be called beside the loop."""

    def __init__(self, folder: Path, now_ms: Callable[[], int], stats: Stats) -> None:
        """Raises WaypostError `bad_certificate` if there is no pair that can be used."""
        self._folder = folder
        self._now_ms = now_ms
        self._stats = stats
        self._log = logger("doors")
        self._pairs: dict[str, Pair] = {}
        self._refused: dict[str, _State] = {}  # what was said of a pair is not said again until it changes
        self._by_name: dict[str, ssl.SSLContext] = {}
        self._default: ssl.SSLContext | None = None
        self.refresh()
        if not self._pairs:
            raise WaypostError("bad_certificate", "no certificate in the folder can be used", place=str(folder))
        self.context = _new_context()  # has no certificate: it leads to the others, and so need never change
        self.context.sni_callback = self._choose

    @property
    def names(self) -> list[str]:
        """The names that are served."""
        return sorted(self._by_name)

    def for_name(self, name: str | None) -> ssl.SSLContext | None:
        """The context for a name that a client asks for."""
        name = (name or "").lower().rstrip(".")
        found = self._by_name.get(name)
        if found is None and "." in name:
            found = self._by_name.get("*." + name.partition(".")[2])
        return found or self._default

    def pems(self) -> list[tuple[bytes, bytes]]:
        """Keys and certificates in force, the default first: for what makes contexts of its own. From any thread."""
        pairs = self._pairs
        first = _DEFAULT if _DEFAULT in pairs else min(pairs)
        return [pairs[stem].pem for stem in sorted(pairs, key=lambda stem: (stem != first, stem))]

    def refresh(self) -> None:
        """Takes new and changed pairs into force, lets go of those that are gone, and sets the gauges."""
        files = self._files()
        pairs = dict(self._pairs)
        for stem, (certificate, key) in files.items():
            state = _state(certificate, key)
            old = pairs.get(stem)
            if (old is not None and old.state == state) or self._refused.get(stem) == state:
                continue
            try:
                new = load_pair(certificate, key)
                if not new.holds(self._now_ms()) and old is not None and old.holds(self._now_ms()):
                    raise WaypostError("bad_certificate", "it is out of its time", place=str(certificate))
            except WaypostError as error:
                self._refused[stem] = state
                self._stats.add("tls_refused")
                self._log.error("certificate_refused", code=error.code, error=str(error), kept=old is not None)
                continue
            self._refused.pop(stem, None)
            pairs[stem] = new
            self._log.info("certificate_taken", names=list(new.names), expires_ms=new.not_after_ms)
        gone = [stem for stem in pairs if stem not in files]
        if len(gone) == len(pairs) and pairs:
            self._say_empty()
        else:
            self._refused.pop("", None)
            for stem in gone:
                del pairs[stem]
        if pairs != self._pairs:
            self._take(pairs)
        self._show()

    def _say_empty(self) -> None:
        if self._refused.get("") is None:
            self._refused[""] = ()
            self._stats.add("tls_refused")
            self._log.error("certificates_gone", code="bad_certificate", folder=str(self._folder))

    def _take(self, pairs: dict[str, Pair]) -> None:
        by_name: dict[str, ssl.SSLContext] = {}
        for stem in sorted(pairs):
            for name in pairs[stem].names:
                held = by_name.get(name)
                if held is None or stem == _DEFAULT:
                    by_name[name] = pairs[stem].context
        first = pairs[_DEFAULT] if _DEFAULT in pairs else pairs[min(pairs)]
        self._pairs, self._by_name, self._default = pairs, by_name, first.context

    def _show(self) -> None:
        if self._pairs:
            first_ms = min(pair.not_after_ms for pair in self._pairs.values())
            self._stats.set("tls_expires_s", (first_ms - self._now_ms()) // 1000)
        self._stats.set("tls_names", len(self._by_name))

    def _choose(self, connection: Any, name: str | None, _context: ssl.SSLContext) -> None:
        """OpenSSL asks in each handshake, name or not."""
        chosen = self.for_name(name)
        if chosen is not None:
            connection.context = chosen

    def _files(self) -> dict[str, tuple[Path, Path]]:
        """Pairs by name. A folder that cannot be read has none."""
        found: dict[str, tuple[Path, Path]] = {}
        try:
            entries = sorted(self._folder.iterdir())
        except OSError:
            return found
        for entry in entries:
            if entry.is_dir() and (entry / _FOLDER_PAIR[0]).exists():
                found[entry.name] = (entry / _FOLDER_PAIR[0], entry / _FOLDER_PAIR[1])
            elif entry.suffix in _ENDS and entry.with_suffix(".key").exists():
                found[entry.stem] = (entry, entry.with_suffix(".key"))
        return found


def load_pair(certificate: Path, key: Path) -> Pair:
    """Raises WaypostError `bad_certificate` if the files are no certificate and its key."""
    try:
        state = _state(certificate, key)
        leaf = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
        pem = (key.read_bytes(), certificate.read_bytes())
        context = _new_context()
        context.load_cert_chain(certificate, key, password=_no_password)
        names = _names(leaf)
    except (OSError, ValueError, ssl.SSLError, IndexError) as error:
        raise WaypostError("bad_certificate", str(error), place=str(certificate)) from error
    return Pair(names, context, _ms(leaf.not_valid_before_utc), _ms(leaf.not_valid_after_utc), state, pem)


def _new_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(_PROTOCOLS)
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    domains = [name.lower() for name in alternatives.get_values_for_type(x509.DNSName)]
    addresses = [str(address) for address in alternatives.get_values_for_type(x509.IPAddress)]
    return (*domains, *addresses)


def _state(*files: Path) -> _State:
    found = []
    for file in files:
        try:
            stat = file.stat()
            found.append((stat.st_size, stat.st_mtime_ns))
        except OSError:
            found.append((-1, 0))
    return tuple(found)


def _ms(time: datetime.datetime) -> int:
    return int(time.timestamp() * 1000)
