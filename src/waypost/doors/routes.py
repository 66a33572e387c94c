"""Which desk a request belongs to, and the refusals that need no desk.

Owns: the paths and methods of a door. Reads the shelf; writes nothing but notes of refusals. Never reads a body.
"""

from collections.abc import Callable
from hmac import compare_digest
from typing import Any
from urllib.parse import unquote

from waypost.doors.answers import Answers
from waypost.doors.clicks import Clicks
from waypost.doors.postbacks import Postbacks
from waypost.doors.protocol import Connection
from waypost.doors.refusals import RefusalLog
from waypost.doors.shelf import Shelf
from waypost.errors import ERRORS, WaypostError
from waypost.stages.redirect import LinkPlan, query_value
from waypost.telemetry.stats import Stats

NOT_YET = {b"/postbacks": "many calls at once", b"/event": "app events"}
_NOT_YET_FOLDERS = {b"/i/": "impressions", b"/postbacks/": "many calls at once", b"/event/": "app events"}


class Routes:
    """Hands each request to its desk. `shelf` is None until a catalog is there."""

    def __init__(
        self,
        *,
        clicks: Clicks,
        postbacks: Postbacks,
        answers: Answers,
        operator_key: str,
        refusals: RefusalLog,
        stats: Stats,
        health: Callable[[], dict[str, Any]],
    ) -> None:
        self._clicks = clicks
        self._postbacks = postbacks
        self._answers = answers
        self._operator_key = operator_key.encode()
        self._refusals = refusals
        self._stats = stats
        self._health = health
        self.shelf: Shelf | None = None

    def handle(self, connection: Connection) -> None:
        """Leads to exactly one answer, now or after a commit."""
        url = connection.url
        if url[:1] != b"/":
            url = _origin_form(url)
        if b"#" in url:
            url = url.partition(b"#")[0]
        path, _, query = url.partition(b"?")
        if path == b"/postback":
            self._postback(connection, b"", query)
        elif path[:3] == b"/c/":
            self._click(connection, path[3:], query)
        elif path == b"/c":
            self._click(connection, b"", query)
        elif path[-9:] == b"/postback" and path.count(b"/") == 2:
            self._postback(connection, path[1:-9], query)
        elif path == b"/healthz":
            self._answer_health(connection)
        else:
            self.refuse(connection, "unknown_path", detail=_unknown(path))

    def refuse(self, connection: Connection, code: str, *, detail: str = "", allow: str = "") -> None:
        """Answers with a code of `errors.py`; what is not the door's own want of something is noted."""
        if ERRORS[code].http_status == 503:
            self._stats.values["door_unavailable"] += 1
        else:
            self._stats.values["door_refused"] += 1
            self._refusals.note(connection.address, code, connection.method, connection.url, detail)
        is_head = connection.method == b"HEAD"
        connection.respond(self._answers.error(code, connection.mode, is_head=is_head, detail=detail, allow=allow))

    def _shelf_for(
        self, connection: Connection, methods: tuple[bytes, bytes], detail: str
    ) -> tuple[Shelf, bool] | None:
        """The shelf, and whether the request is a test; None if it was refused for method, catalog or test key."""
        if connection.method not in methods:
            self.refuse(connection, "method_not_allowed", detail=detail, allow=b", ".join(methods).decode())
            return None
        shelf = self.shelf
        if shelf is None:
            self.refuse(connection, "no_catalog")
            return None
        if connection.headers and (key := connection.headers.get(b"waypost-test")) is not None:
            if not compare_digest(key, self._operator_key):
                self.refuse(connection, "wrong_test_key")
                return None
            return shelf, True
        return shelf, False

    def _postback(self, connection: Connection, path_token: bytes, query: bytes) -> None:
        begun = self._shelf_for(connection, (b"GET", b"POST"), "a postback is GET or POST")
        if begun is None:
            return
        shelf, test = begun
        if code := self._postbacks.take(connection, shelf, path_token, query, test=test):
            self.refuse(connection, code)

    def _click(self, connection: Connection, name: bytes, query: bytes) -> None:
        begun = self._shelf_for(connection, (b"GET", b"HEAD"), "a click is GET or HEAD")
        if begun is None:
            return
        shelf, test = begun
        plan = shelf.links.get(name) if name else self._pair(shelf, query)
        if plan is None:
            plan = shelf.plan(name, unquote(name.decode("utf-8", "replace")))
        if plan.code:
            self.refuse(connection, plan.code, detail=plan.detail)
            return
        try:
            self._clicks.redirect(connection, shelf, plan, query, test=test)
        except WaypostError as error:
            code = "link_inactive" if error.code == "link_inactive" else "bad_target"
            self.refuse(connection, code, detail=error.detail)

    def _pair(self, shelf: Shelf, query: bytes) -> LinkPlan:
        offer = query_value(query, b"offer")
        partner = query_value(query, b"partner")
        if not offer or not partner:
            return LinkPlan((), 0, "missing_link")
        key = f"/{offer}/{partner}".encode()  # no link's name begins with a slash
        return shelf.links.get(key) or shelf.plan_pair(key, offer, partner)

    def _answer_health(self, connection: Connection) -> None:
        if connection.method not in (b"GET", b"HEAD"):
            self.refuse(connection, "method_not_allowed", detail="health is GET or HEAD", allow="GET, HEAD")
            return
        is_head = connection.method == b"HEAD"
        connection.respond(self._answers.json(self._health(), connection.mode, is_head=is_head))


def _origin_form(url: bytes) -> bytes:
    """The path and query of an absolute URL, as a proxy sends it (RFC 9112, 3.2.2)."""
    _, mark, rest = url.partition(b"://")
    if not mark:
        return url
    slash = rest.find(b"/")
    return rest[slash:] if slash >= 0 else b"/"


def _unknown(path: bytes) -> str:
    what = NOT_YET.get(path)
    if what is None:
        what = next((what for folder, what in _NOT_YET_FOLDERS.items() if path.startswith(folder)), None)
    return "" if what is None else f"{what} are not available yet"
