"""Pages: what an advertiser's own pages report by script or pixel, and the script itself.

Owns: `/waypost.js`, `/b/click/LINK` (a click of direct traffic), `/b/goal` (a conversion), and the headers by which a
browser lets a page read the answer (CORS, the Fetch standard). A page may speak for its own advertiser only, and only
from an origin that the catalog names. That keeps other sites' pages out, not a program that writes its own `Origin`:
so what a browser reports is marked (Auth.BROWSER), carries neither status nor payout, changes nothing that is there,
and stays pending until the advertiser's server confirms it, unless the catalog says otherwise.
"""

from functools import partial
from hashlib import sha256
from importlib import resources
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from waypost.catalog.model import Advertiser
from waypost.doors.answers import Answers
from waypost.doors.commit import GroupCommit
from waypost.doors.door_time import DoorTime
from waypost.doors.impressions import pixel_answer
from waypost.doors.protocol import Connection
from waypost.doors.shelf import Shelf
from waypost.doors.touches import Touch, Touches, visitor_of
from waypost.errors import WaypostError
from waypost.model.frames import Auth, Click, PostbackIn
from waypost.model.ids import ClickIdCodec, receipt_text
from waypost.model.wire import encode_frame
from waypost.stages.intake import decode_pairs
from waypost.stages.redirect import LinkPlan, TargetPlan
from waypost.stages.visitor_data import origin_of
from waypost.telemetry.stats import Stats

SCRIPT = resources.files("waypost.doors").joinpath("waypost.js").read_bytes()
SCRIPT_TAG = f'"{sha256(SCRIPT).hexdigest()[:16]}"'
SCRIPT_KEPT_S = 3600
PREFLIGHT_KEPT_S = 600
_FORMS = ("", "application/x-www-form-urlencoded", "text/plain")  # text/plain is what sendBeacon sends a text as
_json = msgspec.json.Encoder().encode
_UNKEPT = frozenset((b"token", b"mode"))


class _Ask(NamedTuple):
    """How a page is to be answered: as JSON that its origin may read, or with a pixel."""

    mode: int
    origin: str
    wants_pixel: bool
    test: bool
    query: bytes


