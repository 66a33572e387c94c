"""Keitaro's dialect beyond the published templates: the rules, not the entries."""

import pytest

from waypost.macros.dialects.keitaro import translate
from waypost.macros.dialects.translation import Severity
from waypost.macros.template import Position, compile_template

WORDS = "{status|map(pending=lead, approved=sale, declined=rejected, hold=lead)}"


def codes(text: str, **options: object) -> list[tuple[str, str]]:
    answer = translate(text, **options)  # type: ignore[arg-type]
    return [(problem.severity.value, problem.code) for problem in answer.problems]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("{subid}", "{click_id}"),
        ("{tid}", "{txn_id}"),
        ("{sub_id_30}", "{sub30}"),
        ("{ external_id }", "{external_id}"),
        ("{status}", WORDS),
        ("{status:}", WORDS),
        ("{status:lead=1 sale=2 rejected=3}", "{status|map(pending=1, approved=2, declined=3, hold=1)}"),
        ("{status: lead=1, sale=2}", "{status|map(pending=1, approved=2, declined=rejected, hold=1)}"),
        ("{status: sale=}", "{status|map(pending=lead, approved='', declined=rejected, hold=lead)}"),
        ("{date:U}", "{click_time}"),
        ("{date:Y-m-d}", "{click_time|date(%Y-%m-%d)}"),
        ("{date:Y-m-d H:i:s,UTC}", "{click_time|date('%Y-%m-%d %H:%M:%S')}"),
        ("{date:Y-m-d H:i,Europe/Kyiv}", "{click_time|date('%Y-%m-%d %H:%M', Europe/Kyiv)}"),
        ("{previous_status}", "{status_before|map(pending=lead, approved=sale, declined=rejected, hold=lead)}"),
        ("{keyword:UTF-8}", "{keyword}"),
        ("{offer_name}", "{offer}"),
    ],
)
def test_placeholders(theirs: str, ours: str) -> None:
    answer = translate(f"https://h/?a={theirs}&b={{payout}}")
    assert answer.text == f"https://h/?a={ours}&b={{payout}}"
    assert answer.problems == ()
    compile_template(answer.text, position=Position.URL)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("{_keyword}", "{keyword}"),
        ("{_date:Y-m-d H:i:s,UTC}", "{click_time|date('%Y-%m-%d %H:%M:%S')}"),
        ("{campaign_id}", "{link}"),
        ("{random:1,9}", "{postback_id|random(1, 9)}"),
        ("{sample:a, b c}", "{postback_id|random(1, 2)|map(1=a, 2='b c')}"),
        ("{campaign_name}", "{link}"),
        ("{ts_id}", "{partner}"),
        ("{status: lead=1 deposit=2}", "{status|map(pending=1, approved=sale, declined=rejected, hold=1)}"),
    ],
)
def test_what_is_translated_with_a_difference_is_said(theirs: str, ours: str) -> None:
    answer = translate(f"https://h/?a={theirs}")
    assert answer.text == f"https://h/?a={ours}"
    assert codes(f"https://h/?a={theirs}") == [("warning", "macro_adapted")]


@pytest.mark.parametrize(
    ("text", "code", "column"),
    [
        ("https://h/?a={externa_id}", "macro_unknown", 14),
        ("https://h/?a={External_Id}", "macro_unknown", 14),
        ("https://h/?a={ip}", "macro_unknown", 14),
        ("https://h/?a={profit}", "macro_unknown", 14),
        ("https://h/?a={random:1,x}", "macro_bad_argument", 14),
        ("https://h/?a={sample}", "macro_unknown", 14),
        ("https://h/?a={sub_id_31}", "macro_unknown", 14),
        ("https://h/?a={payout:eur}", "macro_bad_argument", 14),
        ("https://h/?a={date:D}", "macro_bad_argument", 14),
        ("https://h/?a={status:lead}", "macro_syntax", 14),
        ("https://h/?a={payout", "macro_syntax", 14),
        ("https://h/?a={}", "macro_syntax", 14),
        ("https://your-domain.com/?a={payout}", "macro_placeholder", 9),
        ("https://pb.YOUR_DOMAIN/?a={payout}", "macro_placeholder", 12),
        ("https://yourdomain.com/?a={payout}", "macro_placeholder", 9),
        ("https://[DOMAIN]/?a={payout}", "macro_in_host", 9),
        ("https://{domain}/?a={payout}", "macro_in_host", 9),
        ("https://[YOUR_HOST]/?a={payout}", "macro_placeholder", 9),
        ("  https://h/?a={externa_id}", "macro_unknown", 16),
        ("h/?a={payout}", "macro_not_url", 1),
        ("", "macro_not_url", 0),
    ],
)
def test_what_is_refused(text: str, code: str, column: int) -> None:
    answer = translate(text)
    assert answer.text is None
    assert [(problem.code, problem.column) for problem in answer.errors] == [(code, column)]
    assert all(problem.detail and problem.hint for problem in answer.problems)


