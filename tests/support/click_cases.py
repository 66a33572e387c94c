"""Cases of the click service as a table in YAML: read with their lines, asked of a running installation, compared.

Owns: what a case may say (docs/testing.md has it in words), and the messages for a table that says something else. A
played case knows nothing of Waypost but its address, its catalog's text and its command `trace`.
"""

import json
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import yaml

TIMES_MAX = 500
NONE: Mapping[str, str] = {}
AGENTS = {
    "iphone": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/17.4 Mobile/15E148 Safari/604.1",
    "android": "Mozilla/5.0 (Linux; Android 14; SM-G991B) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 "
    "Mobile Safari/537.36",
    "old android": "Mozilla/5.0 (Linux; Android 9; SM-G960F) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/80.0.3987.99 Mobile Safari/537.36",
    "ipad": "Mozilla/5.0 (iPad; CPU OS 16_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.5 "
    "Mobile/15E148 Safari/604.1",
    "firefox": "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0",
    "chrome": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 "
    "Safari/537.36",
    "mac": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 "
    "Safari/605.1.15",
    "tv": "Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/79.0.3945.79 Safari/537.36 "
    "WebAppManager",
    "curl": "curl/8.5.0",
    "googlebot": "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
}
_ID = "[0-9A-Za-z]{23}"
_PLACES = {"click_id": f"(?P<click_id>{_ID})", "impression_id": f"(?P<click_id>{_ID})", "any": ".*",
           "hash": "h[0-9a-f]{16}"}  # fmt: skip
_PLACE = re.compile(r"\{(click_id|impression_id|any|hash)\}")
_METHODS = ("GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE")


class CaseError(Exception):
    """The table says something that no case may say; the message begins with `FILE:LINE`."""


class Expected(NamedTuple):
    """What an answer, or several, must be; None and empty: anything."""

    status: int
    location: str | None = None
    headers: Mapping[str, str] = NONE
    body: str | None = None
    json: Mapping[str, Any] | None = None
    error: str = ""
    shares: Mapping[str, str] = NONE
    same: bool = False
    trace: Mapping[str, Any] = NONE


class Case(NamedTuple):
    """One row. `where` is `FILE:LINE`; `source` the address that the proxy tells."""

    name: str
    where: str
    catalog: str
    method: str
    target: str
    expect: Expected
    source: str = ""
    agent: str = ""
    headers: Mapping[str, str] = NONE
    body: str = ""
    times: int = 1
    retry: bool = False
    convert: Mapping[str, str] = NONE


class Answer(NamedTuple):
    """What came."""

    status: int
    headers: dict[str, str]
    body: str


# --- reading ---------------------------------------------------------------------------------------------

_CASE = {
    "name": str, "catalog": str, "request": str, "expect": dict, "from": str, "agent": str, "headers": dict,
    "body": str, "times": int, "retry": bool, "convert": dict,
}  # fmt: skip
_EXPECT = {
    "status": int, "location": str, "headers": dict, "body": str, "json": dict, "error": str, "shares": dict,
    "same": bool, "trace": dict,
}  # fmt: skip
TRACE = frozenset(("offer", "link", "partner", "kind", "mode", "skipped", "marks", "visitor", "ip", "user_agent",
                   "referrer", "parameters", "target", "test"))  # fmt: skip
_WORDS = {str: "a text", int: "a number", bool: "true or false", dict: "a mapping of names to values"}


def read_cases(file: Path, catalogs: frozenset[str]) -> list[Case]:
    """The table's cases. Raises CaseError with the line of whatever no case may say."""
    text = file.read_text("utf-8")
    try:
        rows = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        raise CaseError(f"{file.name}:{line}: this is no YAML: {error.problem}") from error
    if not isinstance(rows, yaml.SequenceNode):
        raise CaseError(f"{file.name}:1: a table is a list of cases, each beginning with `- name:`")
    return list(_Reader(file.name, catalogs).cases(rows))


