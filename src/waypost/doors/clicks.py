"""Clicks: the way from `/c/LINK` to a Location that carries a click id.

Owns: the making of a click's id and frame. Reads the shelf's plans; hands frames to the group commit. Never lets a
journal's failure stop a redirect: then the id says that it is unrecorded (law 1).
"""

from collections.abc import Container
from functools import partial
from ipaddress import ip_address

from waypost.doors.answers import Answers
from waypost.doors.commit import GroupCommit
from waypost.doors.door_time import DoorTime
from waypost.doors.protocol import Connection
from waypost.doors.shelf import Shelf
from waypost.errors import WaypostError
from waypost.model.frames import Click
from waypost.model.ids import FLAG_TEST, FLAG_UNRECORDED, ClickIdCodec
from waypost.model.wire import encode_frame
from waypost.ports.visitors import Visitors
from waypost.stages.redirect import LinkPlan, TargetPlan, choose_target, query_value, target_url
from waypost.stages.targeting import Visit
from waypost.telemetry.stats import Stats

USER_AGENT_BYTES_MAX = 512
REFERRER_BYTES_MAX = 1024
_ADDRESSES_MAX = 10_000


class Clicks:
    """The desk that redirects."""

    def __init__(
        self,
        *,
        time: DoorTime,
        codec: ClickIdCodec,
        commit: GroupCommit,
        answers: Answers,
        stats: Stats,
        visitors: Visitors | None = None,
    ) -> None:
        self._time = time
        self._encode = codec.encode
        self._commit = commit
        self._answers = answers
        self._stats = stats
        self._visitors = visitors
        self.exhausted: Container[int] = ()  # offers whose caps have no room left, as the board says
        self._networks: dict[str, str] = {}

    def redirect(self, connection: Connection, shelf: Shelf, plan: LinkPlan, query: bytes, *, test: bool) -> None:
        """Answers with the target's address once the click is durable. `plan` leads somewhere.

        Raises WaypostError if the target's URL does not render, or nothing takes the click.
        """
        ms, seq = self._time.next_click()
        headers = connection.headers
        user_agent = headers.get(b"user-agent", b"")[:USER_AGENT_BYTES_MAX]
        facts: dict[str, str] = {}
        if self._visitors is not None:
            facts = self._visitors.facts(connection.address, user_agent, headers.get(b"accept-language", b""))
        visit = Visit(ms, connection.address, facts, query)
        target, skipped = choose_target(plan, visit, seq, user_agent=user_agent, exhausted=self.exhausted)
        if skipped:
            self._count_skips(plan, target)
        flags = FLAG_TEST if test else 0
        wants_json = b"mode=json" in query and query_value(query, b"mode") == "json"
        is_head = connection.method == b"HEAD"
        mode = connection.mode
        if self._commit.is_full:
            connection.respond(self._unrecorded(target, query, facts, flags, mode, wants_json, is_head, ""))
            return
        click_id = self._encode(ms, self._time.door, seq, target.route, flags)
        url = target_url(target, click_id, query, facts)
        frame = encode_frame(
            Click(
                ms,
                self._time.door,
                seq,
                target.route,
                flags,
                target.partition,
                shelf.version,
                query,
                self._network(connection.address),
                user_agent,
                headers.get(b"referer", b"")[:REFERRER_BYTES_MAX],
                visitor=facts,
                skipped=skipped,
            )
        )
        fallback = partial(self._unrecorded, target, query, facts, flags, mode, wants_json, is_head)
        connection.wait()
        self._commit.add(connection, frame, self._answer(click_id, url, mode, wants_json, is_head), fallback, True)

    def _answer(self, click_id: str, url: str, mode: int, wants_json: bool, is_head: bool) -> bytes:
        if wants_json:
            return self._answers.json({"click_id": click_id, "url": url}, mode, is_head=is_head)
        if not url:
            return self._answers.blank[mode]
        return b"%b%b\r\n\r\n" % (self._answers.moved[mode], url.encode("ascii"))

    def _count_skips(self, plan: LinkPlan, target: TargetPlan) -> None:
        if not target.offer:
            self._stats.values["door_clicks_unplaced"] += 1
        elif target not in plan.targets:
            self._stats.values["door_clicks_passed_on"] += 1

    def _unrecorded(
        self,
        target: TargetPlan,
        query: bytes,
        facts: dict[str, str],
        flags: int,
        mode: int,
        wants_json: bool,
        is_head: bool,
        _code: str,
    ) -> bytes:
        """The same redirect under a new id that says that no store knows it."""
        ms, seq = self._time.next_click()
        click_id = self._encode(ms, self._time.door, seq, target.route, flags | FLAG_UNRECORDED)
        self._stats.values["door_clicks"] += 1
        self._stats.values["door_clicks_unrecorded"] += 1
        try:
            url = target_url(target, click_id, query, facts)
        except WaypostError as error:
            return self._answers.error("bad_target", mode, is_head=is_head, detail=error.detail)
        return self._answer(click_id, url, mode, wants_json, is_head)

    def _network(self, address: str) -> str:
        network = self._networks.get(address)
        if network is None:
            if len(self._networks) >= _ADDRESSES_MAX:
                self._networks.clear()
            network = self._networks[address] = truncated(address)
        return network


def truncated(address: str) -> str:
    """An address without what tells one person's from a neighbour's: /24 of IPv4, /48 of IPv6; empty if it is none."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if found.version == 6 and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    kept = 24 if found.version == 4 else 48
    spare = found.max_prefixlen - kept
    return str(type(found)(int(found) >> spare << spare))
