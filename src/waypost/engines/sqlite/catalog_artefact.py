"""The file of one catalog version: how it is laid out, and how it is written.

Owns: the layout. Writes `versions/N.db` once, whole; nobody changes it afterwards, so readers open it as immutable.
Tokens are in it, so only its owner may read it. Never holds a secret that the catalog only refers to.

Layout: a table a kind, an item's MessagePack in `data`; `tokens` holds SHA-256 digests of the tokens that the catalog
spells out, `secrets` the references; `meta` the format, counts, the compiled catalog that it was made from, and of the
postback rules what must be known before a partner is looked at: who has rules on conversions of others, and whether any
fires once a click.
"""

import os
import sqlite3
from hashlib import sha256
from pathlib import Path

import msgspec

from waypost.catalog.compiled import is_reference, secrets_of
from waypost.catalog.numbering import Numbered
from waypost.engines.local.durable import sync_path
from waypost.engines.sqlite.connection import store_error

FORMAT = 4

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
CREATE TABLE advertisers (no INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, data BLOB NOT NULL);
CREATE TABLE tokens (digest BLOB PRIMARY KEY, level TEXT NOT NULL, no INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE secrets (level TEXT NOT NULL, no INTEGER NOT NULL, reference TEXT NOT NULL);
CREATE TABLE offers (no INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, data BLOB NOT NULL);
CREATE TABLE partners (no INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, data BLOB NOT NULL);
CREATE TABLE links (name TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE routes (no INTEGER PRIMARY KEY, link TEXT NOT NULL, partner INTEGER NOT NULL, offer INTEGER NOT NULL);
CREATE TABLE pairs (offer INTEGER, partner INTEGER, link TEXT NOT NULL, PRIMARY KEY (offer, partner)) WITHOUT ROWID;
"""

_encode = msgspec.msgpack.Encoder().encode


def token_digest(token: str) -> bytes:
    """What a token is looked up by."""
    return sha256(token.encode("utf-8", "surrogatepass")).digest()


class Rules(msgspec.Struct, array_like=True, frozen=True):
    """`wide` are the numbers of partners that have rules on conversions of others."""

    wide: tuple[int, ...]
    has_first_only: bool


def rules_of(numbered: Numbered) -> Rules:
    """What the postback rules of all partners come to."""
    partners = [partner for partner in numbered.partners() if partner.rules]
    return Rules(
        tuple(sorted(one.no for one in partners if any(rule.scope != "own" for rule in one.rules))),
        any(rule.first_only for one in partners for rule in one.rules),
    )


def write_artefact(file: Path, version: int, numbered: Numbered, compiled: bytes) -> None:
    """Writes a version to a new file, readable by its owner only; durable on return.

    Raises WaypostError `data_unwritable`.
    """
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        connection = sqlite3.connect(file, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=OFF")  # the file is no catalog until it is renamed
            connection.execute("PRAGMA synchronous=OFF")
            connection.executescript(_SCHEMA)
            connection.execute("BEGIN")
            _fill(connection, version, numbered, compiled)
            connection.execute("COMMIT")
        finally:
            connection.close()
        sync_path(file)
    except (sqlite3.Error, OSError) as error:
        raise store_error(error, str(file)) from error


def _fill(connection: sqlite3.Connection, version: int, numbered: Numbered, compiled: bytes) -> None:
    write = connection.executemany
    meta = {
        "format": FORMAT,
        "version": version,
        "counts": _encode(numbered.compiled.counts()),
        "compiled": compiled,
        "intake": _encode(numbered.compiled.intake),
        "rules": _encode(rules_of(numbered)),
        "privacy": _encode(numbered.compiled.privacy),
        "domains": _encode(numbered.compiled.domains),
        "rates": _encode(numbered.compiled.rates),
    }
    write("INSERT INTO meta VALUES (?, ?)", meta.items())
    for advertiser in numbered.advertisers():
        row = (advertiser.no, advertiser.name, _encode(advertiser))
        connection.execute("INSERT INTO advertisers VALUES (?, ?, ?)", row)
    _fill_secrets(connection, numbered)
    write("INSERT INTO offers VALUES (?, ?, ?)", ((o.no, o.name, _encode(o)) for o in numbered.offers()))
    write("INSERT INTO partners VALUES (?, ?, ?)", ((p.no, p.name, _encode(p)) for p in numbered.partners()))
    links = sorted(numbered.links(), key=lambda link: link.name)
    write("INSERT INTO links VALUES (?, ?)", ((link.name, _encode(link)) for link in links))
    write(
        "INSERT OR IGNORE INTO pairs VALUES (?, ?, ?)",
        ((target.offer, link.partner, link.name) for link in links for target in link.targets),
    )
    write("INSERT INTO routes VALUES (?, ?, ?, ?)", ((r.no, r.link, r.partner, r.offer) for r in numbered.routes()))


def _fill_secrets(connection: sqlite3.Connection, numbered: Numbered) -> None:
    """References to be resolved by whoever opens the version; of tokens that are spelt out their digests."""
    kinds = {"global": "", "advertiser": "advertiser", "offer": "offer", "signature": "advertiser"}
    for use in secrets_of(numbered.compiled):
        no = numbered.numbers[kinds[use.level]][use.owner] if use.owner else 0
        if is_reference(use.text):
            connection.execute("INSERT INTO secrets VALUES (?, ?, ?)", (use.level, no, use.text))
        elif use.level != "signature":
            connection.execute("INSERT INTO tokens VALUES (?, ?, ?)", (token_digest(use.text), use.level, no))
