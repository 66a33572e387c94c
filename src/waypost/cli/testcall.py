"""`waypost test click|postback LINK`: goes the real way, marked as a test throughout.

Owns: the calls and what is printed of them. Calls the door over HTTP with the operator's key in `Waypost-Test`; then
reads the ledger's log and the couriers' journals for what came of it. Writes nothing itself. What is marked as a test
touches neither caps nor money nor reports.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar
from urllib.parse import quote, urlencode

import typer

from waypost.cli.options import DOOR_PORT, Data, Host, Port
from waypost.errors import ERRORS, WaypostError

if TYPE_CHECKING:
    from waypost.assembly import Role
    from waypost.catalog.model import Advertiser, Goal, Offer
    from waypost.explain.sources import ExplainSources
    from waypost.model.frames import Attempt, Decision

app = typer.Typer(no_args_is_help=True, help="Make a test click or postback that goes the real way.")

_HTTP_TIMEOUT_S = 10
_POLL_MS = 20
_Found = TypeVar("_Found")

LinkName = Annotated[str, typer.Argument(metavar="LINK", help="The link's name in the catalog.")]
Params = Annotated[
    list[str] | None, typer.Option("--param", metavar="NAME=VALUE", help="One more parameter, as often as you like.")
]
WaitMs = Annotated[int, typer.Option("--wait-ms", min=0, help="How long to wait for the decision, and for each send.")]


class _Door(NamedTuple):
    """Where the door listens, and the key that marks a test."""

    host: str
    port: int
    key: str

    def get(self, path: str, parameters: Mapping[str, str]) -> dict[str, Any]:
        """A 2xx answer's JSON. Raises WaypostError with the code that the door answered."""
        import http.client
        import json

        connection = http.client.HTTPConnection(self.host, self.port, timeout=_HTTP_TIMEOUT_S)
        target = f"{path}?{urlencode(parameters)}"
        try:
            with closing(connection):
                connection.request("GET", target, headers={"Waypost-Test": self.key})
                answer = connection.getresponse()
                content = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            place, hint = f"http://{self.host}:{self.port}", "is `waypost run` running? see --host and --port"
            raise WaypostError(
                "connect_failed", f"the door does not answer: {error}", place=place, hint=hint
            ) from error
        if answer.status // 100 == 2:
            return dict(content)
        code = content.get("error", "")
        known = code if code in ERRORS else "malformed_request"
        raise WaypostError(known, f"the door answered {answer.status}: {content.get('message', '')}", place=path)


@app.command("click")
def test_click(
    link: LinkName, data: Data, host: Host = "127.0.0.1", port: Port = DOOR_PORT, param: Params = None
) -> None:
    """Click a link as a test; prints the click id and where the click is sent."""
    role = _open(data)
    click_id = _click(_door(role, host, port), link, _pairs(param))
    _say("next", f"waypost trace --data {data} {click_id}")


@app.command("postback")
def test_postback(
    link: LinkName,
    data: Data,
    goal: Annotated[str, typer.Option(help="The goal; without it the offer's default, or its first.")] = "",
    sum: Annotated[str, typer.Option(help="The order's value, such as 19.90.")] = "",
    payout: Annotated[str, typer.Option(help="The payout that the advertiser reports.")] = "",
    currency: Annotated[str, typer.Option(help="The currency of sum and payout.")] = "",
    status: Annotated[str, typer.Option(help="The status that the advertiser reports.")] = "",
    txn: Annotated[str, typer.Option(help="The transaction id.")] = "",
    host: Host = "127.0.0.1",
    port: Port = DOOR_PORT,
    param: Params = None,
    wait_ms: WaitMs = 10_000,
) -> None:
    """Click a link, call /postback as its advertiser would, and show what came of it."""
    from waypost import assembly

    role = _open(data)
    door = _door(role, host, port)
    advertiser, chosen = _advertiser_and_goal(role, link, goal)
    click_id = _click(door, link, {})
    named = {"goal": chosen, "sum": sum, "payout": payout, "currency": currency, "status": status, "txn_id": txn}
    call = {"click_id": click_id} | {name: value for name, value in named.items() if value} | _pairs(param)
    with closing(assembly.open_explain_sources(data, role.settings)) as sources:
        news = _News(sources, role)
        # The test key opens what a test cannot do: sign, or come from an allowed address.
        whose = {"token": advertiser.token} if advertiser.token else {"advertiser": advertiser.name}
        receipt = str(door.get("/postback", call | whose)["receipt"])
        _say("postback", f"/postback?{urlencode(call)}&{'token=…' if advertiser.token else urlencode(whose)}")
        _say("answer", f"200, receipt {receipt}")
        decision = news.decision(int(receipt[1:], 16), wait_ms)
        if decision is None:
            _say("verdict", f"none within {wait_ms} ms: is the pipeline running? see `waypost run`'s console")
        else:
            _show_decision(decision)
            _show_sends(decision, news, wait_ms)
    _say("next", f"waypost trace --data {data} {receipt}")
    if decision is None:
        raise typer.Exit(1)


