"""What differs between two catalogs, in words."""

from support.catalog_text import DESIGN, compiled
from waypost.catalog.compiled import Compiled
from waypost.catalog.diff import diff_catalogs


def words(before: str, after: str) -> list[str]:
    return [line for change in diff_catalogs(compiled(before), compiled(after)) for line in str(change).splitlines()]


def test_equal_catalogs_do_not_differ_wherever_they_are_written() -> None:
    assert words(DESIGN, "# a comment\n\n" + DESIGN) == []


def test_what_is_added_and_removed() -> None:
    assert words(DESIGN, DESIGN.replace("  demo:", "  other:")) == ["link demo removed", "link other added"]
    assert [change.what for change in diff_catalogs(Compiled(), compiled(DESIGN))] == ["added"] * 4


def test_each_changed_field_is_named_with_both_values() -> None:
    after = (
        DESIGN.replace("1.20 USD", "1.30 USD, status: pending")
        .replace("limit: 100000", "limit: 5")
        .replace("status: approved}", "status: [approved, declined]}")
        .replace("  geozo:\n", "  geozo:\n    delivery: {timeout: 10s}\n    active: false\n")
    )
    assert words(DESIGN, after) == [
        "offer acme-vpn changed",
        "  goals.install.payout: 1.20 USD → 1.30 USD",
        "  goals.install.status: approved → pending",
        "  caps.conversions:day:Europe/Berlin.limit: 100000 → 5",
        "partner geozo changed",
        "  rules.1.statuses: approved → approved, declined",
        "  delivery.total_timeout_ms: the default → 10s",
        "  active: true → false",
    ]


def test_goals_and_aliases_that_come_and_go() -> None:
    after = DESIGN.replace("      purchase: {payout: 30%}", "      lead: {payout: 5%, revenue: 70% of payout}").replace(
        "    token: s3cret ", "    parameters: {click_id: [a, b]}\n    token: s3cret "
    )
    assert words(DESIGN, after) == [
        "advertiser acme changed",
        "  parameters.click_id added: a, b",
        "offer acme-vpn changed",
        "  goals.purchase removed: 30%",
        "  goals.lead added: 5%",
    ]


def test_secrets_are_not_shown() -> None:
    found = words(DESIGN, DESIGN.replace("s3cret", "hush"))
    assert found == ["advertiser acme changed", "  token changed"]
    get = "get: http://127.0.0.1:9001/pb?cid={sub1}&money={payout}&type={status|map(approved=lead, declined=cancel)}"
    post = DESIGN.replace(get, "post: {url: http://a.example/, headers: {Authorization: Bearer hush}}")
    assert words(post, post.replace("hush", "other")) == [
        "partner geozo changed",
        "  rules.1.headers.Authorization changed",
    ]
