"""Cases: what somebody expects of a catalog, as he wrote it down, with the line of each expectation.

Owns: the form of a case, and the checks of it. Reads texts that somebody else has read, and the catalog's names;
notes problems as a catalog's are noted. Never runs anything: `runtime/case_run.py` does.
"""

import json
import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from waypost.catalog.case_keys import CASE_SHAPES
from waypost.catalog.compiled import Compiled
from waypost.catalog.problems import Problems
from waypost.catalog.reading import Field, Fields, Reader
from waypost.catalog.source import Items, Mapping, Node, Scalar, read_sources
from waypost.errors import ERRORS

FIRST_MS = 1_767_614_400_000  # 2026-01-05 12:00 UTC
STEP_MS = 1_000
CASES_MAX = 10_000
STEPS_MAX = 1_000
DAY_MS = 86_400_000
AFTER_MAX_MS = 400 * DAY_MS
NONE = "none"
VERDICTS = ("new", "updated", "duplicate", "refused")
STATUSES = ("pending", "approved", "declined", NONE)
METHODS = ("GET", "POST", "HEAD")
FORM, JSON = "application/x-www-form-urlencoded", "application/json"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
_TAKEN = ("click_id", "receipt", "any")  # `$any` is whatever stands there
_HTTP = re.compile(r"[1-5]\d\d\Z")
_NO_URL = re.compile(r"[\x00-\x20\x7f]")
_ABOVE_ASCII = re.compile(r"[^\x00-\x7f]+")
_AMOUNT = re.compile(r"-?\d{1,18}(\.\d{1,18})? [A-Z]{3}\Z")


class Said(NamedTuple):
    """One expectation, and where it stands (`file:line`). A text may hold `$any` and the ids' names."""

    text: str
    place: str


class SentCase(NamedTuple):
    """A postback to a partner that is expected. `fields` by key; `json` is None where none is asked for."""

    place: str
    fields: dict[str, Said]
    headers: dict[str, Said]
    json: Any = None


class Expected(NamedTuple):
    """What a step expects: what is not named is not looked at. `sends` None: whatever is sent."""

    place: str
    fields: dict[str, Said] = {}  # noqa: RUF012 (never changed)
    fails: tuple[str, ...] | None = None
    skipped: dict[str, Said] | None = None
    sends: tuple[SentCase, ...] | None = None


class Step(NamedTuple):
    """A request at a time. `target` is path and query; `facts` are the visitor's; `name` is the click's.

    `token` None: the right one of `advertiser`, or of the last click's advertiser. `address` empty: one that may call.
    """

    place: str
    is_click: bool
    at_ms: int
    method: str
    target: str
    headers: dict[str, str]
    body: str
    address: str
    expected: Expected | None
    facts: dict[str, str] = {}  # noqa: RUF012 (never changed)
    name: str = ""
    advertiser: str = ""
    token: str | None = None


class Case(NamedTuple):
    """Steps that share their clicks and conversions, and no others."""

    name: str
    place: str
    steps: tuple[Step, ...]


class Words(NamedTuple):
    """What a case may name beside the catalog's own: checks, codes of refusals, facts of a visitor."""

    checks: Collection[str]
    codes: Collection[str]
    facts: Collection[str]


def read_cases(sources: Sequence[tuple[str, str]], compiled: Compiled, words: Words) -> list[Case]:
    """The cases of these (file name, text) pairs. Raises CatalogErrors with all that is wrong in them."""
    problems = Problems()
    reading = _Cases(Reader(problems, CASE_SHAPES), compiled, words)
    cases: list[Case] = []
    for file, text in sources:
        is_to_be = "a file of cases is a mapping"
        tree = read_sources([(file, text)], problems, is_to_be=is_to_be, begins="cases:")
        if not problems.unreadable:
            cases += reading.file(tree, file)
    problems.raise_any()
    return cases


