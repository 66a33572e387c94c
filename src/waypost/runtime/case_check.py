"""Does what came of a step agree with what was expected of it? And where not, why did it come so?

Owns: the comparison, and the words for it. Input: expectations and results as texts. Output: `Mismatch`. Pure.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from waypost.catalog.cases import NONE, Expected, Said, SentCase
from waypost.model.money import Money, parse_amount

ANY = "$any"
_ID = re.compile(r"\$([a-z][a-z0-9_]*)")
_MONEY = ("sum", "payout", "revenue")


class Mismatch(msgspec.Struct, frozen=True):
    """One expectation that was not met; `why` are the reasons that the decision gives, in words."""

    place: str
    what: str
    expected: str
    got: str
    why: tuple[str, ...] = ()


class Sent(NamedTuple):
    """A postback to a partner, as its first attempt would send it."""

    partner: str
    rule: str  # its number
    rule_name: str
    method: str
    url: str
    headers: Mapping[str, str]
    body: str
    delay_ms: int
    problem: str

    @property
    def named(self) -> str:
        """Whose and which, in words."""
        return f"{self.partner} (rule {self.rule_name or self.rule})"

    @property
    def text(self) -> str:
        """What is sent, in one line."""
        if self.problem:
            return f"{self.named}: cannot be rendered: {self.problem}"
        return f"{self.named}: {self.method} {self.url}" + (f" with {self.body}" if self.body else "")


class Result(NamedTuple):
    """What came of a step. `got` by the keys of expectations; what there is none of is `none`."""

    got: Mapping[str, str]
    fails: tuple[str, ...] = ()
    skipped: Mapping[str, str] = {}
    sends: tuple[Sent, ...] = ()
    why: tuple[str, ...] = ()  # what decided, for those who expected another end
    rules: tuple[str, ...] = ()  # what stopped each rule that did not fire


def with_ids(text: str, ids: Mapping[str, str]) -> str:
    """`$click_id`, `$receipt` and the names of clicks are what they stand for; all else stays."""
    return _ID.sub(lambda found: ids.get(found[1], found[0]), text) if "$" in text else text


def compare(expected: Expected, result: Result, ids: Mapping[str, str]) -> list[Mismatch]:
    """All that was expected and did not come, in the order in which it is written."""
    found = [
        Mismatch(said.place, key, with_ids(said.text, ids), got, result.why)
        for key, said in expected.fields.items()
        if not _agree(key, said, got := result.got.get(key, NONE), ids)
    ]
    if expected.fails is not None and set(expected.fails) != set(result.fails):
        wanted, got = (", ".join(names) or NONE for names in (sorted(expected.fails), sorted(result.fails)))
        found.append(Mismatch(expected.place, "checks that fail", wanted, got, result.why))
    if expected.skipped is not None:
        found += _skipped(expected.skipped, expected.place, result)
    if expected.sends is not None:
        found += _sends(expected.sends, expected.place, result, ids)
    return found


def _agree(key: str, said: Said, got: str, ids: Mapping[str, str]) -> bool:
    if key in _MONEY and said.text != NONE:
        return _money(said.text) == _money(got)
    return matches(said.text, got, ids)


def _money(text: str) -> Money | str:
    amount, _, currency = text.partition(" ")
    number = parse_amount(amount)
    return Money(number, currency) if number is not None else text


def matches(pattern: str, got: str, ids: Mapping[str, str]) -> bool:
    """Whether a text is as expected; `$any` stands for whatever is there."""
    text = with_ids(pattern, ids)
    if ANY not in text:
        return text == got
    parts = text.split(ANY)  # looked for one after the other: no pattern takes longer than its text
    if not got.startswith(parts[0]) or not got.endswith(parts[-1]) or len(got) < len(parts[0]) + len(parts[-1]):
        return False
    at, end = len(parts[0]), len(got) - len(parts[-1])
    for part in parts[1:-1]:
        at = got.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


def _skipped(expected: Mapping[str, Said], place: str, result: Result) -> list[Mismatch]:
    if {name: said.text for name, said in expected.items()} == dict(result.skipped):
        return []
    wanted = ", ".join(f"{name}: {said.text}" for name, said in expected.items()) or NONE
    got = ", ".join(f"{name}: {reason}" for name, reason in result.skipped.items()) or NONE
    at = next((said.place for said in expected.values()), place)
    return [Mismatch(at, "skipped offers", wanted, got)]


# --- postbacks to partners -------------------------------------------------------------------------------


def _sends(expected: Sequence[SentCase], place: str, result: Result, ids: Mapping[str, str]) -> list[Mismatch]:
    left = list(result.sends)
    missing: list[SentCase] = []
    for case in expected:  # those that agree first, in whatever order they were caused
        same = next((sent for sent in left if not _differences(case, sent, ids)), None)
        if same is not None:
            left.remove(same)
        else:
            missing.append(case)
    found: list[Mismatch] = []
    for case in missing:
        near = next((sent for sent in left if _is_meant(case, sent)), None)
        if near is not None:
            left.remove(near)
            found += _differences(case, near, ids)
        else:
            found.append(Mismatch(case.place, "postback", _wanted(case, ids), "not sent", result.rules))
    found += [Mismatch(place, "postback", "none", sent.text, result.why) for sent in left]
    return found


def _is_meant(case: SentCase, sent: Sent) -> bool:
    rule = case.fields.get("rule")
    partner = case.fields.get("partner")
    return (partner is None or partner.text == sent.partner) and (
        rule is None or rule.text in (sent.rule, sent.rule_name)
    )


def _wanted(case: SentCase, ids: Mapping[str, str]) -> str:
    find = {key: with_ids(said.text, ids) for key, said in case.fields.items()}
    who = find.get("partner", "a partner") + (f" (rule {find['rule']})" if "rule" in find else "")
    what = " ".join(find[key] for key in ("method", "url") if key in find)
    return f"{who}: {what}" if what else who


def _differences(case: SentCase, sent: Sent, ids: Mapping[str, str]) -> list[Mismatch]:
    """Where a postback is not the one that is expected."""
    got = {
        "partner": sent.partner,
        "method": sent.method,
        "url": sent.url,
        "body": sent.body,
        "delay": str(sent.delay_ms),
        "problem": sent.problem or NONE,
    }
    found: list[Mismatch] = []
    for key, said in case.fields.items():
        if key == "rule":
            if said.text not in (sent.rule, sent.rule_name):
                found.append(Mismatch(said.place, "rule", said.text, sent.rule_name or sent.rule))
        elif not matches(said.text, got[key], ids):
            unit = " ms" if key == "delay" else ""
            wanted, there = with_ids(said.text, ids) + unit, got[key] + unit
            if sent.problem and key != "problem":
                there += f" (cannot be rendered: {sent.problem})"
            found.append(Mismatch(said.place, f"postback to {sent.named}, {key}", wanted, there))
    for name, said in case.headers.items():
        there = sent.headers.get(name, "")
        if not matches(said.text, there, ids):
            what = f"postback to {sent.named}, header {name}"
            found.append(Mismatch(said.place, what, with_ids(said.text, ids), there or "not sent"))
    if case.json is not None:
        found += _json_differences(case, sent, ids)
    return found


def _json_differences(case: SentCase, sent: Sent, ids: Mapping[str, str]) -> list[Mismatch]:
    try:
        body = json.loads(sent.body)
    except ValueError:
        body = sent.body
    if _alike(case.json, body, ids):
        return []
    wanted = with_ids(json.dumps(case.json, ensure_ascii=False), ids)
    return [Mismatch(case.place, f"postback to {sent.named}, json", wanted, sent.body)]


def _alike(expected: Any, got: Any, ids: Mapping[str, str]) -> bool:
    if isinstance(expected, dict) and isinstance(got, dict):
        return expected.keys() == got.keys() and all(_alike(expected[key], got[key], ids) for key in expected)
    if isinstance(expected, list) and isinstance(got, list):
        return len(expected) == len(got) and all(_alike(a, b, ids) for a, b in zip(expected, got, strict=True))
    if isinstance(expected, str) and ANY in expected:
        return matches(expected, got if isinstance(got, str) else json.dumps(got), ids)
    if isinstance(expected, str) and isinstance(got, str):
        return with_ids(expected, ids) == got
    return type(expected) is type(got) and bool(expected == got)
