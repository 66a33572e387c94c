"""Impressions: `/i/LINK` as a transparent GIF of one pixel that says that an ad was seen.

Owns: the answers. Touches make the frame; the group commit makes it durable. An impression is kept in the archive, not
in the click store: no conversion refers to it. Never leaves a page without its picture: an impression that cannot be
journaled is counted, and the picture comes all the same.
"""

from functools import partial

from waypost.doors.answers import PIXEL, VISIT_HEADERS, Answers
from waypost.doors.commit import GroupCommit
from waypost.doors.protocol import Connection
from waypost.doors.shelf import Shelf
from waypost.doors.touches import Touches, visitor_of
from waypost.model.frames import Impression
from waypost.stages.redirect import LinkPlan, query_value
from waypost.telemetry.stats import Stats

PIXEL_MODE = "pixel"


class Impressions:
    """The desk that shows pixels."""

    def __init__(self, *, touches: Touches, commit: GroupCommit, answers: Answers, stats: Stats) -> None:
        self._touches = touches
        self._commit = commit
        self._answers = answers
        self._stats = stats

    def take(
        self, connection: Connection, shelf: Shelf, plan: LinkPlan, link: bytes, query: bytes, *, test: bool
    ) -> str:
        """Answers once the impression is durable: with the pixel, or its id where `mode=json` asks for it. Always an
        empty text: nothing is refused here.

        Raises WaypostError as `Touches.take` does.
        """
        is_head = connection.method == b"HEAD"
        wants_json = b"mode=json" in query and query_value(query, b"mode") == "json"
        visitor = visitor_of(connection.address, connection.headers, is_head=is_head)
        form = "json" if wants_json else PIXEL_MODE
        touch = self._touches.take(Impression, shelf, plan, link, visitor, query, test=test, mode=form)
        mode = connection.mode
        pixel = pixel_answer(self._answers, mode, is_head=is_head)
        if self._commit.is_full:
            connection.respond(self._unrecorded(pixel, ""))
            return ""
        response = pixel
        if wants_json:
            response = self._answers.json({"impression_id": touch.click_id}, mode, is_head=is_head)
        connection.wait()
        self._commit.add(connection, touch.frame, response, partial(self._unrecorded, pixel), False, True)
        return ""

    def _unrecorded(self, pixel: bytes, _code: str) -> bytes:
        self._stats.values["door_impressions_unrecorded"] += 1
        return pixel


def pixel_answer(answers: Answers, mode: int, *, is_head: bool = False) -> bytes:
    """The GIF."""
    return answers.document(PIXEL, "image/gif", mode, headers=VISIT_HEADERS[False], is_head=is_head)