class _Cases:
    """Reads files of cases against one catalog."""

    def __init__(self, reader: Reader, compiled: Compiled, words: Words) -> None:
        self._reader = reader
        self._words = words
        self._links = {one.name for one in compiled.links}
        self._offers = {one.name for one in compiled.offers}
        self._partners = {one.name for one in compiled.partners}
        self._advertisers = {one.name for one in compiled.advertisers}

    def file(self, tree: Mapping, file: str) -> list[Case]:
        if "waypost" in tree.entries:
            hint = f"`waypost catalog test --catalog {file}`"
            message = "this is a catalog, and no file of cases"
            self._reader.problems.add("catalog_unknown_key", message, tree.keys["waypost"], hint=hint)
            return []
        top = self._reader.fields(Field(tree, ""), "", (file, 1))
        listed = top.get("cases") if top is not None else None
        if listed is None:
            return []
        found = [self._case(field) for field in self._some(Field(listed.node, "cases"), CASES_MAX)]
        return [case for case in found if case is not None]

    def _case(self, field: Field) -> Case | None:
        fields = self._reader.fields(field, "cases[]")
        if fields is None:
            return None
        at_ms = self._time(fields.get("at")) or FIRST_MS
        steps: list[Step] = []
        names: dict[str, str] = {}
        for nth, entry in enumerate(self._some(fields.get("steps"), STEPS_MAX)):
            step = self._step(entry, at_ms, is_first=nth == 0)
            if step is None:
                continue
            if step.name and names.setdefault(step.name, step.place) is not step.place:
                message = f"`{step.name}` is the name of another click, at {names[step.name]}"
                self._reader.problems.add("catalog_duplicate", message, entry.node.at, field=entry.path)
            steps.append(step)
            at_ms = step.at_ms
        return Case(self._reader.text(fields.get("name")) or "", _place(field.node), tuple(steps))

    def _some(self, field: Field | None, count_max: int) -> list[Field]:
        """A list's elements; noted if there are none: what looks at nothing would be right whatever happens."""
        found = self._reader.items(field, count_max)
        if field is not None and not found and (not isinstance(field.node, Scalar) or field.node.empty):
            self._reader.wrong("catalog_missing_key", field, "is empty", hint="begin each element with `- `")
        return found

    # --- steps -----------------------------------------------------------------------------------------

    def _step(self, field: Field, before_ms: int, *, is_first: bool) -> Step | None:
        fields = self._reader.fields(field, "cases[].steps[]")
        if fields is None:
            return None
        kinds = [kind for kind in ("click", "postback") if kind in fields]
        if len(kinds) != 1:
            hint = "make two steps of it" if kinds else "add `click:` or `postback:`"
            self._reader.wrong("catalog_missing_key", field, "a step is a click or a postback", hint=hint)
            return None
        kind = kinds[0]
        what = fields.get(kind)
        assert what is not None
        return self._request(field, what, fields.get("expect"), kind, before_ms, is_first)

    def _request(
        self, field: Field, what: Field, expect: Field | None, kind: str, before_ms: int, is_first: bool
    ) -> Step | None:
        reader, is_click = self._reader, kind == "click"
        if isinstance(what.node, Scalar) and not what.node.empty:  # in short
            short = Mapping(what.node.at)
            short.entries["link" if is_click else "url"] = what.node
            short.keys["link" if is_click else "url"] = what.node.at
            what = Field(short, what.path)
        fields = reader.fields(what, kind)
        if fields is None:
            return None
        headers = {name.lower(): text for name, text in self._texts(fields.get("headers")).items()}
        if is_click and (agent := reader.text(fields.get("user_agent"))):
            headers["user-agent"] = agent
        body, media = self._body(fields)
        if media:
            headers.setdefault("content-type", media)
        return Step(
            place=_place(field.node),
            is_click=is_click,
            at_ms=self._when(fields, before_ms, is_first),
            method=reader.choice(fields.get("method"), METHODS) or ("POST" if body else "GET"),
            target=self._target(fields, is_click),
            headers=headers,
            body=body,
            address=reader.text(fields.get("address")) or "",
            expected=self._expected(expect, kind) if expect is not None else None,
            facts=self._facts(fields) if is_click else {},
            name=self._name(fields.get("name")) if is_click else "",
            advertiser=""
            if is_click
            else reader.reference(fields.get("advertiser"), self._advertisers, "advertiser") or "",
            token=None if is_click else reader.text(fields.get("token")),
        )

    def _target(self, fields: Fields, is_click: bool) -> str:
        reader = self._reader
        ways = [key for key in ("url", "link", "offer") if key in fields]
        if len(ways) > 1 or (is_click and not ways):
            at = fields.get(ways[1]) if len(ways) > 1 else None
            message = "names several ways" if ways else "names no link"
            place = at.node.at if at is not None else fields.at
            hint = "keep one of " + ", ".join(f"`{way}`" for way in ways) if ways else "add `link:`"
            reader.problems.add("catalog_missing_key", message, place, field=fields.path, hint=hint)
            return "/"
        query = self._query(fields.get("query"))
        if "url" in fields:
            text = self._written(fields.get("url")) or "/"
            text = re.sub(r"\Ahttps?://[^/?#]*", "", text)
            return text + ("&" if "?" in text else "?") + query if query else text
        if not is_click:
            return f"/postback?{query}"
        if "link" in fields:
            link = reader.reference(fields.get("link"), self._links, "link") or ""
            return f"/c/{quote(link)}?{query}" if query else f"/c/{quote(link)}"
        offer = reader.reference(fields.get("offer"), self._offers, "offer") or ""
        partner = reader.reference(fields.get("partner"), self._partners, "partner")
        if partner is None and "partner" not in fields:
            field = fields.get("offer")
            assert field is not None
            reader.wrong("catalog_missing_key", field, "names an offer and no partner", hint="add `partner:`")
        return f"/c?{urlencode({'offer': offer, 'partner': partner or ''})}" + (f"&{query}" if query else "")

    def _query(self, field: Field | None) -> str:
        if field is None:
            return ""
        if isinstance(field.node, Mapping):
            return urlencode(self._texts(field), safe="$", errors="surrogatepass")
        return self._written(field).removeprefix("?")

    def _written(self, field: Field | None) -> str:
        """A URL's text as it goes over the wire: what is above ASCII is encoded, as browsers and doors do."""
        text = self._reader.text(field) or ""
        if field is not None and _NO_URL.search(text):
            hint = "write `%20`, or a mapping of parameters"
            self._reader.wrong("catalog_bad_value", field, "has a space or a control character in it", hint=hint)
        return _ABOVE_ASCII.sub(lambda found: quote(found[0], errors="surrogatepass"), text)

    def _body(self, fields: Fields) -> tuple[str, str]:
        """The body, and the media type that goes with how it is written."""
        if (form := fields.get("form")) is not None:
            return urlencode(self._texts(form), safe="$"), FORM
        if (structure := fields.get("json")) is not None:
            return json.dumps(_structure(structure.node), ensure_ascii=False), JSON
        return self._reader.text(fields.get("body")) or "", ""

    def _facts(self, fields: Fields) -> dict[str, str]:
        field = fields.get("facts")
        found = self._texts(field)
        for name in found if field is not None else ():
            if name not in self._words.facts:
                assert isinstance(field, Field) and isinstance(field.node, Mapping)
                message = f"`{name[:40]}` is nothing that a door knows of a visitor"
                hint = "one of " + ", ".join(f"`{fact}`" for fact in self._words.facts)
                self._reader.problems.add(
                    "catalog_unknown_key", message, field.node.keys[name], field=field.path, value=name, hint=hint,
                    meant=self._words.facts,
                )  # fmt: skip
        return found

    def _name(self, field: Field | None) -> str:
        text = self._reader.text(field)
        if field is None or text is None:
            return ""
        if not _NAME.match(text) or text in _TAKEN:
            hint = "small letters, digits and `_`; not " + ", ".join(f"`{name}`" for name in _TAKEN)
            self._reader.wrong("catalog_bad_value", field, f"`{text[:40]}` cannot name a click", hint=hint)
            return ""
        return text

    # --- time ------------------------------------------------------------------------------------------

    def _when(self, fields: Fields, before_ms: int, is_first: bool) -> int:
        """When a step happens: never before the one before it."""
        at = fields.get("at")
        after = self._reader.duration_ms(fields.get("after"), least_ms=1, most_ms=AFTER_MAX_MS)
        if at is None:
            return before_ms + (after or (0 if is_first else STEP_MS))
        at_ms = self._time(at) or before_ms
        if at_ms < before_ms and not is_first:
            message = f"is before the step above it ({_time_text(before_ms)})"
            self._reader.wrong("catalog_bad_value", at, message, hint="write the steps in the order of time")
            return before_ms
        return at_ms

    def _time(self, field: Field | None) -> int | None:
        text = self._reader.text(field)
        if field is None or text is None:
            return None
        try:
            found = datetime.fromisoformat(text)
            ms = int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)
        except (ValueError, OverflowError):
            hint = "such as `2026-05-01` or `2026-05-01 12:30`"
            self._reader.wrong("catalog_bad_value", field, f"`{text[:40]}` is no time", hint=hint)
            return None
        if not DAY_MS * 366 * 30 < ms < DAY_MS * 366 * 130:
            self._reader.wrong("catalog_bad_value", field, f"`{text[:40]}` is not of this time", hint="2000 to 2099")
            return None
        return ms

    # --- expectations ----------------------------------------------------------------------------------

    def _expected(self, field: Field, kind: str) -> Expected:
        fields = self._reader.fields(field, f"{kind}.expect")
        if fields is None:
            return Expected(_place(field.node))
        said = {
            key: one
            for key in CASE_SHAPES[f"{kind}.expect"]
            if key not in ("fails", "skipped", "sends") and (one := self._said(key, fields.get(key))) is not None
        }
        fails, skipped = fields.get("fails"), fields.get("skipped")
        return Expected(
            _place(field.node),
            said,
            self._fails(fails) if fails is not None else None,
            {name: Said(text, _place(skipped.node)) for name, text in self._texts(skipped).items()}
            if skipped is not None
            else None,
            self._sends(fields.get("sends")),
        )

    def _said(self, key: str, field: Field | None) -> Said | None:
        """One expectation; what it can never be is noted."""
        reader = self._reader
        if field is None:
            return None
        text: str | None
        if key in ("verdict", "status"):
            text = reader.choice(field, VERDICTS if key == "verdict" else STATUSES)
        elif key in ("offer", "partner"):
            names = self._offers if key == "offer" else self._partners
            text = reader.reference(field, {*names, NONE}, key)
        elif key == "code":
            text = self._known(field, {*self._words.codes, *ERRORS, NONE}, "code", "docs/errors.md and docs/checks.md")
        else:
            text = reader.text(field)
            if text is not None and key in ("payout", "revenue", "sum") and text != NONE and not _AMOUNT.match(text):
                reader.wrong("catalog_bad_value", field, f"`{text[:40]}` is no amount", hint="such as `1.20 USD`")
            if text is not None and key == "http" and not _HTTP.match(text):
                reader.wrong("catalog_bad_value", field, f"`{text[:40]}` is no HTTP status", hint="such as `302`")
        return None if text is None else Said(text, _place(field.node))

    def _fails(self, field: Field) -> tuple[str, ...]:
        if isinstance(field.node, Scalar) and field.node.text == NONE:
            return ()
        fields = self._reader.one_or_many(field)
        found = [self._known(one, self._words.checks, "check", "docs/checks.md") for one in fields]
        return tuple(name for name in found if name is not None)

    def _known(self, field: Field, names: Collection[str], kind: str, listed: str) -> str | None:
        """A word of a list that is too long to be shown."""
        text = self._reader.text(field)
        if text is not None and text not in names:
            hint = f"{listed} have them all" if " and " in listed else f"{listed} has them all"
            self._reader.wrong("catalog_bad_value", field, f"there is no {kind} `{text[:64]}`", hint=hint, meant=names)
            return None
        return text

    def _sends(self, field: Field | None) -> tuple[SentCase, ...] | None:
        if field is None:
            return None
        if isinstance(field.node, Scalar) and field.node.text == NONE:
            return ()
        shape = "postback.expect.sends[]"
        found = [self._reader.fields(entry, shape) for entry in self._reader.items(field)]
        return tuple(self._sent(fields) for fields in found if fields is not None)

    def _sent(self, fields: Fields) -> SentCase:
        said: dict[str, Said] = {}
        for key in ("partner", "rule", "method", "url", "body", "problem"):
            if (one := self._said(key, fields.get(key))) is not None:
                said[key] = one
        for key in ("get", "post"):
            if (one := self._said("url", fields.get(key))) is not None:
                said |= {"method": Said(key.upper(), one.place), "url": one}
        delay = fields.get("delay")
        if delay is not None:
            is_none = isinstance(delay.node, Scalar) and delay.node.text == NONE
            ms = 0 if is_none else self._reader.duration_ms(delay, least_ms=1, most_ms=AFTER_MAX_MS)
            said["delay"] = Said(str(ms or 0), _place(delay.node))
        headers = fields.get("headers")
        wanted = {
            name.lower(): Said(text, _place(headers.node) if headers is not None else "")
            for name, text in self._texts(headers).items()
        }
        structure = fields.get("json")
        file, line = fields.at
        body = _structure(structure.node) if structure is not None else None
        return SentCase(f"{file}:{line}", said, wanted, body)

    def _texts(self, field: Field | None) -> dict[str, str]:
        """A mapping of texts with free keys; an empty value is an empty text."""
        if field is None:
            return {}
        found: dict[str, str] = {}
        for name, entry in self._reader.entries(field, 1_000):
            if isinstance(entry.node, Scalar):
                found[name] = "" if entry.node.empty else entry.node.text
            else:
                self._reader.wrong("catalog_wrong_type", entry, "takes text", hint="quote it")
        return found


def _structure(node: Node) -> Any:
    """A tree as JSON would have it: what stands without quotes may be a number, `true`, `false` or nothing."""
    if isinstance(node, Mapping):
        return {name: _structure(entry) for name, entry in node.entries.items()}
    if isinstance(node, Items):
        return [_structure(entry) for entry in node.nodes]
    if not node.plain:
        return node.text
    if node.empty:
        return None
    try:
        return json.loads(node.text)
    except ValueError:
        return node.text


def _place(node: Node) -> str:
    file, line = node.at
    return f"{file}:{line}"


def _time_text(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
