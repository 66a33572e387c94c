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
from waypost.doors.recent import RecentVisitors
from waypost.doors.shelf import Shelf
from waypost.errors import WaypostError
from waypost.model.frames import Click, Impression
from waypost.model.ids import FLAG_TEST, FLAG_UNRECORDED, ClickIdCodec
from waypost.model.wire import encode_frame
from waypost.ports.board import NEVER_MS, Board
from waypost.ports.visitor_keys import VisitorKeys
from waypost.ports.visitors import Visitors
from waypost.stages.redirect import Choice, LinkPlan, TargetPlan, choose_target, target_url
from waypost.stages.rotation import Skipped
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
_LOOKS_AHEAD = (b"sec-purpose", b"purpose", b"x-moz")
MARKS: dict[tuple[bool, bool, bool], tuple[str, ...]] = {
    (prefetch, duplicate, returning): tuple(
        name for name, is_so in (("prefetch", prefetch), ("duplicate", duplicate), ("returning", returning)) if is_so
    )
    for prefetch in (False, True)
    for duplicate in (False, True)
    for returning in (False, True)
}


class Visitor(msgspec.Struct, gc=False):
    """Who touches, as the request says, or a partner's server for him."""

    address: str
    user_agent: bytes
    languages: bytes
    referrer: bytes
    looks_ahead: bool = False


_Place: TypeAlias = tuple[TargetPlan, str, str, Skipped]
"""Where a touch leads: target, id, address, and who could not take it."""


class Touch(msgspec.Struct, gc=False):
    """One touch: `frame` is to be made durable before `url`, which carries `click_id`, is answered."""

    target: TargetPlan
    click_id: str
    url: str
    frame: bytes
    facts: dict[str, str]


class Ask(msgspec.Struct, gc=False):
    """One touch that is asked for: of `link`, whose plan leads somewhere. `unkept` are parameters not to be stored."""

    plan: LinkPlan
    link: bytes
    visitor: Visitor
    query: bytes
    kind: type[Click] | type[Impression] = Click
    test: bool = False
    mode: str = ""
    unkept: frozenset[bytes] = frozenset()


def visitor_of(address: str, headers: Mapping[bytes, bytes], *, is_head: bool) -> Visitor:
    """The visitor that a request comes from."""
    find = headers.get
    looks_ahead = is_head
    for name in _LOOKS_AHEAD:
        if name in headers and b"prefetch" in headers[name].lower():
            looks_ahead = True
    return Visitor(
        address,
        find(b"user-agent", b"")[:USER_AGENT_BYTES_MAX],
        find(b"accept-language", b""),
        find(b"referer", b"")[:REFERRER_BYTES_MAX],
        looks_ahead,
    )


def _place(choice: Choice, click_id: str, query: bytes, facts: dict[str, str]) -> _Place | WaypostError:
    target, skipped = choice
    try:
        return target, click_id, target_url(target, click_id, query, facts), skipped
    except WaypostError as error:
        return error


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
        (touch,) = self.take_all(shelf, [Ask(plan, link, visitor, query, kind, test, mode, unkept)])
        if isinstance(touch, WaypostError):
            raise touch
        return touch

    def take_all(self, shelf: Shelf, asks: Sequence[Ask]) -> list[Touch | WaypostError]:
        """A touch for each, or what `take` would raise; kind by kind, which is cheaper than one after the other."""
        times = self._time.clicks(len(asks))
        ms = times[0][0]
        key = self._keys.of(ms)
        if key != self._users.key:
            self._users = UserHash(key)
        if ms >= self._exhausted_until_ms:
            self._read_board(ms)
        visitors = [ask.visitor for ask in asks]
        find, user_of = self._visitors, self._users.of
        facts = [find.facts(one.address, one.user_agent, one.languages) if find is not None else {} for one in visitors]
        users = [user_of(one.address, one.user_agent) for one in visitors]
        marks = [self._marks(ask, user, ms) for ask, user in zip(asks, users, strict=True)]
        choices = [
            self._choose(ask, time, known, returning)
            for ask, time, known, (_, returning) in zip(asks, times, facts, marks, strict=True)
        ]
        door = self._time.door
        ids = self._encode_many(
            [
                (time[0], door, time[1], choice.target.route, FLAG_TEST if ask.test else 0)
                for ask, time, choice in zip(asks, times, choices, strict=True)
                if isinstance(choice, Choice)
            ]
        )
        following = iter(ids)
        places = [
            _place(choice, next(following), ask.query, known) if isinstance(choice, Choice) else choice
            for ask, known, choice in zip(asks, facts, choices, strict=True)
        ]
        return [
            place if isinstance(place, WaypostError) else self._touch(shelf, ask, time, known, user, mark, place)
            for ask, time, known, user, (mark, _), place in zip(asks, times, facts, users, marks, places, strict=True)
        ]

    def _touch(
        self,
        shelf: Shelf,
        ask: Ask,
        time: tuple[int, int],
        facts: dict[str, str],
        user: bytes,
        marks: tuple[str, ...],
        place: _Place,
    ) -> Touch:
        """The touch, with what may be kept of it in its frame."""
        target, click_id, url, skipped = place
        privacy, key, visitor, query = shelf.privacy, self._users.key, ask.visitor, ask.query
        if ask.unkept or has_visitor_data(query):
            query = kept_query(query, privacy, key, without=ask.unkept)
        frame = encode_frame(
            ask.kind(
                time[0],
                self._time.door,
                time[1],
                target.route,
                FLAG_TEST if ask.test else 0,
                target.partition,
                shelf.version,
                query,
                self._address(visitor.address, privacy.ip, key),
                kept_user_agent(visitor.user_agent, privacy.user_agent, facts),
                kept_referrer(visitor.referrer, privacy.referrer),
                ask.mode,
                kept_facts(facts, privacy),
                skipped,
                user,
                marks,
            )
        )
        return Touch(target, click_id, url, frame, facts)

    def _marks(self, ask: Ask, user: bytes, ms: int) -> tuple[tuple[str, ...], bool]:
        """The marks of a touch, and whether its visitor was here before; he is noted."""
        recent = self._recent
        returning = recent.has_seen(user)
        looks_ahead = ask.visitor.looks_ahead
        duplicate = False
        if not ask.test and not looks_ahead:  # the visit that was looked ahead for is no duplicate of the look
            link = ask.link if ask.kind is Click else b"i" + ask.link
            duplicate = recent.note(user, link, ms, is_new=not returning)
            if duplicate:
                self._stats.values["door_clicks_duplicate"] += 1
        elif looks_ahead:
            self._stats.values["door_clicks_prefetch"] += 1
        return MARKS[looks_ahead, duplicate, returning], returning

    def _choose(self, ask: Ask, time: tuple[int, int], facts: dict[str, str], returning: bool) -> Choice | WaypostError:
        """Who takes a touch."""
        plan, visitor = ask.plan, ask.visitor
        visit = Visit(time[0], visitor.address, facts, ask.query, returning, plan.click_names)
        try:
            choice = choose_target(plan, visit, time[1], user_agent=visitor.user_agent, exhausted=self._exhausted)
        except WaypostError as error:
            return error
        if choice.skipped:
            self._count_skips(plan, choice.target)
        return choice

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

    def _count_skips(self, plan: LinkPlan, target: TargetPlan) -> None:
        if not target.offer:
            self._stats.values["door_clicks_unplaced"] += 1
        elif target.is_fallback:
            self._stats.values["door_clicks_passed_on"] += 1
