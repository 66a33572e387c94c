"""Which desk a request belongs to, and the refusals that need no desk.

Owns: the paths and methods of a door. Reads the shelf; writes nothing but notes of refusals. Never reads a body.
"""

from collections.abc import Callable, Sequence
from hmac import compare_digest
from typing import Any, Protocol
from urllib.parse import quote, unquote

from waypost.doors.answers import Answers
from waypost.doors.batches import LINES, Batches
from waypost.doors.clicks import Clicks
from waypost.doors.impressions import Impressions
from waypost.doors.inbox import Piece
from waypost.doors.limits import Limits
from waypost.doors.pages import Pages
from waypost.doors.postbacks import Postbacks
from waypost.doors.protocol import BATCHES, Connection
from waypost.doors.refusals import Notes, Refused
from waypost.doors.shelf import Shelf
from waypost.doors.touches import Touches
from waypost.errors import ERRORS, WaypostError
from waypost.model.frames import Auth
from waypost.model.ids import receipt_text
from waypost.stages.call_auth import Arrival, Caller
from waypost.stages.redirect import LinkPlan, query_value, refused
from waypost.telemetry.stats import Stats

POSTBACK_ENDS = frozenset((b"postback", b"aff_lsr", b"aff_goal"))
CLICK_OR_POSTBACK = frozenset((b"click.php", b"click"))  # Binom's: a postback if it names a conversion's click
PAIR_PATHS = {b"/aff_c": (b"offer_id", b"aff_id"), b"/click": (b"offer_id", b"pid")}
NOT_YET = {b"/event": "app events"}
_NOT_YET_FOLDERS = {b"/event/": "app events"}
_OF_A_VISIT = {
    "wrong_token": "this is not the token of the link's partner",
    "missing_token": "a click for somebody else carries no token of the link's partner",
}
_BY_TOKEN = frozenset((Auth.TOKEN, Auth.OFFER, Auth.GLOBAL))
_PAGE_METHODS = (b"GET", b"POST", b"OPTIONS")
_VISITS = (b"/c/", b"/c?", b"/i/", b"/b/")
_VISITS_LIMITED = "visits"
_FILE_KEPT = "Cache-Control: public, max-age=3600\r\n"


class Take(Protocol):
    """A desk's way of taking a touch: answers, or says why not with a code."""

    def __call__(
        self, connection: Connection, shelf: Shelf, plan: LinkPlan, link: bytes, query: bytes, *, test: bool
    ) -> str: ...


