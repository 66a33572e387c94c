"""What a doubt is, and every kind that there is.

Owns: the table; a code is never renamed or reused. Reads and writes nothing. `doubts.py` finds them.
"""

from typing import NamedTuple

import msgspec


class DoubtKind(NamedTuple):
    """What is doubted, and what may be done."""

    meaning: str
    remedy: str


DOUBTS: dict[str, DoubtKind] = {
    "no_click_id": DoubtKind(
        "an offer's URL does not hand over `{click_id}`: the advertiser has nothing to report a conversion by",
        "add a parameter such as `cid={click_id}`",
    ),
    "rule_never_fires": DoubtKind(
        "no conversion that the catalog makes possible fires this rule", "correct the condition, or remove the rule"
    ),
    "rule_twice": DoubtKind(
        "two rules of a partner fire on the same conversions and send the same", "remove one, or let them differ"
    ),
    "link_nowhere": DoubtKind(
        "an active link leads to no offer that takes clicks", "lead it to an active offer, or set `active: false`"
    ),
    "cap_unreachable": DoubtKind(
        "a cap can never be reached, for one of a longer period is lower", "lower it, or raise the other"
    ),
    "secret_in_template": DoubtKind(
        "a secret is written out where a request, a log or a visitor shows it",
        "in a postback write `{secret('env:NAME')}`; keep it out of an offer's URL",
    ),
    "secret_written_out": DoubtKind(
        "a rule's proof is written out in the catalog", "`env:NAME` or `file:PATH` keeps it out"
    ),
    "macro_always_empty": DoubtKind(
        "a macro has no value whenever its rule fires", "remove it, or let the rule fire on what has one"
    ),
    "fact_unknown": DoubtKind(
        "something asks for what only a geo file tells, and the settings name none",
        "name the file in the settings' section [visitors]",
    ),
    "group_unused": DoubtKind("nothing falls back on this group", "name it in a `fallback`, or remove it"),
}


class Doubt(msgspec.Struct, frozen=True):
    """One doubt. `place` is `file:line`, or empty where it is about no line; `subject` is whose it is."""

    code: str
    place: str
    subject: str
    detail: str

    @property
    def hint(self) -> str:
        """What may be done."""
        return DOUBTS[self.code].remedy

    def __str__(self) -> str:
        place = f"{self.place}: " if self.place else ""
        return f"{place}{self.subject}: {self.detail} [{self.code}] ({self.hint})"
