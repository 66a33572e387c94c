"""Resends: what becomes of a postback that is sent again, and of a conversion that new rules are to tell of. Pure.

Input: a step of a job, today's catalog and that of then, the conversion. Output: postbacks for the outbox, or the name
of what stands against them (`REFUSALS` says it in words). The pipeline and the command's preview both ask here.

What is sent again is the same postback: its id, its values, the template of then. Today's catalog says whether, and in
which lane. What is missing is judged by today's rules as if the conversion had entered its present status now.
"""

import msgspec

from waypost.catalog.model import Partner, PostbackRule
from waypost.catalog.view import CatalogView
from waypost.macros.names import is_personal
from waypost.model.frames import Auth, Conversion, Decision, PostbackIn, PostbackOut, Resend, Verdict
from waypost.model.ids import ClickId
from waypost.model.lanes import lane_number
from waypost.stages.case import Case, Intake, Where
from waypost.stages.firing import Fired, fire
from waypost.stages.rules import RuleBook, rule_key

BEGIN, AGAIN, MISSING, END, CANCEL = "begin", "again", "missing", "end", "cancel"
ADDING, ADDED, CANCELLED = "adding", "added", "cancelled"
REFUSALS = {
    "partner_gone": "today's catalog has no such partner",
    "partner_inactive": "the partner is not active",
    "rule_gone": "today's catalog has no such rule of the partner",
    "template_gone": "the catalog version that has the template is no longer kept",
    "privacy": "it has a value that may leave for nobody",
    "corrected": "a later postback corrects it: send that one again",
    "click_gone": "the conversion's click is no longer kept",
    "conversion_gone": "the conversion is not known",
    "nothing_missing": "rules of today tell nothing of it that was not told",
    "cancelled": "the job was cancelled",
    "poisonous_item": "it could not be processed",
}


def again(post: PostbackOut, today: CatalogView, then: CatalogView | None) -> PostbackOut | str:
    """The postback as it may be sent again, or the name of the refusal. `then` is the catalog version of its template,
    None where that is not kept."""
    partner = today.partner(post.partner)
    if partner is None or not partner.active:
        return "partner_gone" if partner is None else "partner_inactive"
    was = _rule_of(then.partner(post.partner) if then is not None else None, post.rule)
    if was is None:
        return "template_gone"
    rule = rule_with_key(partner, rule_key(partner.no, was))
    if rule is None:
        return "rule_gone"
    if any(is_personal(name) for name in post.values):
        return "privacy"
    return msgspec.structs.replace(post, lane=lane_number(partner.no, rule.lane), batched=was.batch is not None)


def missing(
    step: Resend, where: Where, conversion: Conversion, rules: RuleBook, case: Case, now_ms: int
) -> Fired | str:
    """What rules of today tell of a conversion and did not; `case` is what `case_of` made. Or the refusal's name."""
    if case.partner is not None and not case.partner.active:
        return "partner_inactive"
    if case.click is None:
        return "click_gone"
    decision = _as_if_new(step, where, conversion, rules.version, case, now_ms)
    told = {*step.told, *(key for key, _, _ in conversion.told)}
    fired = fire(case, decision, conversion, rules, left_out=told, owner=step.partner)
    return fired if fired.postbacks else "nothing_missing"


def case_of(step: Resend, where: Where, conversion: Conversion, intake: Intake, terms: CatalogView | None) -> Case:
    """The conversion as the call that made it would be seen today; `terms` is the catalog of its click."""
    frame = PostbackIn(
        conversion.receipt, step.accepted_ms, 0, conversion.partition, conversion.advertiser, Auth.TOKEN, 0, "", b"",
        test=conversion.test,
    )  # fmt: skip
    case = Case(frame, where, conversion.test, click_text=step.click_id, click=step.click)
    case.advertiser = intake.view.advertiser(conversion.advertiser)
    flags = step.click.flags if step.click is not None else 0
    key = (conversion.click_ms, conversion.click_door, conversion.click_seq)
    case.name_click(ClickId(*key, conversion.route, flags))
    intake.resolve(case, terms)
    return case


def _as_if_new(step: Resend, where: Where, conversion: Conversion, catalog: int, case: Case, now_ms: int) -> Decision:
    return Decision(
        where.source,
        where.position,
        conversion.receipt,
        step.accepted_ms,
        now_ms,
        Verdict.NEW,
        partition=conversion.partition,
        advertiser=conversion.advertiser,
        offer=conversion.offer,
        goal=conversion.goal,
        partner=conversion.partner,
        route=conversion.route,
        click_id=case.click_text,
        click_ms=conversion.click_ms,
        click_door=conversion.click_door,
        click_seq=conversion.click_seq,
        txn_id=conversion.txn_id,
        conversion=conversion.receipt,
        status=conversion.status,
        sum=conversion.sum,
        revenue=conversion.revenue,
        reported=conversion.reported,
        payout=conversion.payout,
        catalog=catalog,
        terms_catalog=conversion.terms_catalog,
        test=conversion.test,
    )


def rule_with_key(partner: Partner, key: int) -> PostbackRule | None:
    """The partner's rule that has this key over catalog versions."""
    return next((rule for rule in partner.rules if rule_key(partner.no, rule) == key), None)


def _rule_of(partner: Partner | None, number: int) -> PostbackRule | None:
    return next((rule for rule in partner.rules if rule.no == number), None) if partner is not None else None
