"""Catalog versions in the data folder: applying one, and opening those there are.

Owns: `catalog/`: `versions/N.db` (immutable), `numbers.db`, `current` (the version in force), `lock`.
Reads the catalog's files. Writes a version whole and durably before `current` names it, so that a crash anywhere leaves
the old version in force and the next apply works. Never changes or drops a version.
"""

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from waypost.catalog.compile import compile_catalog
from waypost.catalog.compiled import Compiled, encode_compiled, fingerprint, is_reference, secrets_of
from waypost.catalog.model import Partner
from waypost.catalog.numbering import Numbered, names_to_number
from waypost.catalog.problems import Problems
from waypost.engines.local.durable import sync_path
from waypost.engines.sqlite.catalog_artefact import write_artefact
from waypost.engines.sqlite.catalog_files import read_sources, resolve_secret
from waypost.engines.sqlite.catalog_numbers import Numbers
from waypost.engines.sqlite.catalog_problems import folder_problems
from waypost.engines.sqlite.catalog_view import SqliteCatalogView
from waypost.engines.sqlite.connection import store_error
from waypost.errors import WaypostError
from waypost.settings import CatalogSettings

_PARTIAL = ".partial"


class AppliedCatalog(msgspec.Struct, frozen=True):
    """What apply came to: the version in force, whether it is new, how many of each kind it has."""

    version: int
    changed: bool
    counts: Mapping[str, int]


def check_catalog(path: Path, settings: CatalogSettings, *, secrets: bool = True) -> Compiled:
    """Reads and compiles a file or folder. `secrets` also reads what tokens refer to, here and now.

    Raises WaypostError for files that cannot be read, CatalogErrors for what is wrong in them.
    """
    compiled = compile_catalog(read_sources(path, settings.bytes_max), settings)
    if secrets:
        _check_secrets(compiled)
    return compiled


def _check_secrets(compiled: Compiled) -> None:
    problems = Problems()
    uses = list(secrets_of(compiled))
    owners = {use.text: use.whose for use in uses if use.level != "signature" and not is_reference(use.text)}
    for use in uses:
        if not is_reference(use.text):
            continue
        file, _, line = use.place.rpartition(":")
        at = (file, int(line or 0))
        try:
            token = resolve_secret(use.text)
        except WaypostError as error:
            problems.add(error.code, error.detail, at, field=use.field, value=use.text, hint=error.hint)
            continue
        if use.level != "signature" and owners.setdefault(token, use.whose) != use.whose:
            message, hint = f"has the same token as {owners[token]}", "give each its own"
            problems.add("catalog_duplicate", message, at, field=use.field, value=use.text, hint=hint)
    for partner in compiled.partners:
        if is_reference(partner.token):
            _check_partner_token(partner, problems)
    problems.raise_any()


def _check_partner_token(partner: Partner, problems: Problems) -> None:
    """Of server-to-server clicks: it is asked of its own partner's links only, so it may be another's too."""
    try:
        resolve_secret(partner.token)
    except WaypostError as error:
        file, _, line = partner.place.rpartition(":")
        field = f"partners.{partner.name}.token"
        problems.add(
            error.code, error.detail, (file, int(line or 0)), field=field, value=partner.token, hint=error.hint
        )


def apply_catalog(
    path: Path,
    folder: Path,
    settings: CatalogSettings,
    *,
    secrets: bool = True,
    on_activated: Callable[[int], None] | None = None,
) -> AppliedCatalog:
    """Makes a file or folder the catalog in force, unless it is in force already.

    `on_activated` is told the version when it comes into force, at least once: if that fails or is cut short, the
    next apply tells it again. Raises, and changes nothing, as `check_catalog` does; `catalog_busy` while another
    process applies; `data_unwritable`.
    """
    compiled = check_catalog(path, settings, secrets=secrets)
    data = encode_compiled(compiled)
    with _lock(folder):
        _clear_partial(folder)
        numbers = Numbers(folder / "numbers.db")
        try:
            version = read_current(folder)
            if version and not numbers.fingerprint(version):
                detail = f"does not know version {version}, which is in force: its numbers are lost"
                raise WaypostError("store_corrupt", detail, place=str(folder / "numbers.db"))
            changed = version == 0 or numbers.fingerprint(version) != fingerprint(data)
            if changed:
                version = _write_version(folder, numbers, compiled, data)
            if on_activated is not None and not numbers.is_announced(version):
                on_activated(version)
                numbers.mark_announced(version)
        finally:
            numbers.close()
    return AppliedCatalog(version, changed, compiled.counts())


def _write_version(folder: Path, numbers: Numbers, compiled: Compiled, data: bytes) -> int:
    numbered = Numbered(compiled, numbers.assign(names_to_number(compiled)))
    at_least = max([0, *_versions(folder)]) + 1
    version = numbers.begin_version(fingerprint(data), at_least)
    versions = folder / "versions"
    try:
        versions.mkdir(exist_ok=True, mode=0o700)
        partial = versions / f"{version}.db{_PARTIAL}"
        write_artefact(partial, version, numbered, data)
        partial.rename(versions / f"{version}.db")
        sync_path(versions)
        _set_current(folder, version)
    except OSError as error:
        raise store_error(error, str(folder)) from error
    return version


def _set_current(folder: Path, version: int) -> None:
    partial = folder / f"current{_PARTIAL}"
    partial.write_text(f"{version}\n", "ascii")
    sync_path(partial)
    partial.rename(folder / "current")
    sync_path(folder)


def read_current(folder: Path) -> int:
    """The version in force; 0 if none is. Raises WaypostError `store_corrupt`."""
    file = folder / "current"
    try:
        text = file.read_text("ascii")
    except FileNotFoundError:
        return 0
    except (OSError, UnicodeDecodeError) as error:
        raise WaypostError("store_corrupt", f"cannot be read: {error}", place=str(file)) from error
    if not text.strip().isdigit():
        raise WaypostError("store_corrupt", "does not hold a version number", place=str(file))
    return int(text)


def _versions(folder: Path) -> list[int]:
    return sorted(int(file.stem) for file in (folder / "versions").glob("*.db") if file.stem.isdigit())


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise store_error(error, str(folder)) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise WaypostError("catalog_busy", place=str(folder)) from error
        yield
    finally:
        os.close(descriptor)


def _clear_partial(folder: Path) -> None:
    """Removes what an apply that was cut short left behind."""
    for file in [*folder.glob(f"*{_PARTIAL}"), *folder.glob(f"versions/*{_PARTIAL}*")]:
        file.unlink(missing_ok=True)


class SqliteCatalogStore:
    """A CatalogSource over the data folder's `catalog/`. `resolve` answers what references to secrets stand for."""

    def __init__(self, folder: Path, *, cache_items_max: int, resolve: Callable[[str], str] = resolve_secret) -> None:
        self._folder = folder
        self._resolve = resolve
        self._cache_items_max = cache_items_max

    def current(self) -> int:
        return read_current(self._folder)

    def open(self, version: int) -> SqliteCatalogView:
        file = self._folder / "versions" / f"{version}.db"
        return SqliteCatalogView(file, version, self._cache_items_max, self._resolve)

    def versions(self) -> list[int]:
        return _versions(self._folder)

    def problems(self) -> list[str]:
        """See the port."""
        return folder_problems(self._folder, self.versions(), self.current())
