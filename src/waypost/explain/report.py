"""The shape of an audit: what `waypost audit --format json` prints.

Owns: the structs and the bound on named problems. Reads and writes nothing. Fields are only added.
"""

import msgspec

from waypost.errors import WaypostError

PROBLEMS_MAX = 200  # named one by one; all are counted


class Problem(msgspec.Struct, frozen=True):
    """One thing that is missing or disagrees: in which store, which item, and what about it."""

    store: str
    item: str
    what: str


class Counts(msgspec.Struct):
    """Items by kind, each in exactly one place. accepted = sum of `verdicts` + parked + unread;
    postbacks = delivered + dropped + superseded + queued + in_flight + dead + held + not_taken."""

    clicks: int = 0
    impressions: int = 0
    accepted: int = 0  # calls, and frames that cannot be decoded
    verdicts: dict[str, int] = {}
    parked: int = 0
    unread: int = 0  # accepted, not yet seen by the pipeline
    conversions: int = 0
    batches: int = 0
    postbacks: int = 0
    delivered: int = 0
    queued: int = 0
    in_flight: int = 0
    dead: int = 0
    not_taken: int = 0  # in the outbox, not yet seen by a courier
    attempts: int = 0
    held_back: int = 0  # postbacks that a rule's percentage left out: they are in no other count
    held: int = 0  # in a lane, until a human decides
    dropped: int = 0  # by an operator
    superseded: int = 0  # by a correction, before they were ever sent


class AuditReport(msgspec.Struct):
    """`problems` holds the first PROBLEMS_MAX of `problems_total`; the stores agree if there is none."""

    ok: bool
    counts: Counts
    problems: list[Problem]
    problems_total: int
    not_archived: dict[str, int]  # frames by feed that the archive does not hold yet


class Problems:
    """Collects problems, the first of them by name."""

    def __init__(self) -> None:
        self.named: list[Problem] = []
        self.total = 0

    def add(self, store: str, item: str, what: str) -> None:
        self.total += 1
        if len(self.named) < PROBLEMS_MAX:
            self.named.append(Problem(store, item, what))

    def add_error(self, store: str, error: WaypostError) -> None:
        self.add(store, error.place, f"{error.detail} [{error.code}]")