class _Reader:
    """Turns nodes into cases, and knows where they stand."""

    def __init__(self, file: str, catalogs: frozenset[str]) -> None:
        self._file = file
        self._catalogs = catalogs
        self._names: dict[str, int] = {}

    def cases(self, rows: yaml.SequenceNode) -> Iterator[Case]:
        for row in rows.value:
            yield self._case(row)

    def _fail(self, node: yaml.Node, what: str) -> CaseError:
        return CaseError(f"{self._file}:{node.start_mark.line + 1}: {what}")

    def _case(self, row: yaml.Node) -> Case:
        found = self._fields(row, _CASE, "a case")
        for name in ("name", "catalog", "request", "expect"):
            if name not in found:
                raise self._fail(row, f"a case needs `{name}:`")
        name = found["name"][1]
        line = row.start_mark.line + 1
        if name in self._names:
            raise self._fail(found["name"][0], f"the case of line {self._names[name]} has this name already")
        self._names[name] = line
        node, catalog = found["catalog"]
        if catalog not in self._catalogs:
            raise self._fail(node, f"there is no catalog `{catalog}`; there are {', '.join(sorted(self._catalogs))}")
        node, request = found["request"]
        method, _, target = request.partition(" ")
        if method not in _METHODS or not target or " " in target:
            raise self._fail(node, f"a request is a method and a target, as `GET /c/demo?sub1=a`; this is `{request}`")
        node, times = found.get("times", (row, 1))
        if not 1 <= times <= TIMES_MAX:
            raise self._fail(node, f"`times` goes from 1 to {TIMES_MAX}")
        expect = self._expected(found["expect"][0])
        if expect.trace and times > 1:
            raise self._fail(node, "a trace is of one click: leave `times` or `trace` out")
        values = {key: value for key, (_, value) in found.items()}
        return Case(
            name, f"{self._file}:{line}", catalog, method, target, expect, values.get("from", ""),
            values.get("agent", ""), self._texts(found.get("headers")), values.get("body", ""), times,
            values.get("retry", False), self._texts(found.get("convert")),
        )  # fmt: skip

    def _expected(self, node: yaml.Node) -> Expected:
        found = self._fields(node, _EXPECT, "`expect`")
        if "status" not in found:
            raise self._fail(node, "`expect` needs `status:`")
        values: dict[str, Any] = {key: value for key, (_, value) in found.items()}
        for key in ("headers", "shares"):
            if key in found:
                values[key] = self._texts(found[key])
        if "trace" in found:
            self._fields(found["trace"][0], dict.fromkeys(TRACE, object), "a trace")
        for name, share in values.get("shares", {}).items():
            if not re.fullmatch(r"\d{1,3}(-\d{1,3})?", share):
                raise self._fail(node, f"a share is per cent, as `60-80`; `{name}` has `{share}`")
        return Expected(**values)

    def _fields(self, node: yaml.Node, kinds: Mapping[str, Any], what: str) -> dict[str, tuple[yaml.Node, Any]]:
        if not isinstance(node, yaml.MappingNode):
            raise self._fail(node, f"{what} is a mapping of names to values")
        found: dict[str, tuple[yaml.Node, Any]] = {}
        for key, value in node.value:
            if key.value not in kinds:
                near = get_close_matches(key.value, kinds, 1)
                hint = f"; did you mean `{near[0]}`?" if near else f"; it may have {', '.join(sorted(kinds))}"
                raise self._fail(key, f"{what} has no `{key.value}`{hint}")
            if key.value in found:
                raise self._fail(key, f"`{key.value}` stands here twice")
            plain = yaml.SafeLoader("").construct_document(value)
            kind = kinds[key.value]
            if kind is not object and (not isinstance(plain, kind) or (kind is int and isinstance(plain, bool))):
                raise self._fail(key, f"`{key.value}` is {_WORDS[kind]}; put quotes around a text that looks otherwise")
            found[key.value] = (value, plain)
        return found

    def _texts(self, field: tuple[yaml.Node, Any] | None) -> dict[str, str]:
        """A mapping of texts, as they are written: `8` is `8`."""
        if field is None:
            return {}
        node = field[0]
        assert isinstance(node, yaml.MappingNode)
        for _, value in node.value:
            if not isinstance(value, yaml.ScalarNode):
                raise self._fail(value, "each of these values is a text")
        return {key.value: value.value for key, value in node.value}


# --- playing ---------------------------------------------------------------------------------------------


def ask(connection: HTTPConnection, case: Case, nth: int) -> Answer:
    """The request of a case, the `nth` time: `{n}` in it is that number, from 1."""

    def filled(text: str) -> str:
        return text.replace("{n}", str(nth))

    headers = {name: filled(value) for name, value in case.headers.items()}
    if case.source:
        headers["X-Forwarded-For"] = filled(case.source)
    if case.agent:
        headers["User-Agent"] = AGENTS.get(case.agent, filled(case.agent))
    if case.body:
        headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
    connection.request(case.method, filled(case.target), filled(case.body).encode() if case.body else None, headers)
    answer = connection.getresponse()
    body = answer.read().decode("latin-1")
    return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, body)


