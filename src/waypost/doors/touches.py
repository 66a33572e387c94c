"""Touches: what clicks and impressions have in common, from a visitor and a link's plan to a frame and an address.

Owns: the choice of the target, the click's key and id, its marks, and what of the visitor goes into the frame. Reads
the shelf's plans, the visitor's facts, the board's list and this process's memory of visitors. Never answers, and never
waits: whoever asked hands the frame to the group commit.

Marks: `prefetch` (a browser or program looked ahead, or asked by HEAD: nobody has come yet), `duplicate` (this door saw
the visitor on this link within the window), `returning` (it saw the visitor today). Counts leave out the first two,
and bots (fact `bot`); what is recorded is recorded whole.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

import msgspec

from waypost.doors.door_time import DoorTime
from waypost.doors.inbox import Kind
from waypost.doors.recent import DUPLICATE, Mark, RecentVisitors
from waypost.doors.shelf import Shelf
from waypost.errors import WaypostError
from waypost.model.facts import NO_BROWSER, NO_PLACE, Facts, Part
from waypost.model.frames import Click, Impression
from waypost.model.ids import FLAG_TEST, FLAG_UNRECORDED, ClickIdCodec
from waypost.model.wire import encode_frame
from waypost.ports.board import NEVER_MS, Board
from waypost.ports.visitor_keys import VisitorKeys
from waypost.ports.visitors import Visitors
from waypost.stages.redirect import LinkPlan, TargetPlan, choose_target, target_url
from waypost.stages.rotation import Choice, Known, Skipped
from waypost.stages.targeting import Visit
from waypost.stages.visitor_data import (
    UserHash,
    has_visitor_data,
    kept_address,
    kept_facts,
    kept_query,
    kept_referrer,
    kept_user_agent,
    truncated,
)
from waypost.telemetry.stats import Stats

USER_AGENT_BYTES_MAX = 512
REFERRER_BYTES_MAX = 1024
_ADDRESSES_MAX = 10_000
_NO_OFFERS: frozenset[int] = frozenset()
_LOOKS_AHEAD = frozenset((b"sec-purpose", b"purpose", b"x-moz"))


class Visitor(msgspec.Struct, gc=False):
    """Who touches, as the request says, or a partner's server for him."""

    address: str
    user_agent: bytes
    languages: bytes
    referrer: bytes
    looks_ahead: bool = False


class Told(msgspec.Struct, gc=False):
    """What a request's headers tell of the visitor, but for the address: the same for many."""

    user_agent: bytes
    looks_ahead: bool
    referrer: bytes
    browser: Part


_Place: TypeAlias = tuple[TargetPlan, str, str, Skipped]
"""Where a touch leads: target, id, address, and who could not take it."""


class Touch(msgspec.Struct, gc=False):
    """One touch: `frame` is to be made durable before `url`, which carries `click_id`, is answered."""

    target: TargetPlan
    click_id: str
    url: str
    frame: bytes
    facts: Facts


class Ask(msgspec.Struct, gc=False):
    """One touch that is asked for: of `link`, whose plan leads somewhere. `unkept` are parameters not to be stored."""

    plan: LinkPlan
    link: bytes
    query: bytes
    address: str
    referrer: bytes
    told: Told
    kind: type[Click] | type[Impression] = Click
    test: bool = False
    mode: str = ""
    unkept: frozenset[bytes] = frozenset()


def visitor_of(address: str, headers: Mapping[bytes, bytes], *, is_head: bool) -> Visitor:
    """The visitor that a request comes from."""
    find = headers.get
    return Visitor(
        address,
        find(b"user-agent", b"")[:USER_AGENT_BYTES_MAX],
        find(b"accept-language", b""),
        find(b"referer", b"")[:REFERRER_BYTES_MAX],
        is_head or _looks_ahead(headers),
    )


def _looks_ahead(headers: Mapping[bytes, bytes]) -> bool:
    if _LOOKS_AHEAD.isdisjoint(headers):
        return False
    return any(b"prefetch" in headers.get(name, b"").lower() for name in _LOOKS_AHEAD)


