"""Jobs of resends: what the pipeline makes of their steps in the operator's journal.

Owns: how far each job is taken, when its next postback is due, and what it refused; all of it stands in the ledger, in
the same transaction as the postbacks. Reads ledger, catalogs and the steps of a batch; adds to the batch's changes.
Never sends, and never selects: a command did (`explain/resends.py`).

A step whose place does not lie beyond the job's last one was taken already, by whatever was written twice: nothing is
put into the outbox by one job twice (docs/decisions/0033-resends-are-frames.md).
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias

import msgspec

from waypost.catalog.view import CatalogView
from waypost.errors import WaypostError
from waypost.model.frames import Conversion, PostbackOut, Resend, ResendJob
from waypost.model.ids import ClickKey
from waypost.model.wire import encode_frame
from waypost.ports.ledger import Ledger, LedgerChanges
from waypost.stages.case import Intake, Where
from waypost.stages.firing import Fired
from waypost.stages.resends import ADDED, ADDING, AGAIN, BEGIN, CANCEL, CANCELLED, END, MISSING, again, case_of, missing
from waypost.stages.rules import RuleBook
from waypost.telemetry.log import logger

Fresh: TypeAlias = dict[bytes, tuple[Conversion, bool]]  # by identity: as it stands now, and whether the batch made it
_log = logger("pipeline")


class Resent(NamedTuple):
    """What a batch's steps came to: jobs as they stood before it, and how many postbacks they put into the outbox."""

    before: tuple[ResendJob, ...] = ()
    added: int = 0


class Resends:
    """Of one batch. `fresh` and `known` are its conversions by identity, as they stand and as they stood; both are
    added to, as is `changes`."""

    def __init__(
        self,
        ledger: Ledger,
        changes: LedgerChanges,
        fresh: Fresh,
        known: dict[bytes, Conversion],
        fired: dict[ClickKey, set[int]],
        intake: Intake,
        rules: RuleBook,
        view_of: Callable[[int], CatalogView],
    ) -> None:
        self._ledger, self._changes, self._view_of = ledger, changes, view_of
        self._fresh, self._known, self._fired = fresh, known, fired
        self._intake, self._rules = intake, rules
        self._made = {conversion.receipt: conversion.identity for conversion, _ in fresh.values()}
        self._jobs: dict[str, ResendJob] = {}

    def take(self, steps: Iterable[tuple[Where, Resend]]) -> Resent:
        """Obeys the steps in their order."""
        steps = list(steps)
        stood = self._ledger.jobs([step.job for _, step in steps])
        self._jobs = dict(stood)
        added = len(self._changes.postbacks)
        for where, step in steps:
            self._take(where, step)
        touched = dict.fromkeys(step.job for _, step in steps)
        changed = [one for one in touched if one in self._jobs and self._jobs[one] != stood.get(one)]
        self._changes.jobs += [self._jobs[one] for one in changed]
        before = tuple([stood.get(one, ResendJob(one)) for one in changed])
        return Resent(before, len(self._changes.postbacks) - added)

    def _take(self, where: Where, step: Resend) -> None:
        job = self._jobs.get(step.job)
        if step.kind == BEGIN:
            if job is None:
                self._jobs[step.job] = ResendJob(step.job, step.at_ms, step.by, step.text, step.every_us, state=ADDING)
            return
        if job is None:
            _log.error("resend_without_a_job", job=step.job, source=where.source, position=where.position)
        elif step.kind == CANCEL:
            if job.state != CANCELLED:
                self._jobs[job.id] = msgspec.structs.replace(job, state=CANCELLED, why=step.text)
        elif step.kind == END:
            if job.state == ADDING:
                self._jobs[job.id] = msgspec.structs.replace(job, state=ADDED)
        elif step.place > job.taken:
            self._jobs[job.id] = self._obeyed(where, step, msgspec.structs.replace(job, taken=step.place))

    def _obeyed(self, where: Where, step: Resend, job: ResendJob) -> ResendJob:
        """The job as it stands once the step is taken."""
        refusal = "cancelled"
        if job.state != CANCELLED:
            try:
                found = self._postbacks(where, step)
            except Exception as error:  # one poisonous step must not hold up the rest
                if isinstance(error, WaypostError) and error.code == "data_unwritable":
                    raise  # the disk's fault, not the item's
                _log.error("resend_failed", job=job.id, source=where.source, position=where.position, error=repr(error))
                found = "poisonous_item"
            if not isinstance(found, str):
                return self._added(job, found)
            refusal = found
        return msgspec.structs.replace(job, refused={**job.refused, refusal: job.refused.get(refusal, 0) + 1})

    def _added(self, job: ResendJob, posts: Iterable[PostbackOut]) -> ResendJob:
        """Puts them into the outbox, no faster than the job may."""
        now_ms = self._changes.record.now_ms
        next_us, added = max(job.next_us, now_ms * 1000), job.added
        for post in posts:
            due_ms = max(post.due_ms, next_us // 1000)
            post = msgspec.structs.replace(post, job=job.id, created_ms=now_ms, due_ms=due_ms if due_ms > now_ms else 0)
            self._changes.postbacks.append(encode_frame(post))
            next_us, added = next_us + job.every_us, added + 1
        return msgspec.structs.replace(job, next_us=next_us, added=added)

    def _postbacks(self, where: Where, step: Resend) -> Iterable[PostbackOut] | str:
        if step.kind == AGAIN and step.postback is not None:
            found = again(step.postback, self._intake.view, self._view(step.postback.catalog))
            return found if isinstance(found, str) else (msgspec.structs.replace(found, due_ms=0),)
        if step.kind != MISSING:
            return "poisonous_item"
        conversion = self._conversion(step.conversion)
        if conversion is None:
            return "conversion_gone"
        terms = self._view(step.click.catalog) if step.click is not None else None
        case = case_of(step, where, conversion, self._intake, terms)
        if self._rules.has_firsts and case.click_key is not None:
            if case.click_key not in self._fired:
                self._fired |= self._ledger.fired([case.click_key])
            case.fired = self._fired.get(case.click_key, ())
        fired = missing(step, where, conversion, self._rules, case, self._changes.record.now_ms)
        if isinstance(fired, str):
            return fired
        self._note(conversion, fired, case.click_key)
        return fired.postbacks

    def _note(self, conversion: Conversion, fired: Fired, click: ClickKey | None) -> None:
        """The conversion has told more."""
        told = msgspec.structs.replace(
            conversion, postbacks=conversion.postbacks + len(fired.postbacks), told=fired.told
        )
        held = self._fresh.get(conversion.identity)
        if held is None:
            self._known[conversion.identity] = conversion
        self._fresh[conversion.identity] = (told, held is not None and held[1])
        self._made[conversion.receipt] = conversion.identity
        if fired.firsts and click is not None:
            self._fired.setdefault(click, set()).update(fired.firsts)
            self._changes.fired += [(click, rule) for rule in fired.firsts]

    def _conversion(self, receipt: int) -> Conversion | None:
        identity = self._made.get(receipt)
        return self._fresh[identity][0] if identity is not None else self._ledger.conversion(receipt)

    def _view(self, version: int) -> CatalogView | None:
        try:
            return self._view_of(version)
        except WaypostError:
            return None  # a version that is no longer kept