def _open(data: Path) -> "Role":
    from waypost import assembly

    assembly.existing_data_folder(data)
    return assembly.open_role(data, "test")


def _door(role: "Role", host: str, port: int) -> _Door:
    from waypost import assembly

    return _Door(host, port, assembly.operator_key(role.layout))


def _pairs(texts: list[str] | None) -> dict[str, str]:
    pairs = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"--param takes NAME=VALUE, not {text}")
        pairs[name] = value
    return pairs


def _click(door: _Door, link: str, parameters: Mapping[str, str]) -> str:
    answer = door.get(f"/c/{quote(link, safe='')}", {**parameters, "mode": "json"})
    click_id = str(answer["click_id"])
    _say("click", f"{click_id} (test)")
    _say("target", str(answer["url"]))
    return click_id


def _advertiser_and_goal(role: "Role", link: str, goal: str) -> "tuple[Advertiser, str]":
    """Who would call for this link, and for which goal."""
    from waypost import assembly

    catalogs = assembly.open_catalogs(role.layout, role.settings)
    with closing(catalogs.open(catalogs.current())) as view:
        found = view.link(link)
        if found is None:
            raise WaypostError("unknown_link", place=link)
        offer = view.offer(found.targets[0].offer) if found.targets else None
        advertiser = view.advertiser(offer.advertiser) if offer is not None else None
        if offer is None or advertiser is None:
            raise WaypostError("link_inactive", "the link leads to no offer", place=link)
        return advertiser, goal or _goal_of(offer)


def _goal_of(offer: "Offer") -> str:
    goals: list[Goal] = sorted(offer.goals, key=lambda goal: not goal.default)
    return goals[0].name if goals else ""


class _News:
    """What the stores hold beyond the moment at which this was made."""

    def __init__(self, sources: "ExplainSources", role: "Role") -> None:
        self._sources = sources
        self._clock = role.clock
        log = sources.feed("ledger-log")
        self._log = (log, log.head().end) if log is not None else None
        self._couriers = {
            name: feed.head().end
            for name in sources.feed_names()
            if name.startswith("courier-") and (feed := sources.feed(name)) is not None
        }

    def decision(self, receipt: int, wait_ms: int) -> "Decision | None":
        """The decision on a call, once the pipeline has taken it."""
        from waypost.explain.sources import tail
        from waypost.model.frames import Decision

        if self._log is None:
            return None
        feed, start = self._log

        def look() -> "Decision | None":
            frames = (item.frame for item in tail(feed, start))
            return next((f for f in frames if isinstance(f, Decision) and f.receipt == receipt), None)

        return self._until(look, wait_ms)

    def attempt(self, postback: str, wait_ms: int) -> "Attempt | None":
        """The first attempt at a postback, once it has ended."""

        def look() -> "Attempt | None":
            return next((a for a in self._attempts() if any(one.id == postback for one in a.outcomes)), None)

        return self._until(look, wait_ms)

    def _attempts(self) -> "Iterator[Attempt]":
        from waypost.explain.sources import tail
        from waypost.model.frames import Attempt

        for name, start in self._couriers.items():
            feed = self._sources.feed(name)
            if feed is not None:
                yield from (item.frame for item in tail(feed, start) if isinstance(item.frame, Attempt))

    def _until(self, look: Callable[[], _Found | None], wait_ms: int) -> _Found | None:
        deadline_ms = self._clock.monotonic_ms() + wait_ms
        while (found := look()) is None and self._clock.monotonic_ms() < deadline_ms:
            self._clock.sleep_ms(_POLL_MS)
        return found


def _show_decision(decision: "Decision") -> None:
    from waypost.model.ids import conversion_text

    parts = [str(decision.verdict)]
    if decision.code:
        parts.append(f"because of {decision.code}")
    if decision.conversion:
        parts.append(f"conversion {conversion_text(decision.conversion)}, {decision.status}")
    if decision.payout is not None:
        parts.append(f"payout {decision.payout}")
    _say("verdict", ", ".join(parts))
    for check, detail in decision.details.items():
        _say("", f"{check}: {detail}")


def _show_sends(decision: "Decision", news: _News, wait_ms: int) -> None:
    """What each of the partner's rules came to."""
    if not decision.rules:
        _say("sent", "nothing: no postback rule of the partner applies")
    for rule in decision.rules:
        name = f"rule {rule.rule}" + (f" of partner #{rule.partner}" if rule.partner else "")
        if not rule.postback:
            _say(name, f"sent nothing: {rule.stopped_by}")
            continue
        attempt = news.attempt(rule.postback, wait_ms)
        if attempt is None:
            _say(name, f"{rule.postback}: no attempt has ended within {wait_ms} ms")
            continue
        result = next(str(one.result) for one in attempt.outcomes if one.id == rule.postback)
        answer = f"answered {attempt.status}" if attempt.status else f"{attempt.code} {attempt.detail}".strip()
        _say(name, f"{attempt.method} {attempt.url}")
        _say("", f"{result}: {answer}, after {attempt.total_us / 1000:.1f} ms")


def _say(name: str, text: str) -> None:
    typer.echo(f"{name:<9} {text}")