class Touches:
    """Makes touches; `board` is set by the door when a new one is there."""

    def __init__(
        self,
        *,
        time: DoorTime,
        codec: ClickIdCodec,
        keys: VisitorKeys,
        recent: RecentVisitors,
        stats: Stats,
        visitors: Visitors | None,
    ) -> None:
        self._time = time
        self._encode, self._encode_many = codec.encode, codec.encode_many
        self._keys = keys
        self._recent = recent
        self._stats = stats
        self._visitors = visitors
        self._board: Board | None = None
        self._exhausted: Collection[int] = _NO_OFFERS
        self._exhausted_until_ms = NEVER_MS
        self._addresses: dict[str, str] = {}
        self._addresses_for: tuple[str, bytes] = ("", b"")
        self._users = UserHash(b"")

    def take_board(self, board: Board) -> None:
        """What the pipeline says of caps from now on."""
        self._board = board
        self._exhausted_until_ms = 0

    def take(
        self,
        kind: type[Click] | type[Impression],
        shelf: Shelf,
        plan: LinkPlan,
        link: bytes,
        visitor: Visitor,
        query: bytes,
        *,
        test: bool,
        mode: str = "",
        unkept: frozenset[bytes] = frozenset(),
    ) -> Touch:
        """A touch of `link`, whose plan leads somewhere. `unkept` are parameters that are not stored.

        Raises WaypostError: `bad_target` if the target's URL does not render, `link_inactive` if nothing takes it.
        """
        told = self._told(visitor)
        ask = Ask(plan, link, query, visitor.address, visitor.referrer, told, kind, test, mode, unkept)
        (touch,) = self.take_all(shelf, [ask])
        if isinstance(touch, WaypostError):
            raise touch
        return touch

    def told(self, kind: Kind) -> Told:
        """What the headers of all GETs of a kind tell; kept with it."""
        found: Told | None = kind.memo
        if found is None:
            found = kind.memo = self._told(visitor_of("", kind.headers, is_head=False))
        return found

    def _told(self, visitor: Visitor) -> Told:
        browser = NO_BROWSER
        if self._visitors is not None:
            browser = self._visitors.browser(visitor.user_agent, visitor.languages)
        return Told(visitor.user_agent, visitor.looks_ahead, visitor.referrer, browser)

    def take_all(self, shelf: Shelf, asks: Sequence[Ask]) -> list[Touch | WaypostError]:
        """A touch for each, or what `take` would raise; kind by kind, which is cheaper than one after the other."""
        times = self._time.clicks(len(asks))
        ms = times[0][0]
        key = self._keys.of(ms)
        if key != self._users.key:
            self._users = UserHash(key)
        if ms >= self._exhausted_until_ms:
            self._read_board(ms)
        users_of = self._users.of
        addresses = [ask.address for ask in asks]
        places = self._visitors.places(addresses) if self._visitors is not None else [NO_PLACE] * len(asks)
        facts = [Facts(ask.told.browser, place) for ask, place in zip(asks, places, strict=True)]
        users = [users_of(ask.address, ask.told.user_agent) for ask in asks]
        marks = self._marks(asks, users, ms)
        choices = self._choices(asks, times, facts, marks)
        led = self._places(asks, times, facts, choices)
        return self._touches(shelf, asks, times, facts, users, marks, led)

    def _marks(self, asks: Sequence[Ask], users: Sequence[bytes], ms: int) -> list[Mark]:
        """The marks of touches; their visitors are noted, but for tests and those who look ahead: the visit that was
        looked ahead for is no duplicate of the look."""
        links = [
            None if ask.test or ask.told.looks_ahead else ask.link if ask.kind is Click else b"\0" + ask.link
            for ask in asks
        ]
        marks, values = self._recent.note_each(users, links, ms), self._stats.values
        values["door_clicks_duplicate"] += marks.count(DUPLICATE)
        if None in links:
            for nth, ask in enumerate(asks):
                if ask.told.looks_ahead:
                    values["door_clicks_prefetch"] += 1
                    marks[nth] = ("prefetch", *marks[nth])
        return marks

    def _choices(
        self,
        asks: Sequence[Ask],
        times: Sequence[tuple[int, int]],
        facts: Sequence[Facts],
        marks: Sequence[tuple[str, ...]],
    ) -> list[Choice[TargetPlan] | WaypostError]:
        """Who takes each touch."""
        found: list[Choice[TargetPlan] | WaypostError] = []
        exhausted, values = self._exhausted, self._stats.values
        for ask, (ms, seq), known, mark in zip(asks, times, facts, marks, strict=True):
            plan = ask.plan
            if not exhausted and (drawn := plan.targets.at_once(known, ms, seq)) is not None:
                found.append(drawn)  # one of the link's targets: nothing to count
                continue
            visit = Visit(ms, ask.address, known, ask.query, "returning" in mark, plan.click_names)
            try:
                choice = choose_target(plan, visit, seq, user_agent=ask.told.user_agent, exhausted=exhausted)
            except WaypostError as error:
                found.append(error)
                continue
            if choice.skipped:
                target = choice.target
                if not target.offer:
                    values["door_clicks_unplaced"] += 1
                elif target.is_fallback:
                    values["door_clicks_passed_on"] += 1
            found.append(choice)
        return found

    def _places(
        self,
        asks: Sequence[Ask],
        times: Sequence[tuple[int, int]],
        facts: Sequence[Facts],
        choices: Sequence[Choice[TargetPlan] | WaypostError],
    ) -> list[_Place | WaypostError]:
        """Where each touch leads, by an id of its own."""
        door = self._time.door
        ids = self._encode_many(
            [
                (ms, door, seq, choice.target.route, FLAG_TEST if ask.test else 0)
                for ask, (ms, seq), choice in zip(asks, times, choices, strict=True)
                if isinstance(choice, Choice)
            ]
        )
        found: list[_Place | WaypostError] = []
        following = iter(ids)
        for ask, known, choice in zip(asks, facts, choices, strict=True):
            if isinstance(choice, WaypostError):
                found.append(choice)
                continue
            target, click_id = choice.target, next(following)
            try:
                found.append((target, click_id, target.url.of(click_id, ask.query, known), choice.skipped))
            except WaypostError as error:
                found.append(error)
        return found

    def _touches(
        self,
        shelf: Shelf,
        asks: Sequence[Ask],
        times: Sequence[tuple[int, int]],
        facts: Sequence[Facts],
        users: Sequence[bytes],
        marks: Sequence[tuple[str, ...]],
        places: Sequence[_Place | WaypostError],
    ) -> list[Touch | WaypostError]:
        """The touches, with what may be kept of each in its frame."""
        found: list[Touch | WaypostError] = []
        privacy, version, key, door = shelf.privacy, shelf.version, self._users.key, self._time.door
        how_ip, how_agent, how_referrer = privacy.ip, privacy.user_agent, privacy.referrer
        are_facts_kept = how_ip != "none" and how_agent != "none"  # see `kept_facts`
        for ask, (ms, seq), known, user, mark, place in zip(asks, times, facts, users, marks, places, strict=True):
            if isinstance(place, WaypostError):
                found.append(place)
                continue
            target, click_id, url, skipped = place
            query, unkept, address, told = ask.query, ask.unkept, ask.address, ask.told
            if unkept or has_visitor_data(query):
                query = kept_query(query, privacy, key, without=unkept)
            frame = encode_frame(
                ask.kind(
                    ms, door, seq, target.route, FLAG_TEST if ask.test else 0, target.partition, version, query,
                    truncated(address) if how_ip == "truncated" else self._address(address, how_ip, key),
                    told.user_agent if how_agent == "whole" else kept_user_agent(told.user_agent, how_agent, known),
                    ask.referrer and kept_referrer(ask.referrer, how_referrer),
                    ask.mode, known.encoded() if are_facts_kept else kept_facts(known.known, privacy),
                    skipped.encoded if isinstance(skipped, Known) else skipped, user, mark,
                )
            )  # fmt: skip
            found.append(Touch(target, click_id, url, frame, known))
        return found

    def unrecorded(self, touch: Touch, query: bytes, *, test: bool) -> tuple[str, str]:
        """A new id, which says that no store knows it, and the address with it. Raises WaypostError."""
        ms, seq = self._time.next_click()
        flags = FLAG_UNRECORDED | (FLAG_TEST if test else 0)
        click_id = self._encode(ms, self._time.door, seq, touch.target.route, flags)
        return click_id, target_url(touch.target, click_id, query, touch.facts)

    def kept_address(self, address: str, shelf: Shelf) -> str:
        """An address as it may be stored with what is no touch."""
        return self._address(address, shelf.privacy.ip, self._keys.of(self._time.ms))

    def kept_request(self, address: str, url: bytes, shelf: Shelf) -> tuple[str, bytes]:
        """Address and URL of a visitor's request that was refused, as they may be kept."""
        path, mark, query = url.partition(b"?")
        return self.kept_address(address, shelf), path + mark + self.kept_query(query, shelf)

    def kept_query(self, query: bytes, shelf: Shelf, unkept: frozenset[bytes] = frozenset()) -> bytes:
        """The parameters of what is no touch, as they may be stored; `unkept` are not."""
        if unkept or has_visitor_data(query):
            query = kept_query(query, shelf.privacy, self._keys.of(self._time.ms), without=unkept)
        return query

    def _address(self, address: str, how: str, key: bytes) -> str:
        if how == "truncated":
            return truncated(address)
        known = self._addresses
        if len(known) >= _ADDRESSES_MAX or self._addresses_for != (how, key):
            known.clear()
            self._addresses_for = (how, key)
        kept = known.get(address)
        if kept is None:
            kept = known[address] = kept_address(address, how, key)
        return kept

    def _read_board(self, ms: int) -> None:
        if self._board is None:
            self._exhausted, self._exhausted_until_ms = _NO_OFFERS, NEVER_MS
        else:
            self._exhausted, self._exhausted_until_ms = self._board.exhausted(ms)