class Routes:
    """Hands each request to its desk. `shelf` is None until a catalog is there."""

    def __init__(
        self,
        *,
        touches: Touches,
        clicks: Clicks,
        impressions: Impressions,
        pages: Pages,
        postbacks: Postbacks,
        answers: Answers,
        limits: Limits,
        now_ms: Callable[[], float],
        operator_key: str,
        refusals: Notes,
        stats: Stats,
        health: Callable[[], dict[str, Any]],
        batches: Batches | None = None,
    ) -> None:
        """`batches` None: nobody asks for many calls at once."""
        self._touches = touches
        self._clicks = clicks
        self._impressions = impressions
        self._pages = pages
        self._postbacks = postbacks
        self._batches = batches
        self._answers = answers
        self._limits = limits
        self._now_ms = now_ms
        self._operator_key = operator_key.encode()
        self._refusals = refusals
        self._stats = stats
        self._health = health
        self.shelf: Shelf | None = None

    def handle(self, connection: Connection) -> None:
        """Leads to exactly one answer, now or after a commit."""
        shelf = self.shelf
        if shelf is not None and shelf.hosts.has_inactive and not self._is_for_us(connection, shelf):
            self.refuse(connection, "unknown_host")
            return
        url = connection.url
        if url[:3] == b"/c/" and shelf is not None and self._take_plain_click(connection, shelf, url[3:]):
            return
        if b"#" in url:
            url = url.partition(b"#")[0]
        path, _, query = url.partition(b"?")
        if path == b"/postback":
            self._postback(connection, path, b"", query)
        elif path[:3] == b"/c/":
            self._click(connection, path[3:], query)
        elif path == b"/c":
            self._click(connection, b"", query)
        elif path[-9:] == b"/postback" and path.count(b"/") == 2:
            self._postback(connection, path, path[1:-9], query)
        elif path[:3] == b"/i/":
            self._visit(connection, path[3:], query, self._impressions.take, (b"GET", b"HEAD"))
        elif path == b"/healthz":
            self._answer_health(connection)
        elif not self._own_file(connection, path, query):
            self._other(connection, path, query)

    def take_at_once(self, pieces: list[Piece]) -> list[Piece]:
        """Takes the plain calls and clicks among what came in a turn; see `inbox.TakeAtOnce`."""
        shelf = self.shelf
        if shelf is None:
            return pieces
        left = self._postbacks.take_plain(shelf, pieces)
        return self._clicks.take_plain(shelf, left, self._waits) if left else left

    def _waits(self, addresses: Sequence[str]) -> list[int]:
        return self._limits.visits(addresses, self._now_ms())

    def is_known_sender(self, connection: Connection) -> bool:
        """Whether a token in path, header or query is right; a signature is no proof before the body is there."""
        shelf = self.shelf
        if shelf is None:
            return False
        path, _, query = connection.url.partition(b"?")
        token = path[1:].rpartition(b"/")[0]
        arrival = Arrival(b"POST", path, query, connection.headers, address=connection.address, path_token=token)
        caller = shelf.caller(arrival)
        return not caller.code and caller.auth in _BY_TOKEN

    def _take_plain_click(self, connection: Connection, shelf: Shelf, rest: bytes) -> bool:
        """The short way of most clicks: a GET of a link that is known and leads somewhere, and no test."""
        if connection.method != b"GET" or b"waypost-test" in connection.headers:
            return False
        name, _, query = rest.partition(b"?")
        plan = shelf.links.get(name)
        if plan is None or plan.code or rest.find(b"#") >= 0:
            return False
        if wait_s := self._limits.visit(connection.address, self._now_ms()):
            self._limit(connection, wait_s, _VISITS_LIMITED, is_visit=True)
        else:
            self._place(connection, shelf, plan, name, query, self._clicks.take, test=False)
        return True

    def _is_for_us(self, connection: Connection, shelf: Shelf) -> bool:
        return shelf.hosts.is_served(connection.headers) or connection.url == b"/healthz"

    def _own_file(self, connection: Connection, path: bytes, query: bytes) -> bool:
        """What pages and phones ask for, and what a host is given in the catalog; whether it was one of these."""
        if path[:9] == b"/b/click/":
            self._visit(connection, path[9:], query, self._pages.take_click, _PAGE_METHODS)
        elif path == b"/b/goal":
            begun = self._shelf_for(connection, _PAGE_METHODS, "a goal is GET or POST")
            if begun is not None and (wait_s := self._limits.visit(connection.address, self._now_ms())):
                self._limit(connection, wait_s, _VISITS_LIMITED, is_visit=True)
            elif begun is not None and (code := self._pages.take_goal(connection, begun[0], query, test=begun[1])):
                self.refuse(connection, code)
        elif path == b"/waypost.js":
            self._pages.answer_script(connection)
        elif self.shelf is None:
            return False
        else:
            host = self.shelf.hosts.of(connection.headers.get(b"host", b""))
            if path == b"/" and host.link:
                self._click(connection, host.link, query)
                return True
            found = host.files.get(path)
            if found is None:
                return False
            is_head = connection.method == b"HEAD"
            connection.respond(self._answers.document(*found, connection.mode, headers=_FILE_KEPT, is_head=is_head))
        return True

    def _other(self, connection: Connection, path: bytes, query: bytes) -> None:
        """The paths of other trackers' URLs (docs/aliases.md): their postbacks, with a key before them or not, and
        their clicks. A path that is a link's name is that link's."""
        token, _, last = path[1:].rpartition(b"/")
        shelf = self.shelf
        if last == BATCHES[1:] and b"/" not in token and self._batches is not None:
            self._batch(connection, self._batches, path, token, query)
            return
        is_call = last in POSTBACK_ENDS or (last in CLICK_OR_POSTBACK and b"cnv_id=" in query)
        if is_call and b"/" not in token:
            self._postback(connection, path, token, query)
        elif path in PAIR_PATHS and b"offer_id=" in query:
            self._click(connection, b"", query, PAIR_PATHS[path])
        elif path[1:] in CLICK_OR_POSTBACK and (key := query_value(query, b"key")):
            self._click(connection, quote(key).encode(), query)
        elif last and not token and shelf is not None and shelf.has_link(last):
            self._click(connection, last, query)
        else:
            self.refuse(connection, "unknown_path", detail=_unknown(path))

    def refuse(
        self, connection: Connection, code: str, *, detail: str = "", allow: str = "", is_visit: bool = False
    ) -> None:
        """Answers with a code of `errors.py`; what is not the door's own want of something is noted, and limited."""
        status = ERRORS[code].http_status
        if status < 500 and (wait_s := self._limits.refused.take(connection.address, self._now_ms())):
            self._limit(connection, wait_s, code, is_visit=is_visit)
            return
        if status == 503:
            self._stats.values["door_unavailable"] += 1
        else:
            self._stats.values["door_refused"] += 1
            self.note(connection, code, connection.url, detail, is_visit=is_visit)
        is_head = connection.method == b"HEAD"
        connection.respond(self._answers.error(code, connection.mode, is_head=is_head, detail=detail, allow=allow))

    def note(self, connection: Connection, code: str, url: bytes, detail: str = "", *, is_visit: bool = False) -> None:
        """Keeps a refusal; of what a visitor sent only what may be kept of a click."""
        address = connection.address
        if (is_visit or url.startswith(_VISITS)) and self.shelf is not None:
            address, url = self._touches.kept_request(address, url, self.shelf)
        self._refusals.note(Refused(address, code, connection.method, url, detail))

    def _limit(self, connection: Connection, wait_s: int, detail: str, *, is_visit: bool = False) -> None:
        """Answers 429: the address has asked too often for what it is not known to be entitled to."""
        self._stats.values["door_limited"] += 1
        self.note(connection, "too_many_requests", connection.url, detail, is_visit=is_visit)
        is_head = connection.method == b"HEAD"
        connection.respond(self._answers.limited("too_many_requests", connection.mode, wait_s, is_head=is_head))

    def _shelf_for(
        self, connection: Connection, methods: tuple[bytes, ...], detail: str = "", *, is_visit: bool = False
    ) -> tuple[Shelf, bool] | None:
        """The shelf, and whether the request is a test; None if it was refused for method, catalog or test key."""
        if connection.method not in methods:
            detail = detail or "a visit is " + b" or ".join(methods).decode()
            allow = b", ".join(methods).decode()
            self.refuse(connection, "method_not_allowed", detail=detail, allow=allow, is_visit=is_visit)
            return None
        shelf = self.shelf
        if shelf is None:
            self.refuse(connection, "no_catalog")
            return None
        if connection.headers and (key := connection.headers.get(b"waypost-test")) is not None:
            if not compare_digest(key, self._operator_key):
                self.refuse(connection, "wrong_test_key", is_visit=is_visit)
                return None
            return shelf, True
        return shelf, False

    def _refuse_call(self, connection: Connection, shelf: Shelf, caller: Caller, query: bytes) -> None:
        """Answers a call that does not authenticate as the catalog says: with its code, or as if it were accepted."""
        if caller.code == "too_many_requests":
            self._limit(connection, 1, "calls whose token is in their JSON")
            return
        if not caller.hides and (wait_s := self._limits.refused.take(connection.address, self._now_ms())):
            self._limit(connection, wait_s, caller.code)
            return
        self._stats.values["door_refused"] += 1
        detail = caller.detail
        if caller.hides:
            receipt = self._postbacks.pretend(connection, caller, query)
            detail = f"answered 200 with {receipt_text(receipt)}" if receipt else "answered 503"
        address, advertiser = connection.address, shelf.name_of(caller.advertiser)
        self._refusals.note(
            Refused(address, caller.code, connection.method, connection.url, detail, connection.body, advertiser)
        )
        if not caller.hides:
            connection.respond(self._answers.error(caller.code, connection.mode, detail=detail))

    def _postback(self, connection: Connection, path: bytes, path_token: bytes, query: bytes) -> None:
        begun = self._shelf_for(connection, (b"GET", b"POST"), "a postback is GET or POST")
        if begun is None:
            return
        shelf, test = begun
        refused = self._postbacks.take(connection, shelf, path, path_token, query, test=test)
        if refused is not None:
            self._refuse_call(connection, shelf, refused, query)

    def _batch(self, connection: Connection, batches: Batches, path: bytes, path_token: bytes, query: bytes) -> None:
        begun = self._shelf_for(connection, (b"POST",), "many calls at once are a POST")
        if begun is None:
            return
        shelf, test = begun
        method, headers, body = connection.method, connection.headers, connection.body
        arrival = Arrival(method, path, query, headers, body, LINES, connection.address, path_token, test)
        sender = self._postbacks.identify(shelf, arrival)
        if sender.code and not sender.hides:
            self._refuse_call(connection, shelf, sender, query)
            return
        try:
            batches.take(connection, shelf, sender, query, test=test)
        except WaypostError as error:
            self.refuse(connection, error.code, detail=error.detail)

    def _click(
        self, connection: Connection, name: bytes, query: bytes, pair: tuple[bytes, bytes] = (b"offer", b"partner")
    ) -> None:
        self._visit(connection, name, query, self._clicks.take, (b"GET", b"HEAD", b"POST"), pair)

    def _visit(
        self,
        connection: Connection,
        name: bytes,
        query: bytes,
        take: Take,
        methods: tuple[bytes, ...],
        pair: tuple[bytes, bytes] = (b"offer", b"partner"),
    ) -> None:
        """A touch of a link, or of the one that joins an offer and a partner, for the desk that takes it."""
        begun = self._shelf_for(connection, methods, is_visit=True)
        if begun is None:
            return
        shelf, test = begun
        if wait_s := self._limits.visit(connection.address, self._now_ms()):
            self._limit(connection, wait_s, _VISITS_LIMITED, is_visit=True)
            return
        plan = shelf.links.get(name) if name else self._pair(shelf, query, pair)
        if plan is None:
            plan = shelf.plan(name, unquote(name.decode("utf-8", "replace")))
        if plan.code:
            self.refuse(connection, plan.code, detail=plan.detail, is_visit=True)
            return
        self._place(connection, shelf, plan, name, query, take, test=test)

    def _place(
        self, connection: Connection, shelf: Shelf, plan: LinkPlan, name: bytes, query: bytes, take: Take, *, test: bool
    ) -> None:
        try:
            code = take(connection, shelf, plan, name, query, test=test)
            if code:
                self.refuse(connection, code, detail=_OF_A_VISIT.get(code, ""), is_visit=True)
        except WaypostError as error:
            code = "link_inactive" if error.code == "link_inactive" else "bad_target"
            self.refuse(connection, code, detail=error.detail, is_visit=True)

    def _pair(self, shelf: Shelf, query: bytes, names: tuple[bytes, bytes]) -> LinkPlan:
        offer = query_value(query, names[0])
        partner = query_value(query, names[1])
        if not offer or not partner:
            return refused("missing_link")
        key = f"/{offer}/{partner}".encode()  # no link's name begins with a slash
        return shelf.links.get(key) or shelf.plan_pair(key, offer, partner)

    def _answer_health(self, connection: Connection) -> None:
        if connection.method not in (b"GET", b"HEAD"):
            self.refuse(connection, "method_not_allowed", detail="health is GET or HEAD", allow="GET, HEAD")
            return
        is_head = connection.method == b"HEAD"
        connection.respond(self._answers.json(self._health(), connection.mode, is_head=is_head))


def _unknown(path: bytes) -> str:
    what = NOT_YET.get(path)
    if what is None:
        what = next((what for folder, what in _NOT_YET_FOLDERS.items() if path.startswith(folder)), None)
    return "" if what is None else f"{what} are not available yet"
