"""Clicks: the way from `/c/LINK` to a Location that carries a click id, or to the same as JSON.

Owns: the modes of an answer, and who may send a click for somebody else. Touches make the frame; the group commit makes
it durable. Never lets a journal's failure stop a redirect: then the id says that it is unrecorded (law 1). Where a
click leads is the catalog's: no parameter of a request names the target's host.
"""

from collections.abc import Callable, Sequence
from functools import partial
from hmac import compare_digest
from ipaddress import ip_address

import msgspec

from waypost.doors.answers import KEEP, VISIT_HEADERS, Answers
from waypost.doors.app_page import POLICY, app_page
from waypost.doors.commit import Fallback, GroupCommit, Waiting
from waypost.doors.inbox import Piece
from waypost.doors.protocol import Connection
from waypost.doors.shelf import Shelf
from waypost.doors.touches import (
    REFERRER_BYTES_MAX,
    USER_AGENT_BYTES_MAX,
    Ask,
    Touch,
    Touches,
    Visitor,
    visitor_of,
)
from waypost.errors import WaypostError
from waypost.model.facts import Facts
from waypost.model.frames import Click
from waypost.stages.deep_links import landing, system_of
from waypost.stages.intake import decode_pairs
from waypost.stages.redirect import LinkPlan, TargetPlan, query_value
from waypost.stages.visitor_data import ADDRESS_NAMES, REFERRER_NAMES, USER_AGENT_NAMES
from waypost.telemetry.stats import Stats

_LINKS = b"/c/"
JSON, SERVER = "json", "server"
_MODES = {"json": JSON, "s2s": SERVER}
# Parameters of a server-to-server click that speak of the visitor; they become facts, and are not stored as they came.
_LANGUAGE = b"language"
_UNKEPT = frozenset((b"token", b"mode", *ADDRESS_NAMES, *USER_AGENT_NAMES, *REFERRER_NAMES, _LANGUAGE))
_FORMS = ("", "application/x-www-form-urlencoded")


class _How(msgspec.Struct, gc=False):
    """How a click is to be answered."""

    mode: int
    wants_json: bool
    is_head: bool
    test: bool
    query: bytes
    user_agent: bytes