def fault(case: Case, answers: list[Answer]) -> str:
    """What is not as expected; empty if all is."""
    try:
        for answer in answers:
            _compare(case.expect, answer)
        _compare_shares(case.expect, answers)
    except _DiffersError as error:
        return f"{case.where} ({case.name}): {error}"
    return ""


def fault_of_trace(case: Case, click: Mapping[str, Any]) -> str:
    """What of a traced click is not as expected; empty if all is."""
    for name, expected in case.expect.trace.items():
        found = click.get(name)
        if name == "skipped":
            found = [f"{one['offer']} {one['code']}" for one in click["skipped"]]
        pairs = [(name, found, expected)]
        if isinstance(expected, dict):
            pairs = [(f"{name} {key}", dict(found or {}).get(key), value) for key, value in expected.items()]
        for what, one, wanted in pairs:
            if not (re.fullmatch(_pattern(wanted), str(one)) if isinstance(wanted, str) else one == wanted):
                return f"{case.where} ({case.name}): the trace's {what} is {one!r}, expected {wanted!r}"
    return ""


def click_id_of(case: Case, answer: Answer) -> str:
    """The click's id as the answer tells it."""
    if case.expect.location is not None:
        found = re.fullmatch(_pattern(case.expect.location), answer.headers.get("location", ""))
        if found is not None and "click_id" in found.groupdict():
            return str(found["click_id"])
    if answer.headers.get("content-type") == "application/json":
        content = json.loads(answer.body)
        return str(content.get("click_id") or content.get("impression_id") or "")
    found = re.search(f"[=/]({_ID})", answer.headers.get("location", "") + answer.body)
    return found[1] if found is not None else ""


class _DiffersError(Exception):
    """Something is not as expected."""


def _pattern(text: str) -> str:
    """A regular expression for a text with placeholders; a placeholder that comes again is the same value."""
    out, at, seen = "", 0, False
    for place in _PLACE.finditer(text):
        pattern = _PLACES[place[1]]
        out += re.escape(text[at : place.start()]) + ("(?P=click_id)" if seen and "click_id" in pattern else pattern)
        seen = seen or "click_id" in pattern
        at = place.end()
    return out + re.escape(text[at:])


def _must(holds: object, what: str, found: object, expected: object) -> None:
    if not holds:
        raise _DiffersError(f"{what} is {found!r}, expected {expected!r}")


def _compare(expect: Expected, answer: Answer) -> None:
    _must(answer.status == expect.status, "the status", (answer.status, answer.body[:300]), expect.status)
    place = answer.headers.get("location", "")
    if expect.location is not None:
        _must(re.fullmatch(_pattern(expect.location), place), "the location", place, expect.location)
    elif expect.status not in (302, 307):
        _must(not place, "the location", place, "")
    for name, value in expect.headers.items():
        found = answer.headers.get(name.lower(), "absent")
        _must(re.fullmatch(_pattern(value), found), f"the header {name}", found, value)
    if expect.error:
        _must(f'"error":"{expect.error}"' in answer.body, "the answer", answer.body, expect.error)
    if expect.body is not None:
        _must(re.fullmatch(_pattern(expect.body), answer.body, re.DOTALL), "the body", answer.body, expect.body)
    if expect.json is not None:
        _must(answer.headers.get("content-type") == "application/json", "the type", answer.headers, "JSON")
        found = json.loads(answer.body)
        for key, value in expect.json.items():
            is_so = (
                re.fullmatch(_pattern(value), str(found.get(key)))
                if isinstance(value, str)
                else found.get(key) == value
            )
            _must(is_so, f"`{key}` of the JSON", found.get(key), value)
        _must(set(found) == set(expect.json), "the JSON's keys", sorted(found), sorted(expect.json))


def _compare_shares(expect: Expected, answers: list[Answer]) -> None:
    """How often each place was led to; places are told apart by what stands before the query."""
    places = [urlsplit(answer.headers.get("location", ""))._replace(query="").geturl() for answer in answers]
    for place, share in expect.shares.items():
        low, _, high = share.partition("-")
        found = 100 * sum(one == place for one in places) / len(places)
        _must(int(low) <= found <= int(high or low), f"the share of {place}", f"{found:.0f} %", f"{share} %")
    if expect.shares:
        strange = sorted(set(places) - set(expect.shares))
        _must(not strange, "another place", strange, sorted(expect.shares))
    if expect.same:
        _must(len(set(places)) == 1, "the places", sorted(set(places)), "one and the same")