class Pages:
    """The desk for browsers."""

    def __init__(
        self,
        *,
        touches: Touches,
        time: DoorTime,
        codec: ClickIdCodec,
        commit: GroupCommit,
        answers: Answers,
        stats: Stats,
    ) -> None:
        self._touches = touches
        self._time = time
        self._decode = codec.decode
        self._commit = commit
        self._answers = answers
        self._stats = stats

    def answer_script(self, connection: Connection) -> None:
        """`/waypost.js`; nothing but its tag for a browser that has it."""
        headers = f"Cache-Control: public, max-age={SCRIPT_KEPT_S}\r\nETag: {SCRIPT_TAG}\r\n"
        has_it = SCRIPT_TAG.encode() in connection.headers.get(b"if-none-match", b"")
        body, status = (b"", 304) if has_it else (SCRIPT, 200)
        is_head = connection.method == b"HEAD"
        media = "text/javascript; charset=utf-8"
        connection.respond(
            self._answers.document(body, media, connection.mode, status=status, headers=headers, is_head=is_head)
        )

    def take_click(
        self, connection: Connection, shelf: Shelf, plan: LinkPlan, link: bytes, query: bytes, *, test: bool
    ) -> str:
        """Answers `{"click_id"}` once the click is durable; or answers nothing and says why: a code.

        Raises WaypostError as `Touches.take` does.
        """
        ask = self._ask(connection, query, test=test)
        if ask is None:
            return "not_a_form"
        own = _of_origin(shelf, plan, ask.origin)
        if own is None:
            return "origin_not_allowed"
        if self._is_preflight(connection, ask.origin):
            return ""
        visitor = visitor_of(connection.address, connection.headers, is_head=False)
        form = "pixel" if ask.wants_pixel else "script"
        touch = self._touches.take(Click, shelf, own, link, visitor, ask.query, test=test, mode=form, unkept=_UNKEPT)
        fallback = partial(self._click_unrecorded, touch, ask)
        if self._commit.is_full:
            connection.respond(fallback(""))
            return ""
        connection.wait()
        self._commit.add(connection, touch.frame, self._answer({"click_id": touch.click_id}, ask), fallback, True)
        return ""

    def take_goal(self, connection: Connection, shelf: Shelf, query: bytes, *, test: bool) -> str:
        """Answers with a receipt once the report is durable; or answers nothing and says why: a code."""
        ask = self._ask(connection, query, test=test)
        if ask is None:
            return "not_a_form"
        values = decode_pairs(ask.query)
        click_id = self._decode(values.get("click_id", ""))
        advertiser = shelf.advertiser_of_route(click_id.route) if click_id is not None else None
        if advertiser is None:
            return "bad_click"
        if advertiser.browser is None or ask.origin not in advertiser.browser.origins:
            return "origin_not_allowed"
        if self._is_preflight(connection, ask.origin):
            return ""
        if advertiser.browser.goals and values.get("goal", "") not in advertiser.browser.goals:
            return "goal_not_allowed"
        if self._commit.is_full:
            connection.respond(self._goal_unavailable(ask, "journal_unavailable"))
            return ""
        receipt = self._time.next_receipt()
        frame = self._report(connection, shelf, advertiser, ask, receipt)
        response = self._answer({"status": 1, "receipt": receipt_text(receipt)}, ask)
        connection.wait()
        self._commit.add(connection, frame, response, partial(self._goal_unavailable, ask), False)
        return ""

    def _report(self, connection: Connection, shelf: Shelf, advertiser: Advertiser, ask: _Ask, receipt: int) -> bytes:
        self._stats.values["door_browser_reports"] += 1
        return encode_frame(
            PostbackIn(
                receipt,
                receipt >> 22,
                self._time.door,
                advertiser.partition,
                advertiser.no,
                Auth.BROWSER,
                shelf.version,
                connection.method.decode("ascii"),
                self._touches.kept_query(ask.query, shelf, _UNKEPT),
                ip=self._touches.kept_address(connection.address, shelf),
                test=ask.test,
                origin="browser",
            )
        )

    def _ask(self, connection: Connection, query: bytes, *, test: bool) -> _Ask | None:
        """None if there is a body that is no form."""
        headers = connection.headers
        if connection.body:
            kind = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
            if kind not in _FORMS:
                return None
            query = b"&".join(part for part in (query, connection.body) if part)
        stated = headers.get(b"origin", b"")
        origin = origin_of(stated) if stated else origin_of(headers.get(b"referer", b""))
        # A picture is a GET; what is posted are the page's own parameters, among which any name may be.
        may_want = connection.method == b"GET" and b"mode=gif" in query
        wants_pixel = may_want and decode_pairs(query).get("mode") == "gif"
        return _Ask(connection.mode, origin, wants_pixel, test, query)

    def _is_preflight(self, connection: Connection, origin: str) -> bool:
        """Answers a browser that asks first whether it may. Pages that use the script are never asked for."""
        if connection.method != b"OPTIONS":
            return False
        headers = (
            f"{_cors(origin)}Access-Control-Allow-Methods: GET, POST\r\nAccess-Control-Allow-Headers: content-type\r\n"
            f"Access-Control-Max-Age: {PREFLIGHT_KEPT_S}\r\n"
        )
        connection.respond(self._answers.document(b"", "", connection.mode, status=204, headers=headers))
        return True

    def _answer(self, content: dict[str, object], ask: _Ask) -> bytes:
        if ask.wants_pixel:
            return pixel_answer(self._answers, ask.mode)
        headers = f"Cache-Control: no-store\r\n{_cors(ask.origin)}"
        return self._answers.document(_json(content), "application/json", ask.mode, headers=headers)

    def _click_unrecorded(self, touch: Touch, ask: _Ask, _code: str) -> bytes:
        """The page gets an id all the same; it says that no store knows it."""
        self._stats.values["door_clicks"] += 1
        self._stats.values["door_clicks_unrecorded"] += 1
        try:
            click_id, _ = self._touches.unrecorded(touch, ask.query, test=ask.test)
        except WaypostError as error:
            return self._answers.error("bad_target", ask.mode, detail=error.detail)
        return self._answer({"click_id": click_id}, ask)

    def _goal_unavailable(self, ask: _Ask, code: str) -> bytes:
        """503 that the page may read, so that its script tries again."""
        self._stats.values["door_unavailable"] += 1
        headers = f"Retry-After: 1\r\nCache-Control: no-store\r\n{_cors(ask.origin)}"
        body = _json({"status": 0, "error": code})
        return self._answers.document(body, "application/json", ask.mode, status=503, headers=headers)


def _cors(origin: str) -> str:
    return f"Access-Control-Allow-Origin: {origin}\r\nVary: Origin\r\n"


def _of_origin(shelf: Shelf, plan: LinkPlan, origin: str) -> LinkPlan | None:
    """The plan with those targets only whose advertiser lets this origin's pages report; None if there are none."""

    def is_own(target: TargetPlan) -> bool:
        advertiser = shelf.advertiser(target.advertiser) if target.advertiser else None
        return advertiser is not None and advertiser.browser is not None and origin in advertiser.browser.origins

    targets = tuple(target for target in plan.targets if is_own(target))
    if not origin or not targets:
        return None
    return replace(plan, targets=plan.targets.only(targets), behind=(), last=None)
