"""Cases run: the requests of each through a door's desks and the pipeline, and its postbacks rendered.

Owns: the order of that, and what a case may call by name. Reads a catalog view; writes to stores that are thrown away
with each case. Never sends, never listens, never reads a clock: ids and times are the same at every run.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from waypost.catalog.cases import NONE, Case, Step
from waypost.catalog.model import Advertiser, Offer
from waypost.catalog.view import CatalogView
from waypost.model.frames import Click, Decision, PostbackOut, Verdict
from waypost.model.ids import ClickIdCodec, receipt_text
from waypost.model.wire import decode_frame
from waypost.ports.rehearsal import TriedAnswer, TriedDoor, TriedRequest
from waypost.ports.sender import Rehearsed
from waypost.runtime.case_check import Mismatch, Result, Sent, compare, with_ids
from waypost.runtime.case_proof import ANYWHERE, address_of, carries_proof, proof_of
from waypost.runtime.rehearsal import RehearsalPipeline, SetClock
from waypost.stages.checks import CHECKS

Render = Callable[[PostbackOut], Rehearsed]


class CaseWorld(NamedTuple):
    """Everything that a case runs in. `close` throws away what is its own."""

    view: CatalogView
    codec: ClickIdCodec
    clock: SetClock
    door: TriedDoor
    pipeline: RehearsalPipeline
    render: Render
    close: Callable[[], None]


class CaseResult(msgspec.Struct, frozen=True):
    """How a case came out: it is right if there are no problems."""

    name: str
    place: str
    problems: tuple[Mismatch, ...] = ()


def run_case(case: Case, make_world: Callable[[int], CaseWorld]) -> CaseResult:
    """Runs one case in a world of its own, made as of its first step."""
    world = make_world(case.steps[0].at_ms if case.steps else 0)
    try:
        run = _Run(world)
        problems = [problem for step in case.steps for problem in run.step(step)]
    finally:
        world.close()
    return CaseResult(case.name, case.place, tuple(problems))


class _Run:
    """One case's memory: its ids, and whose click was the last."""

    def __init__(self, world: CaseWorld) -> None:
        self._world = world
        self._ids: dict[str, str] = {}
        self._advertiser: Advertiser | None = None
        self._offer: Offer | None = None

    def step(self, step: Step) -> list[Mismatch]:
        world = self._world
        world.clock.at_ms = step.at_ms
        if (board := world.pipeline.board) is not None:
            world.door.take_board(board)
        request = self._request(step)
        answer = world.door.ask(request, step.facts)
        result = self._click(step, answer) if step.is_click else self._call(answer)
        if step.expected is not None:
            return compare(step.expected, result, self._ids)
        if answer.status >= 400 or answer.code:  # nothing is expected but that it goes on from here
            what = "click" if step.is_click else "postback"
            return [Mismatch(step.place, what, "accepted", f"{answer.status} {answer.code}", result.why)]
        return []

    def _request(self, step: Step) -> TriedRequest:
        target, body = with_ids(step.target, self._ids), with_ids(step.body, self._ids)
        headers = {name: with_ids(text, self._ids) for name, text in step.headers.items()}
        if step.is_click:
            return TriedRequest(step.method, target, headers, body.encode(), step.address or ANYWHERE)
        view = self._world.view
        advertiser, offer = self._advertiser, self._offer
        if step.advertiser:
            advertiser, offer = view.advertiser_named(step.advertiser), None
        if step.token is None:
            if advertiser is not None and not carries_proof(target, headers, body, advertiser):
                target, more = proof_of(view, advertiser, offer, target, step.method, body, step.at_ms)
                headers |= more
        elif step.token != NONE:
            headers["waypost-token"] = with_ids(step.token, self._ids)
        address = step.address or address_of(view, advertiser, offer)
        return TriedRequest(step.method, target, headers, body.encode(), address)

    # --- clicks ----------------------------------------------------------------------------------------

    def _click(self, step: Step, answer: TriedAnswer) -> Result:
        got = {"http": str(answer.status), "code": answer.code or NONE, "offer": NONE, "url": _url_of(answer)}
        if not answer.frame:
            return Result(got, why=_refusal(answer))
        self._world.pipeline.take(answer.frame)
        click = decode_frame(answer.frame)
        view = self._world.view
        if not isinstance(click, Click):
            return Result(got)
        click_id = self._world.codec.encode(click.ms, click.door, click.seq, click.route, click.flags)
        self._ids["click_id"] = click_id
        if step.name:
            self._ids[step.name] = click_id
        route = view.route(click.route)
        self._offer = view.offer(route.offer) if route is not None else None
        self._advertiser = view.advertiser(self._offer.advertiser) if self._offer is not None else None
        if self._offer is not None:
            got["offer"] = self._offer.name
        skipped = {self._offer_name(no): reason for no, reason in click.skipped}
        why = [f"{name} was skipped: {reason}" for name, reason in skipped.items()]
        return Result(got, skipped=skipped, why=tuple(why))

    def _offer_name(self, no: int) -> str:
        offer = self._world.view.offer(no)
        return offer.name if offer is not None else str(no)

    # --- calls -----------------------------------------------------------------------------------------

    def _call(self, answer: TriedAnswer) -> Result:
        got = {"http": str(answer.status), "answer": answer.body.decode("utf-8", "replace")}
        if not answer.frame:
            return Result(got | {"code": answer.code or NONE}, why=_refusal(answer))
        decision, outs = self._world.pipeline.take(answer.frame)
        if decision is None:
            return Result(got | {"verdict": "waits"}, why=("it waits for its click",))
        self._ids["receipt"] = receipt_text(decision.receipt)
        got["code"] = decision.code or NONE
        got |= self._outcome(decision)
        failed = [check.name for check, letter in zip(CHECKS, decision.checks, strict=False) if letter == "f"]
        why = [f"check {name} fails: {decision.details.get(name, '')}".rstrip(": ") for name in failed]
        if decision.verdict is Verdict.SET_ASIDE:
            why.append("; ".join(decision.details.values()))
        if decision.verdict is Verdict.DUPLICATE:
            why.append("the conversion is there already, and the call changes nothing of it")
        sends = tuple(map(self._sent, outs))
        return Result(got, tuple(failed), sends=sends, why=tuple(why), rules=self._stopped(decision) or tuple(why))

    def _outcome(self, decision: Decision) -> dict[str, str]:
        """The conversion as the call leaves it; of a refused one, its status alone."""
        view = self._world.view
        partner = view.partner(decision.partner) if decision.partner else None
        refused = decision.verdict is Verdict.REFUSED
        status = decision.status_before if refused else decision.status
        amounts = {} if refused else {"sum": decision.sum, "payout": decision.payout, "revenue": decision.revenue}
        return {
            "verdict": decision.verdict.value,
            "goal": decision.goal or NONE,
            "partner": partner.name if partner is not None else NONE,
            "status": str(status) or NONE,
            **{name: str(amount) for name, amount in amounts.items() if amount is not None},
        }

    def _sent(self, out: PostbackOut) -> Sent:
        partner = self._world.view.partner(out.partner)
        rules = partner.rules if partner is not None else ()
        rule_name = next((rule.name for rule in rules if rule.no == out.rule), "")
        rendered = self._world.render(out)
        headers = {name.lower(): value for name, value in rendered.headers}
        return Sent(
            partner.name if partner is not None else str(out.partner), str(out.rule), rule_name, rendered.method,
            rendered.url, headers, rendered.body, max(0, out.due_ms - out.created_ms), rendered.problem,
        )  # fmt: skip

    def _stopped(self, decision: Decision) -> tuple[str, ...]:
        """The rules that did not fire, each with what stopped it."""
        lines: list[str] = []
        for outcome in decision.rules:
            partner = self._world.view.partner(outcome.partner or decision.partner)
            if partner is None or not outcome.stopped_by:
                continue
            rule = next((rule for rule in partner.rules if rule.no == outcome.rule), None)
            named = f"{rule.name or outcome.rule} ({rule.place})" if rule is not None else str(outcome.rule)
            lines.append(f"{partner.name}'s rule {named} was stopped: {outcome.stopped_by}")
        return tuple(lines)


def _refusal(answer: TriedAnswer) -> tuple[str, ...]:
    text = f"the door refused it: {answer.code}" + (f", {answer.detail}" if answer.detail else "")
    return (text,) if answer.code else ()


def _url_of(answer: TriedAnswer) -> str:
    """Where the visitor is sent."""
    if location := answer.headers.get("location"):
        return location
    if answer.headers.get("content-type", "").startswith("application/json"):
        try:
            content = msgspec.json.decode(answer.body)
        except msgspec.DecodeError:
            return NONE
        return str(content.get("url") or NONE) if isinstance(content, dict) else NONE
    return "a page that opens the app" if answer.body else NONE
