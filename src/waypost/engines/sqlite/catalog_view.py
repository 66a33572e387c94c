"""One catalog version, as doors and the pipeline read it.

Owns: a connection to an immutable file, and a bounded cache of decoded items. Reads the file, and at opening the
secrets it refers to; writes nothing. A look-up decodes one item, so opening costs the same whatever the size.
Used by one thread at a time.
"""

import secrets
import sqlite3
from collections.abc import Callable, Hashable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import msgspec
from msgspec.structs import replace

from waypost.catalog.compiled import Compiled, decode_compiled, is_reference
from waypost.catalog.model import Advertiser, IntakeRules, Link, Offer, Partner, Route
from waypost.catalog.outside import Domain, Privacy
from waypost.catalog.view import TokenOwner
from waypost.engines.sqlite.catalog_artefact import FORMAT, Rules, token_digest
from waypost.engines.sqlite.catalog_files import resolve_secret
from waypost.engines.sqlite.connection import store_error
from waypost.errors import WaypostError

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class _Budget:
    """How many items all shelves of a view may keep: half of it young, half of it old."""

    def __init__(self, items_max: int) -> None:
        self._half = max(1, items_max // 2)
        self._young = 0
        self._shelves: list[_Shelf[Any, Any]] = []

    def join(self, shelf: "_Shelf[Any, Any]") -> None:
        self._shelves.append(shelf)

    def take(self) -> None:
        """One more young item; when that is too many, the young become the old and the old are dropped."""
        self._young += 1
        if self._young > self._half:
            self._young = 1
            for shelf in self._shelves:
                shelf.old, shelf.young = shelf.young, {}


class _Shelf(Generic[_Key, _Value]):
    """Items of one kind, decoded on first use. What is not there is not kept: callers could ask without end."""

    __slots__ = ("_budget", "_load", "old", "young")

    def __init__(self, budget: _Budget, load: Callable[[_Key], _Value | None]) -> None:
        self._budget = budget
        self._load = load
        self.young: dict[_Key, _Value] = {}
        self.old: dict[_Key, _Value] = {}
        budget.join(self)

    def get(self, key: _Key) -> _Value | None:
        value = self.young.get(key)
        if value is None:
            value = self.old.get(key)
            if value is None:
                value = self._load(key)
            if value is not None:
                self._budget.take()
                self.young[key] = value
        return value


class SqliteCatalogView:
    """A CatalogView over `versions/N.db`.

    An advertiser whose secret cannot be read is there, and has a token that nobody can send; `secrets_missing` says
    why, so that the role that opens the version can log it. Raises WaypostError `no_catalog` if the file is not
    there, `wire_version` if a newer release wrote it, `store_corrupt` if it cannot be read.
    """

    def __init__(
        self, file: Path, version: int, cache_items_max: int, resolve: Callable[[str], str] = resolve_secret
    ) -> None:
        """`resolve` answers what a reference to a secret stands for, or raises WaypostError."""
        self._resolve = resolve
        if not file.is_file():
            raise WaypostError("no_catalog", f"there is no catalog version {version}", place=str(file))
        self._place = str(file)
        self._version = version
        try:
            uri = f"{file.absolute().as_uri()}?mode=ro&immutable=1"
            self._connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
            written = self._one("SELECT value FROM meta WHERE name = 'format'", ())
        except sqlite3.Error as error:
            raise store_error(error, self._place) from error
        if written is None or written[0] != FORMAT:
            self._connection.close()
            what = "no format" if written is None else f"format {written[0]}"
            raise WaypostError("wire_version", f"has {what}, this release reads {FORMAT}", place=self._place)
        budget = _Budget(cache_items_max)
        self._links: _Shelf[str, Link] = _Shelf(budget, self._loader("links", "name", Link))
        self._offers: _Shelf[int, Offer] = _Shelf(budget, self._loader("offers", "no", Offer))
        self._offers_named: _Shelf[str, Offer] = _Shelf(budget, self._loader("offers", "name", Offer))
        self._partners: _Shelf[int, Partner] = _Shelf(budget, self._loader("partners", "no", Partner))
        self._partners_named: _Shelf[str, Partner] = _Shelf(budget, self._loader("partners", "name", Partner))
        self._advertisers: _Shelf[int, Advertiser] = _Shelf(budget, self._load_advertiser)
        self._routes: _Shelf[int, Route] = _Shelf(budget, self._load_route)
        self._pairs: _Shelf[tuple[str, str], Link] = _Shelf(budget, self._load_pair)
        self._tokens: dict[bytes, TokenOwner] | None = None
        self._partner_tokens: dict[int, str] = {}
        self._intake = msgspec.msgpack.decode(self._meta("intake"), type=IntakeRules)
        self._rules: Rules | None = None
        self.secrets_missing: tuple[str, ...] = ()
        self._secrets = self._resolve_secrets()

    @property
    def version(self) -> int:
        return self._version

    def link(self, name: str) -> Link | None:
        return self._links.get(name)

    def pair(self, offer: str, partner: str) -> Link | None:
        return self._pairs.get((offer, partner))

    def route(self, no: int) -> Route | None:
        return self._routes.get(no)

    def advertiser(self, no: int) -> Advertiser | None:
        return self._advertisers.get(no)

    def advertiser_named(self, name: str) -> Advertiser | None:
        found = self._one("SELECT no FROM advertisers WHERE name = ?", (name,))
        return None if found is None else self._advertisers.get(found[0])

    def owner_of_token(self, token: str) -> TokenOwner | None:
        """By the token's digest: how long it takes tells nothing of a token.

        Callers try many values of a call, so all digests are kept (40 bytes each), and a miss costs no query.
        """
        tokens = self._tokens
        if tokens is None:
            tokens = self._tokens = self._load_tokens()
        return tokens.get(token_digest(token))

    def intake(self) -> IntakeRules:
        return self._intake

    def offer(self, no: int) -> Offer | None:
        return self._offers.get(no)

    def offer_named(self, name: str) -> Offer | None:
        return self._offers_named.get(name)

    def partner(self, no: int) -> Partner | None:
        return self._partners.get(no)

    def wide_partners(self) -> tuple[int, ...]:
        return self._rules_of_all().wide

    def has_first_only(self) -> bool:
        return self._rules_of_all().has_first_only

    def partner_named(self, name: str) -> Partner | None:
        return self._partners_named.get(name)

    def partner_token(self, no: int) -> str:
        """A reference is resolved when it is first asked for; one that cannot be is a token that nobody can send."""
        partner = self._partners.get(no)
        if partner is None or not is_reference(partner.token):
            return partner.token if partner is not None else ""
        token = self._partner_tokens.get(no)
        if token is None:
            try:
                token = self._resolve(partner.token)
            except WaypostError as error:
                token = secrets.token_hex(32)
                self.secrets_missing = (*self.secrets_missing, error.detail)
            self._partner_tokens[no] = token
        return token

    def privacy(self) -> Privacy:
        return msgspec.msgpack.decode(self._meta("privacy"), type=Privacy)

    def rates(self) -> Mapping[str, Decimal]:
        return msgspec.msgpack.decode(self._meta("rates"), type=dict[str, Decimal])

    def domains(self) -> tuple[Domain, ...]:
        return msgspec.msgpack.decode(self._meta("domains"), type=tuple[Domain, ...])

    def counts(self) -> Mapping[str, int]:
        return msgspec.msgpack.decode(self._meta("counts"), type=dict[str, int])

    def compiled(self) -> Compiled:
        """The catalog that this version was made from; for comparisons."""
        return decode_compiled(self._meta("compiled"))

    def close(self) -> None:
        self._connection.close()

    def _one(self, query: str, values: tuple[object, ...]) -> tuple[Any, ...] | None:
        try:
            return cast("tuple[Any, ...] | None", self._connection.execute(query, values).fetchone())
        except (OverflowError, UnicodeEncodeError):  # a number or text that no column can hold
            return None
        except sqlite3.Error as error:
            raise store_error(error, self._place) from error

    def _rules_of_all(self) -> Rules:
        if self._rules is None:
            self._rules = msgspec.msgpack.decode(self._meta("rules"), type=Rules)
        return self._rules

    def _meta(self, name: str) -> bytes:
        found = self._one("SELECT value FROM meta WHERE name = ?", (name,))
        if found is None:
            raise WaypostError("store_corrupt", f"`{name}` is missing", place=self._place)
        return bytes(found[0])

    def _loader(self, table: str, column: str, kind: type[_Value]) -> Callable[[Any], _Value | None]:
        decode = msgspec.msgpack.Decoder(kind).decode
        query = f"SELECT data FROM {table} WHERE {column} = ?"

        def load(key: object) -> _Value | None:
            found = self._one(query, (key,))
            try:
                return None if found is None else decode(found[0])
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise WaypostError("store_corrupt", f"{table} {key}: {error}", place=self._place) from error

        return load

    def _load_advertiser(self, no: int) -> Advertiser | None:
        advertiser = self._loader("advertisers", "no", Advertiser)(no)
        if advertiser is None or not self._secrets:
            return advertiser
        tokens = [self._secrets.get(token, token) for token in advertiser.tokens]
        signature = advertiser.signature
        if signature is not None:
            signature = replace(signature, secrets=tuple(self._secrets.get(key, key) for key in signature.secrets))
        token = tokens[0] if tokens else ""
        return replace(advertiser, token=token, tokens_before=tuple(tokens[1:]), signature=signature)

    def _load_route(self, no: int) -> Route | None:
        found = self._one("SELECT no, link, partner, offer FROM routes WHERE no = ?", (no,))
        return None if found is None else Route(*found)

    def _load_pair(self, names: tuple[str, str]) -> Link | None:
        found = self._one(
            "SELECT link FROM pairs WHERE offer = (SELECT no FROM offers WHERE name = ?)"
            " AND partner = (SELECT no FROM partners WHERE name = ?)",
            names,
        )
        return None if found is None else self._links.get(found[0])

    def _load_tokens(self) -> dict[bytes, TokenOwner]:
        tokens: dict[bytes, TokenOwner] = {}
        try:
            for level, no, reference in self._connection.execute(
                "SELECT level, no, reference FROM secrets WHERE level <> 'signature' ORDER BY rowid DESC"
            ):
                tokens[token_digest(self._secrets[reference])] = TokenOwner(level, no)
            for digest, level, no in self._connection.execute("SELECT digest, level, no FROM tokens"):
                tokens[digest] = TokenOwner(level, no)
        except sqlite3.Error as error:
            raise store_error(error, self._place) from error
        return tokens

    def _resolve_secrets(self) -> dict[str, str]:
        """What the references of this version stand for."""
        found: dict[str, str] = {}
        missing: list[str] = []
        for (reference,) in self._connection.execute("SELECT reference FROM secrets ORDER BY rowid"):
            if reference in found:
                continue
            try:
                found[reference] = self._resolve(reference)
            except WaypostError as error:
                found[reference] = secrets.token_hex(32)  # matches no call; an empty one might
                missing.append(error.detail)
        self.secrets_missing = tuple(missing)
        return found
