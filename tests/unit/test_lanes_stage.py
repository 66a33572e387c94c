"""What an attempt's end means: stages/lanes.py."""

from email.utils import formatdate

import pytest

from waypost.errors import ERRORS
from waypost.model.frames import SendResult
from waypost.stages.lanes import Blame, Judgement, RetryPolicy, Tried, blame_of, judge, pause_before_ms, retry_after_ms

NOW = 1_700_000_000_000
POLICY = RetryPolicy((1000, 5000, 60000), 0.0)


def judged(*, code: str = "", status: int = 200, attempt: int = 1, retry_after: str = "") -> Judgement:
    tried = Tried("p1", attempt)
    return judge(code=code, status=status, retry_after=retry_after, tried=tried, now_ms=NOW, policy=POLICY)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_2xx_is_delivered(status: int) -> None:
    assert judged(status=status) == (SendResult.DELIVERED, "", 0, "")


@pytest.mark.parametrize("status", [301, 302, 304, 307, 400, 401, 403, 404, 408, 425, 429, 500, 502, 503, 504, 599, 0])
def test_every_other_answer_is_tried_again(status: int) -> None:
    assert judged(status=status) == (SendResult.RETRY, "http_status", NOW + 1000, "")


def test_gone_is_final() -> None:
    assert judged(status=410) == (SendResult.GIVEN_UP, "status_final", 0, "")


@pytest.mark.parametrize(
    "code",
    ["render_failed", "render_bad_url", "render_bad_header", "template_missing", "address_forbidden", "port_forbidden"],
)
def test_what_trying_again_cannot_help_is_given_up(code: str) -> None:
    assert not ERRORS[code].retriable
    assert judged(code=code, status=0) == (SendResult.GIVEN_UP, code, 0, "")


@pytest.mark.parametrize("code", ["send_timeout", "dns_failed", "tls_failed", "resend_refused", "response_too_large"])
def test_failures_of_the_exchange_are_tried_again_whatever_the_status(code: str) -> None:
    assert judged(code=code, status=200) == (SendResult.RETRY, code, NOW + 1000, "")


def test_the_schedule_is_followed_to_its_end() -> None:
    assert [judged(status=500, attempt=attempt).due_ms - NOW for attempt in (1, 2, 3)] == [1000, 5000, 60000]
    assert judged(status=500, attempt=4).result is SendResult.GIVEN_UP


def test_without_a_schedule_the_first_failure_is_the_last() -> None:
    policy = RetryPolicy((), 0.2)
    result = judge(code="", status=500, retry_after="1", tried=Tried("p1", 1), now_ms=NOW, policy=policy)
    assert result.result is SendResult.GIVEN_UP


def test_jitter_is_the_same_each_time_and_spreads() -> None:
    policy = RetryPolicy((10_000,), 0.2)
    pauses = {id: pause_before_ms(id, 1, policy) for id in (f"p{n}" for n in range(500))}
    assert all(pause_before_ms(id, 1, policy) == pause for id, pause in pauses.items())
    assert all(8000 <= pause <= 12000 for pause in pauses.values())
    assert min(pauses.values()) < 8500 and max(pauses.values()) > 11500
    assert pause_before_ms("p1", 1, RetryPolicy((10_000, 10_000), 0.2)) != pause_before_ms(
        "p1", 2, RetryPolicy((10_000, 10_000), 0.2)
    )


def test_retry_after_lengthens_the_pause_within_a_bound() -> None:
    assert judged(status=429, retry_after="30").due_ms == NOW + 30_000
    assert judged(status=429, retry_after="0").due_ms == NOW + 1000
    assert judged(status=503, retry_after="99999999").due_ms == NOW + 6 * 3600 * 1000
    assert judged(status=503, retry_after="9" * 400).due_ms == NOW + 6 * 3600 * 1000


@pytest.mark.parametrize(
    ("text", "pause_ms"),
    [
        ("17", 17_000),
        (" 17 ", 17_000),
        (formatdate(NOW / 1000 + 90, usegmt=True), 90_000),
        (formatdate(NOW / 1000 - 90, usegmt=True), 0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 0),
        ("", 0),
        ("soon", 0),
        ("-5", 0),
        ("1.5", 0),
        ("١٢", 0),
    ],
)
def test_retry_after_texts(text: str, pause_ms: int) -> None:
    assert retry_after_ms(text, NOW) == pause_ms


# --- what a partner's `delivery` adds ----------------------------------------------------------------


def outcome(policy: RetryPolicy, tried: Tried, status: int = 500, retry_after: str = "", code: str = "") -> Judgement:
    return judge(code=code, status=status, retry_after=retry_after, tried=tried, now_ms=NOW, policy=policy)


def test_excused_attempts_are_not_counted() -> None:
    assert outcome(POLICY, Tried("p1", 4)).result is SendResult.GIVEN_UP
    assert outcome(POLICY, Tried("p1", 9, excused=8)).due_ms == NOW + 1000
    assert outcome(POLICY, Tried("p1", 9, excused=6)).due_ms == NOW + 60_000
    assert outcome(POLICY, Tried("p1", 9, excused=5)).result is SendResult.GIVEN_UP


def test_what_would_be_too_old_when_it_is_tried_again_is_given_up() -> None:
    policy = POLICY._replace(age_ms=30_000)
    assert outcome(policy, Tried("p1", 1)).result is SendResult.RETRY
    assert outcome(policy, Tried("p1", 2, first_ms=NOW - 25_000)).due_ms == NOW + 5000
    late = outcome(policy, Tried("p1", 2, first_ms=NOW - 25_001))
    assert late.result is SendResult.GIVEN_UP
    assert "older than `retry_age` (30 s)" in late.note
    assert outcome(policy, Tried("p1", 1), retry_after="31").result is SendResult.GIVEN_UP


def test_only_the_statuses_that_are_named_are_tried_again() -> None:
    policy = POLICY._replace(statuses=((429, 429), (500, 599)))
    assert outcome(policy, Tried("p1", 1), 503).result is SendResult.RETRY
    final = outcome(policy, Tried("p1", 1), 404)
    assert final == (SendResult.GIVEN_UP, "http_status", 0, "404 is not among `retry_on`")
    assert outcome(policy, Tried("p1", 1), 0, code="connect_failed").result is SendResult.RETRY  # no status at all


def test_a_wish_that_was_cut_is_said() -> None:
    policy = POLICY._replace(retry_after_max_ms=3_600_000)
    cut = outcome(policy, Tried("p1", 1), 429, "172800")
    assert (cut.due_ms, cut.note) == (NOW + 3_600_000, "Retry-After of 172800 s cut to 3600 s")
    assert outcome(policy, Tried("p1", 1), 429, "3600").note == ""


@pytest.mark.parametrize(
    ("code", "status", "blame"),
    [
        ("http_status", 500, Blame.PARTNER),
        ("http_status", 401, Blame.PARTNER),
        ("http_status", 408, Blame.PARTNER),
        ("http_status", 404, Blame.POSTBACK),
        ("http_status", 302, Blame.POSTBACK),
        ("answer_refused", 200, Blame.POSTBACK),
        ("http_status", 429, Blame.BUSY),
        ("http_status", 503, Blame.BUSY),
        ("connect_failed", 0, Blame.PARTNER),
        ("send_timeout", 0, Blame.PARTNER),
        ("auth_failed", 0, Blame.PARTNER),
        ("render_failed", 0, Blame.NOBODY),
        ("auth_secret", 0, Blame.NOBODY),
    ],
)
def test_whose_fault_it_is(code: str, status: int, blame: Blame) -> None:
    assert blame_of(code, status) is blame