@pytest.mark.parametrize(
    ("left", "code", "spelled"),
    [
        ("${payout}", "macro_foreign", "%24%7Bpayout%7D"),
        ("{{payout}}", "macro_foreign", "%7B%7Bpayout%7D%7D"),
        ("##payout##", "macro_foreign", "%23%23payout%23%23"),
        ("#payout#", "macro_foreign", "%23payout%23"),
        ("[payout]", "macro_foreign", "%5Bpayout%5D"),
        ("[[[subid]]]", "macro_foreign", "%5B%5B%5Bsubid%5D%5D%5D"),
        ("<click_id>", "macro_foreign", "%3Cclick_id%3E"),
        ("%click_id%", "macro_foreign", "%click_id%"),
        ("__CLICKID__", "macro_foreign", "__CLICKID__"),
        ("(idfa)", "macro_foreign", "%28idfa%29"),
        ("TS{a.b}", "macro_foreign", "TS%7Ba.b%7D"),
        ("YOUR_CLICK_ID", "macro_placeholder", "YOUR_CLICK_ID"),
        ("CLICKID", "macro_placeholder", "CLICKID"),
        ("[your_payout]", "macro_placeholder", "%5Byour_payout%5D"),
        ("####", "macro_placeholder", "%23%23%23%23"),
    ],
)
def test_what_was_left_in_is_kept_as_text_with_a_warning(left: str, code: str, spelled: str) -> None:
    text = f"https://h/?a={left}&b={{payout}}"
    answer = translate(text)
    assert answer.text == f"https://h/?a={spelled}&b={{payout}}"
    assert [(problem.severity.value, problem.code, problem.column) for problem in answer.problems] == [
        ("warning", code, 14)
    ]


@pytest.mark.parametrize(
    "literal",
    [
        "REPLACE",
        "replace",
        "YOUR_KEY",
        "your-key",
        "XXXXXX",
        "***",
        "API_KEY",
        "TeamName",
        "partner_name",
        "ACCOUNT_NAME",
    ],
)
def test_a_placeholder_in_plain_text_is_a_warning(literal: str) -> None:
    text = f"https://h/{literal}/x?key={literal}&a={{payout}}"
    answer = translate(text)
    assert answer.text == text
    assert codes(text) == [("warning", "macro_placeholder")] * 2


@pytest.mark.parametrize(
    "literal", ["[REPLACE-WITH-KEY]", "{REPLACE}", "{{your_key}}", "<API_KEY>", "[account_number]"]
)
def test_a_placeholder_in_signs_is_spelled_so_that_the_url_stands(literal: str) -> None:
    answer = translate(f"https://h/?key={literal}&a={{payout}}")
    assert answer.text is not None
    assert codes(f"https://h/?key={literal}&a={{payout}}") == [("warning", "macro_placeholder")]
    name = literal.strip("[]{}<>")
    url = compile_template(answer.text, position=Position.URL).render({"payout": "1"})
    assert url.startswith("https://h/?key=%") and name in url and url.endswith("&a=1")


@pytest.mark.parametrize(
    "literal", ["usd", "conversion", "approved", "keitaro", "v2", "533dca7", "ID7", "1", "%20a%20", "a_b"]
)
def test_plain_text_is_no_placeholder(literal: str) -> None:
    assert codes(f"https://h/{literal}?x={literal}&a={{payout}}") == []


@pytest.mark.parametrize(
    "host", ["youradexchange.com", "my-tracker.com", "key.team", "pb.company.com:8080", "enter-here.io"]
)
def test_a_hosts_name_is_no_placeholder(host: str) -> None:
    assert codes(f"https://{host}/?a={{payout}}") == []


def test_free_click_parameters() -> None:
    answer = translate(
        "https://h/?a={bundle}&b={sub2}&c={country}&d={sub_id_3}",
        click_parameters=["bundle", "sub2", "country", "sub_id_3"],
    )
    assert answer.text == "https://h/?a={click.bundle}&b={sub2}&c={country}&d={sub3}"
    assert answer.problems == ()
    assert answer.click_parameters["sub_id_3"] == "sub3"
    assert answer.click_parameters["bundle"] == "bundle"


def test_a_macro_that_nothing_fills_is_a_warning() -> None:
    assert codes("https://h/?a={external_id}", click_parameters=["source"]) == [("warning", "macro_unfilled")]
    assert codes("https://h/?a={external_id}", click_parameters=[]) == []


def test_the_sources_own_macro_is_put_right_where_it_is_certain() -> None:
    once = {"external_id": "${trackid}", "source": "{zone}"}
    answer = translate("https://h/?a=${trackid}&b={zone}", click_parameters=once)
    assert answer.text == "https://h/?a={external_id}&b={source}"
    assert [problem.severity for problem in answer.problems] == [Severity.WARNING] * 2
    for token in ("[CLICK_ID]", "##cid##", "%clickid%", "__CID__", "{{cid}}", "{click_id}", "<cid>"):
        assert (
            translate(f"https://h/?a={token}", click_parameters={"external_id": token}).text
            == "https://h/?a={external_id}"
        )
    twice = {"external_id": "{zone}", "source": "{zone}"}
    assert codes("https://h/?a={zone}", click_parameters=twice) == [("error", "macro_unknown")]


def test_a_template_without_macros_is_a_warning() -> None:
    assert codes("https://h/pixel?v=1") == [("warning", "macro_missing")]


def test_what_stands_behind_a_fragment_is_said() -> None:
    assert codes("https://h/?a={payout}#x={subid}") == [("warning", "macro_not_url")]


def test_a_template_over_the_bound() -> None:
    assert codes("https://h/?a={payout}" + "x" * 9000) == [("error", "macro_too_large")]