class Clicks:
    """The desk that redirects."""

    def __init__(self, *, touches: Touches, commit: GroupCommit, answers: Answers, stats: Stats) -> None:
        self._touches = touches
        self._commit = commit
        self._answers = answers
        self._stats = stats

    def take_plain(
        self, shelf: Shelf, pieces: list[Piece], waits_of: Callable[[Sequence[str]], Sequence[int]]
    ) -> list[Piece]:
        """Takes the GETs of known links that are asked for nothing but a redirect: `take` in short, of a turn's clicks
        together. `waits_of` says of addresses how long each is to wait. See `inbox.TakeAtOnce`."""
        connections: set[Connection] = set()
        found: list[tuple[int, Connection, Ask]] = []
        room = self._commit.room
        links, told_by = shelf.links, self._touches.told
        is_served = shelf.hosts.is_served if shelf.hosts.has_inactive else None
        for nth, (connection, _, head) in enumerate(pieces):
            if connection in connections:
                continue  # one piece of each a turn: if it is not taken after all, none behind it may be
            connections.add(connection)
            if head is None or connection.in_request or connection.is_closing:
                continue
            target, kind, own = head
            if kind.is_asking or target[:3] != _LINKS:
                continue
            name, _, query = target[3:].partition(b"?")
            plan = links.get(name)
            if plan is None or plan.code or query.find(b"mode=") >= 0 or len(found) >= room:
                continue
            if is_served is not None and not is_served(kind.headers):
                continue
            address = connection.origin(own or kind.headers) if connection.is_proxy else connection.peer
            told = kind.memo or told_by(kind)
            referrer = own[b"referer"][:REFERRER_BYTES_MAX] if b"referer" in own else told.referrer
            found.append((nth, connection, Ask(plan, name, query, address, referrer, told)))
        waits = waits_of([ask.address for _, _, ask in found])
        if any(waits):
            found = [one for one, wait_s in zip(found, waits, strict=True) if not wait_s]
        if not found:
            return pieces
        taken = self._commit_plain(shelf, found)
        if len(taken) == len(pieces):
            return []
        return [piece for nth, piece in enumerate(pieces) if nth not in taken]

    def _commit_plain(self, shelf: Shelf, found: list[tuple[int, Connection, Ask]]) -> set[int]:
        """Answers which were taken; the others meet an error, which is answered where it is found again."""
        taken: set[int] = set()
        frames: list[bytes] = []
        answers: list[tuple[Waiting, bytes, Fallback]] = []
        touches = self._touches.take_all(shelf, [ask for _, _, ask in found])
        moved, fallback = self._answers.moved, self._plain_unrecorded
        for (nth, connection, ask), touch in zip(found, touches, strict=True):
            if isinstance(touch, WaypostError):
                continue
            target, url = touch.target, touch.url
            if url and target.apps is None:
                response = moved[target.status, target.hides_referrer][KEEP] + url.encode() + b"\r\n\r\n"
            else:
                response = self._answer(target, touch.click_id, url, touch.facts, _plain(ask))
            frames.append(touch.frame)
            answers.append((connection, response, partial(fallback, touch, ask)))
            taken.add(nth)
            connection.wait_beside()
        if frames:
            self._commit.add_each(frames, answers, clicks=len(frames))
        return taken

    def take(
        self, connection: Connection, shelf: Shelf, plan: LinkPlan, link: bytes, query: bytes, *, test: bool
    ) -> str:
        """Answers with the target's address once the click is durable; or answers nothing and says why: a code.

        `plan` leads somewhere. Raises WaypostError if the target's URL does not render, or nothing takes the click.
        """
        form = _MODES.get(query_value(query, b"mode") or "", "") if query.find(b"mode=") >= 0 else ""
        if form == SERVER or connection.method == b"POST":
            return self._take_from_server(connection, shelf, plan, link, query, test=test)
        is_head = connection.method == b"HEAD"
        visitor = visitor_of(connection.address, connection.headers, is_head=is_head)
        touch = self._touches.take(Click, shelf, plan, link, visitor, query, test=test, mode=form)
        self._commit_touch(
            connection, touch, _How(connection.mode, form == JSON, is_head, test, query, visitor.user_agent)
        )
        return ""

    def _take_from_server(
        self, connection: Connection, shelf: Shelf, plan: LinkPlan, link: bytes, query: bytes, *, test: bool
    ) -> str:
        """A click that the partner's server saw: what it says of the visitor stands for what a request would tell."""
        if connection.body:
            kind = connection.headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
            if kind not in _FORMS:
                return "not_a_form"
            query = b"&".join(part for part in (query, connection.body) if part)
        values = decode_pairs(query)
        expected = shelf.partner_token(plan.partner)
        given = connection.headers.get(b"waypost-token", b"") or values.get("token", "").encode()
        if not given:
            return "missing_token"
        if not expected or not compare_digest(given, expected.encode()):
            return "wrong_token"
        visitor = _stated_visitor(values)
        if visitor is None:
            return "bad_visitor"
        touch = self._touches.take(Click, shelf, plan, link, visitor, query, test=test, mode=SERVER, unkept=_UNKEPT)
        is_head = connection.method == b"HEAD"
        self._commit_touch(connection, touch, _How(connection.mode, True, is_head, test, query, visitor.user_agent))
        return ""

    def _commit_touch(self, connection: Connection, touch: Touch, how: _How) -> None:
        if self._commit.is_full:
            connection.respond(self._unrecorded(touch, how, ""))
            return
        response = self._answer(touch.target, touch.click_id, touch.url, touch.facts, how)
        connection.wait()
        self._commit.add(connection, touch.frame, response, partial(self._unrecorded, touch, how), True)

    def _answer(self, target: TargetPlan, click_id: str, url: str, facts: Facts, how: _How) -> bytes:
        fallback = ""
        if target.apps is not None:
            led = landing(target.apps, system_of(how.user_agent), url, click_id, how.query, facts)
            url, fallback = led
        if how.wants_json:
            content = {"click_id": click_id, "url": url} | ({"fallback": fallback} if fallback else {})
            return self._answers.json(content, how.mode, is_head=how.is_head)
        if not url:
            return self._answers.blank[how.mode]
        if fallback:
            headers = VISIT_HEADERS[target.hides_referrer] + POLICY
            page = app_page(url, fallback)
            return self._answers.document(page, "text/html", how.mode, headers=headers, is_head=how.is_head)
        return b"%b%b\r\n\r\n" % (
            self._answers.moved[target.status, target.hides_referrer][how.mode],
            url.encode("ascii"),
        )

    def _plain_unrecorded(self, touch: Touch, ask: Ask, code: str) -> bytes:
        return self._unrecorded(touch, _plain(ask), code)

    def _unrecorded(self, touch: Touch, how: _How, _code: str) -> bytes:
        """The same answer under a new id that says that no store knows it."""
        self._stats.values["door_clicks"] += 1
        self._stats.values["door_clicks_unrecorded"] += 1
        try:
            click_id, url = self._touches.unrecorded(touch, how.query, test=how.test)
            return self._answer(touch.target, click_id, url, touch.facts, how)
        except WaypostError as error:
            return self._answers.error("bad_target", how.mode, is_head=how.is_head, detail=error.detail)


def _plain(ask: Ask) -> _How:
    """How a click is answered that asks for nothing but a redirect."""
    return _How(KEEP, False, False, False, ask.query, ask.told.user_agent)


def _stated_visitor(values: dict[str, str]) -> Visitor | None:
    """The visitor whom a partner's server speaks of; None if the address is missing or none."""

    def first(names: tuple[bytes, ...]) -> str:
        return next((values[name.decode()] for name in names if values.get(name.decode())), "")

    try:
        address = str(ip_address(first(ADDRESS_NAMES).strip()))
    except ValueError:
        return None
    return Visitor(
        address,
        first(USER_AGENT_NAMES).encode()[:USER_AGENT_BYTES_MAX],
        values.get(_LANGUAGE.decode(), "").encode(),
        first(REFERRER_NAMES).encode()[:REFERRER_BYTES_MAX],
    )
