"""Whether a catalog folder still holds what was written to it, row by row.

Owns: the comparison. Reads every version, `numbers.db` and `current`; writes nothing. Each version keeps the compiled
catalog it was made from, and numbers never change, so what each of its tables must hold can be worked out again.
"""

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from waypost.catalog.compiled import Compiled, decode_compiled, fingerprint, is_reference, secrets_of
from waypost.catalog.numbering import Numbered, names_to_number
from waypost.engines.sqlite.catalog_artefact import token_digest
from waypost.engines.sqlite.connection import connect

_META = {"compiled", "counts", "domains", "format", "intake", "privacy", "rates", "rules", "version"}


def folder_problems(folder: Path, versions: list[int], current: int) -> list[str]:
    """What is missing, in words that name it; empty when all is well, and when no catalog was ever applied."""
    if not versions and not current and not (folder / "numbers.db").exists():
        return []
    if not (folder / "numbers.db").exists():
        return ["numbers.db is missing"]
    connection = connect(folder / "numbers.db", read_only=True)
    try:
        rows = connection.execute("SELECT kind, name, no FROM numbers").fetchall()
        made = dict(connection.execute("SELECT version, fingerprint FROM versions").fetchall())
    except sqlite3.Error as error:
        return [f"numbers.db: {error}"]
    finally:
        connection.close()
    numbers: dict[str, dict[str, int]] = {}
    for kind, name, no in rows:
        numbers.setdefault(kind, {})[name] = no
    found: list[str] = []
    for version in versions:
        found += _version_problems(folder / "versions" / f"{version}.db", version, numbers, made.get(version))
    if current and current not in versions:
        found.append(f"version {current} is in force, and its file is missing")
    if not current and versions:
        found.append("`current` is missing: no version is in force")
    return found


def _version_problems(
    file: Path, version: int, numbers: dict[str, dict[str, int]], expected_print: str | None
) -> list[str]:
    place = f"version {version}"
    connection = connect(file, read_only=True)
    try:
        meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
        lost = sorted(_META - meta.keys())
        if lost:
            return [f"{place}: meta `{name}` is missing" for name in lost]
        compiled = decode_compiled(meta["compiled"])
        found = _number_problems(place, compiled, numbers)
        if expected_print is None:
            found.append(f"{place}: its row in numbers.db is missing")
        elif expected_print != fingerprint(meta["compiled"]):
            found.append(f"{place}: its content is not what was applied")
        return found or _table_problems(connection, place, Numbered(compiled, numbers))
    except (sqlite3.Error, ValueError) as error:
        return [f"{place}: {error}"]
    finally:
        connection.close()


def _number_problems(place: str, compiled: Compiled, numbers: dict[str, dict[str, int]]) -> list[str]:
    return [
        f"{place}: the number of {kind} {name} is missing"
        for kind, names in names_to_number(compiled).items()
        for name in names
        if name not in numbers.get(kind, {})
    ]


def _table_problems(connection: sqlite3.Connection, place: str, numbered: Numbered) -> list[str]:
    uses = list(secrets_of(numbered.compiled))
    plain = [use for use in uses if use.level != "signature" and not is_reference(use.text)]
    links = list(numbered.links())
    pairs = {(target.offer, link.partner): link.name for link in links for target in link.targets}
    found: list[str] = []

    def compare(query: str, expected: Iterable[tuple[object, str]]) -> None:
        held = {row[0] if len(row) == 1 else tuple(row) for row in connection.execute(query)}
        found.extend(f"{place}: {name} is missing" for key, name in expected if key not in held)

    compare("SELECT no FROM advertisers", ((one.no, f"advertiser {one.name}") for one in numbered.advertisers()))
    compare("SELECT digest FROM tokens", ((token_digest(use.text), f"the token of {use.whose}") for use in plain))
    compare(
        "SELECT reference FROM secrets", ((u.text, f"the secret of {u.whose}") for u in uses if is_reference(u.text))
    )
    compare("SELECT no FROM offers", ((one.no, f"offer {one.name}") for one in numbered.offers()))
    compare("SELECT no FROM partners", ((one.no, f"partner {one.name}") for one in numbered.partners()))
    compare("SELECT name FROM links", ((one.name, f"link {one.name}") for one in links))
    compare("SELECT no FROM routes", ((one.no, f"route {one.no} of link {one.link}") for one in numbered.routes()))
    compare("SELECT offer, partner FROM pairs", ((pair, f"the pair of link {name}") for pair, name in pairs.items()))
    return found
