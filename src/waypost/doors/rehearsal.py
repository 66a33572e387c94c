"""A door's desks without its door: the same routes, plans and answers, for one request at a time.

Owns: the stand-ins for connection, group commit and log of refusals, which hand back what they are given. Reads a
catalog view; writes nothing and listens to nothing. Never judges a request: the desks do, as in any door.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import cast

from waypost.catalog.view import CatalogView
from waypost.doors.answers import KEEP, Answers
from waypost.doors.clicks import Clicks
from waypost.doors.commit import Fallback, GroupCommit, Waiting
from waypost.doors.door_time import DoorTime
from waypost.doors.impressions import Impressions
from waypost.doors.limits import Limits
from waypost.doors.pages import Pages
from waypost.doors.postbacks import Postbacks
from waypost.doors.protocol import Connection
from waypost.doors.recent import RecentVisitors
from waypost.doors.refusals import Refused
from waypost.doors.routes import Routes
from waypost.doors.shelf import Shelf
from waypost.doors.touches import Touches
from waypost.model.facts import BROWSER_FACTS, GEO_FACTS, Part
from waypost.model.ids import ClickIdCodec, KeyRing
from waypost.ports.board import Board
from waypost.ports.clock import Clock
from waypost.ports.rehearsal import TriedAnswer, TriedRequest
from waypost.ports.visitors import Visitors
from waypost.settings import Settings
from waypost.telemetry.stats import Stats

_OPERATOR_KEY = "a rehearsal has no operator"


class RehearsalDoor:
    """See `ports.rehearsal.TriedDoor`. Ids are those of door 0 at the clock's time: the same ones each time."""

    def __init__(
        self, *, view: CatalogView, ring: KeyRing, visitors: Visitors, settings: Settings, clock: Clock
    ) -> None:
        stats, time, codec = Stats("rehearsal"), DoorTime(clock, 0, 0), ClickIdCodec(ring)
        answers = Answers(settings.door.retry_after_s, clock.now_ms() / 1000)
        self._kept = _KeptFrame()
        self._noted = _NotedRefusal()
        self._visitors = _KnownVisitors(visitors)
        self._touches = touches = Touches(
            time=time,
            codec=codec,
            keys=_OneKey(),
            recent=RecentVisitors(settings.door.visitors_remembered_max, settings.door.duplicate_window_ms),
            stats=stats,
            visitors=self._visitors,
        )
        commit = cast(GroupCommit, self._kept)
        self._routes = Routes(
            touches=touches,
            clicks=Clicks(touches=touches, commit=commit, answers=answers, stats=stats),
            impressions=Impressions(touches=touches, commit=commit, answers=answers, stats=stats),
            pages=Pages(touches=touches, time=time, codec=codec, commit=commit, answers=answers, stats=stats),
            postbacks=Postbacks(time=time, codec=codec, commit=commit, answers=answers, stats=stats),
            answers=answers,
            limits=Limits(settings.door),
            now_ms=clock.monotonic_ms,
            operator_key=_OPERATOR_KEY,
            refusals=self._noted,
            stats=stats,
            health=dict,
        )
        self._routes.shelf = Shelf(view, settings.door.catalog_cache_items_max)

    def take_board(self, board: Board) -> None:
        """See the port."""
        self._touches.take_board(board)

    def ask(self, request: TriedRequest, facts: Mapping[str, str]) -> TriedAnswer:
        """See the port."""
        self._visitors.stated = facts
        self._kept.frame = b""
        self._noted.code = self._noted.detail = ""
        call = _Call(request)
        self._routes.handle(call)
        head, _, body = call.response.partition(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").split("\r\n")
        named = (one.partition(":") for one in lines)
        headers = {name.lower(): value.strip() for name, _, value in named}
        code, detail = self._noted.code, self._noted.detail
        return TriedAnswer(int(line.split(" ")[1]), headers, body, self._kept.frame, code, detail)

    def close(self) -> None:
        """Lets go of the catalog."""
        if self._routes.shelf is not None:
            self._routes.shelf.close()


class _Call(Connection):
    """A connection that has read one request whole, and keeps its answer."""

    __slots__ = ("response",)

    def __init__(self, request: TriedRequest) -> None:
        asyncio.Protocol.__init__(self)
        self.method = request.method.encode()
        self.url = request.target.encode()
        self.headers = {name.encode(): value.encode() for name, value in request.headers.items()}
        self.body = request.body
        self.address = self.peer = request.address
        self.mode = KEEP
        self.is_known = False
        self.response = b""

    def respond(self, response: bytes) -> None:
        self.response = response

    def wait(self) -> None: ...


class _KeptFrame:
    """Stands in for the group commit: all is durable at once."""

    is_full = False

    def __init__(self) -> None:
        self.frame = b""

    def add(
        self, waiting: Waiting, frame: bytes, response: bytes, fallback: Fallback, is_click: bool, is_view: bool = False
    ) -> None:
        self.frame = frame
        cast(_Call, waiting).respond(response)

    def add_alike(self, waiting: Waiting, response: bytes, fallback: Fallback) -> None:
        cast(_Call, waiting).respond(response)


class _NotedRefusal:
    """Stands in for the log of refusals: keeps the last one."""

    def __init__(self) -> None:
        self.code = self.detail = ""

    def note(self, refused: Refused) -> None:
        self.code, self.detail = refused.code, refused.detail


class _KnownVisitors:
    """What a request tells of its visitor, and above it what is stated."""

    def __init__(self, visitors: Visitors) -> None:
        self._visitors = visitors
        self.stated: Mapping[str, str] = {}

    def browser(self, user_agent: bytes, languages: bytes) -> Part:
        stated = {name: value for name, value in self.stated.items() if name not in GEO_FACTS}
        return Part(BROWSER_FACTS, {**self._visitors.browser(user_agent, languages).known, **stated})

    def places(self, addresses: Sequence[str]) -> list[Part]:
        stated = {name: value for name, value in self.stated.items() if name in GEO_FACTS}
        return [Part(GEO_FACTS, {**found.known, **stated}) for found in self._visitors.places(addresses)]

    def refresh(self) -> None: ...

    def versions(self) -> Mapping[str, int]:
        return {}


class _OneKey:
    """The key of every day: what is kept of a visitor is the same each time."""

    def of(self, ms: int) -> bytes:
        return bytes(32)

    def refresh(self, ms: int) -> None: ...
