"""Each dialect by examples worked out from its published documentation, the guess, and what a check says."""

import pytest

from waypost.macros.dialects import DIALECTS, NAMED
from waypost.macros.dialects.dialect import rows
from waypost.macros.dialects.guess import Confidence, guess
from waypost.macros.dialects.postbacks import translate_postback
from waypost.macros.lint import Kind, check
from waypost.macros.names import IN_POSTBACK, LEAVES_FOR_NOBODY, is_personal
from waypost.macros.template import Position, compile_template

VALUES = {
    "click_id": "CK", "external_id": "E 1", "sub1": "s1", "sub2": "s2", "payout": "1.20", "status": "approved",
    "txn_id": "T1", "goal": "purchase", "sum": "10.00", "sum_currency": "EUR", "click_time": "1700000000",
    "conversion_time": "1700000060", "partner": "Facebook Ads", "ad_campaign_id": "c7", "source": "site",
    "offer": "vpn",
    "click.zone": "z9", "country": "DE",
}  # fmt: skip


@pytest.mark.parametrize(
    ("dialect", "theirs", "url"),
    [
        ("keitaro", "a={subid}&s={status:lead=0 sale=1}&t={date:U}", "a=CK&s=1&t=1700000000"),
        ("keitaro", "d={date:Y-m-d H:i,Europe/Kyiv}&z={zone}", "d=2023-11-15%2000%3A13&z=z9"),
        ("voluum", "c={externalid}&p={payout}&v={var1}&z={var:zone}", "c=E%201&p=1.20&v=s1&z=z9"),
        ("binom", "c={externalid}&s={cnv_status}&h={t1_md5}", "c=E%201&s=approved&h=8ddf878039b70767c4a5bcf4f0c4f65e"),
        ("affise", "a={sub1}&p={sum}&s={status}&d={date}", "a=s1&p=1.20&s=1&d=2023-11-14%2022%3A14%3A20"),
        ("tune", "a={aff_sub2}&t={transaction_id}&p={payout}", "a=s2&t=CK&p=1.20"),
        ("everflow", "a={sub1}&p={payout_amount}&g={event_name}", "a=s1&p=1.20&g=purchase"),
        ("branch", "n=${(name)!}&t=${(timestamp)!}&a=<#if attributed>1<#else>0</#if>",
         "n=purchase&t=1700000060000&a=1"),
        ("branch", 'x=${(custom_data.sub5)!"none"}&h=<@sha1>${(name)!}</@sha1>',
         "x=none&h=d376ca2995b3d140552f1bf6bc31c2eda6c9cfc8"),
        ("branch", "d=<@dateformat output_date_format=\"yyyy-MM-dd\">${(event_timestamp)!}</@dateformat>",
         "d=2023-11-14"),
        ("singular", "c={cl?Net}&n={NETWORK=Facebook Ads}&m={NETWORK=Other}&u={UTCM}",
         "c=E%201&n=1&m=0&u=1700000060000"),
        ("singular", "k={sub2}&u={CLICK_UTC}", "k=s2&u=1700000000"),
        ("appsflyer", "c=(clickid)&e=(event-name)&r=(event-revenue)", "c=E%201&e=purchase&r=10.00"),
        ("appsflyer", "z=(zone)&r=(orig-monetary)&m=(monetary)&c=(currency)", "z=z9&r=10.00&m=10.00&c=EUR"),
        ("adjust", "c={click_id}&e={event_name}&t={created_at}", "c=E%201&e=purchase&t=1700000060"),
        ("kochava", "c=~(click_id)~&e={event_name}&n={network_name}", "c=E%201&e=purchase&n=Facebook%20Ads"),
        ("appmetrica", "c={click_id}&t={conversion_timestamp}&z={zone}", "c=CK&t=1700000060&z=z9"),
        ("appmetrica", "d={click_datetime}&p={price}", "d=2023-11-14T22%3A13%3A20Z&p=10.00"),
        ("keitaro", "z={_zone}&c={subid}", "z=z9&c=CK"),
        ("branch", "e=${(last_attributed_touch_data.~external_touch)!}&c=${(last_attributed_touch_data.~click_id)!}",
         "e=E%201&c=E%201"),
        ("branch", "d=<@iso8601UTCDate>${(event_timestamp)!}</@iso8601UTCDate>&k=<@countryCodeIso3166>"
         "${(user_data.country)!}</@countryCodeIso3166>", "d=2023-11-14T22%3A14%3A20.000Z&k=DE"),
        ("admitad", "c=[[[subid]]]&p=[[[payment_sum]]]&o=[[[order_id]]]", "c=s1&p=1.20&o=T1"),
        ("cake", "c=#s2#&p=#price#&o=#oid#", "c=s2&p=1.20&o=vpn"),
        ("tiktok", "c=__CALLBACK_PARAM__&i=__CAMPAIGN_ID__", "c=E%201&i=c7"),
        ("[x]", "c=[CLICK_ID]&p=[Payout]&k=[COUNTRY]", "c=E%201&p=1.20&k=DE"),
        ("##x##", "c=##CLICK_ID##&p=##CPA_AMOUNT##", "c=E%201&p=1.20"),
        ("%x%", "c=%clickid%&p=%payout%", "c=E%201&p=1.20"),
    ],
)  # fmt: skip
def test_a_published_form_renders_as_its_system_says(dialect: str, theirs: str, url: str) -> None:
    answer = translate_postback(DIALECTS[dialect], f"https://h.com/p?{theirs}")
    assert answer.text is not None, answer.problems
    rendered = compile_template(answer.text, position=Position.URL, names=IN_POSTBACK).render(VALUES)
    assert rendered == f"https://h.com/p?{url}"


@pytest.mark.parametrize(
    ("dialect", "theirs", "ours"),
    [
        ("singular", "{IFA1}", "{click.idfa|sha1}"),
        ("singular", "{IFA5}", "{click.idfa|md5}"),
        ("appsflyer", "(sha1-idfa)", "{click.idfa|sha1}"),
        ("adjust", "{gps_adid}", "{click.gps_adid}"),
        ("adjust", "{fire_adid}", "{click.fire_adid}"),
        ("adjust", "{mac_md5}", "{click.mac|md5}"),
        ("branch", "<@md5>${(user_data.aaid)!}</@md5>", "{click.gaid|md5}"),
        ("keitaro", "{IDFA}", "{click.IDFA}"),
        ("keitaro", "{google_aid}", "{click.google_aid}"),
    ],
)
def test_what_names_a_device_is_translated_and_said_to_leave_empty(dialect: str, theirs: str, ours: str) -> None:
    answer = translate_postback(DIALECTS[dialect], f"https://h.com/p?i={theirs}&b=1")
    assert answer.text == f"https://h.com/p?i={ours}&b=1"
    assert [problem.code for problem in answer.problems] == ["macro_unfilled"]


@pytest.mark.parametrize(
    ("dialect", "theirs", "code"),
    [
        ("keitaro", "{profit}", "macro_unknown"),
        ("voluum", "{var1:hash}", "macro_bad_argument"),
        ("branch", "${(user_data.model)!}", "macro_unknown"),
        ("branch", "<#if nonsense>1</#if>", "macro_unknown"),
        ("branch", "<@loop>${(name)!}</@loop>", "macro_bad_argument"),
        ("branch", "<@iso8601UTCDate>${(name)!}</@iso8601UTCDate>", "macro_bad_argument"),
        ("branch", "<#if first_event_for_user>1<#else>0</#if>", "macro_unknown"),
        ("tune", "{adv_sub}", "macro_unknown"),
        ("[x]", "[NOBODY_KNOWS]", "macro_unknown"),
    ],
)
def test_what_has_no_counterpart_is_refused_with_a_reason(dialect: str, theirs: str, code: str) -> None:
    answer = translate_postback(DIALECTS[dialect], f"https://h.com/p?b={theirs}")
    assert answer.text is None
    assert answer.errors[0].code == code and answer.errors[0].hint
    assert answer.draft.replace("{{", "{").replace("}}", "}").startswith("https://h.com/p?b=")


@pytest.mark.parametrize(
    ("dialect", "theirs"),
    [
        ("keitaro", "{ip}"),
        ("binom", "{user_agent}"),
        ("everflow", "{aaid}"),
        ("adjust", "{windows_aid}"),
    ],
)
def test_nobody_is_told_to_pass_a_device_s_name_in_a_click(dialect: str, theirs: str) -> None:
    answer = translate_postback(DIALECTS[dialect], f"https://h.com/p?b={theirs}")
    assert [problem.hint for problem in answer.errors] == [LEAVES_FOR_NOBODY]


@pytest.mark.parametrize(
    "name", ["aaid", "click.google_aid", "click.IDFA_MD5", "idfa-sha1", "gps_adid_sha256", "Win_UDID"]
)
def test_the_published_names_of_devices_and_their_hashes_are_personal(name: str) -> None:
    assert is_personal(name)


@pytest.mark.parametrize(
    "name", ["click_id", "click.subid_hash", "sub1", "click.device", "click.ad_id", "campaign_name"]
)
def test_other_names_are_not(name: str) -> None:
    assert not is_personal(name)


@pytest.mark.parametrize(
    ("text", "column", "meant"),
    [
        ("https://h.com/p?a={subid}&amp;b={tid}", 26, "&"),
        ("https://h.com/p?a={payout}¤cy={currency}", 27, "&curren"),
        ("https://h.com/p?a={payout}¶m1=2", 27, "&para"),
        ("http://{domain}/postback?cid={sub1}&amp;payout={sum}", 36, "&"),
    ],
)
def test_an_ampersand_that_came_out_of_a_web_page_is_found(text: str, column: int, meant: str) -> None:
    found = [problem for problem in check(text).problems if problem.code == "macro_encoded"]
    assert [(problem.column, problem.hint) for problem in found] == [(column, f"write {meant}")]


def test_a_sign_in_a_value_is_no_lost_ampersand() -> None:
    assert not [p for p in check("https://h.com/p?name=A©me&b={subid}").problems if p.code == "macro_encoded"]


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("https://{domain}/postback?cid={sub1}&payout={payout}&et={goal}&txid={id}",
         "https://{domain}/postback?click_id={sub1}&payout={payout}&goal={goal}&txn_id={id}"),
        ("https://{domain}/click.php?cnv_id={sub1}&payout={payout}&cnv_status={status}",
         "https://{domain}/postback?click_id={sub1}&payout={payout}&status={status}"),
        ("https://{domain}/postback?clickid={sub1}&sum={payout}&type={goal}",
         "https://{domain}/postback?click_id={sub1}&payout={payout}&goal={goal}"),
    ],
)  # fmt: skip
def test_other_trackers_calls_become_waypost_s(text: str, ours: str) -> None:
    checked = check(text)
    assert (checked.kind, checked.result, checked.translation.text) == (Kind.CALL, "ok", ours)


def test_a_call_without_a_click_s_id_and_a_fixed_one_are_found() -> None:
    missing = check("https://{domain}/{postback_key}/postback?cid={sub1}")  # the key is Keitaro's
    assert [problem.code for problem in missing.problems] == ["macro_missing"]
    fixed = check("https://{domain}/postback?cid=7&txid=8").problems
    assert [(problem.code, problem.column) for problem in fixed] == [
        ("macro_placeholder", 31),
        ("macro_placeholder", 38),
    ]


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("http://h.com/script?key=UNIQUEID&c={subid}", 25),
        ("http://h.com/pb/XXXXXX-XXXX-XXXX?c={subid}", 17),
        ("http://NETWORK_ID.h.com/p?c={subid}", 8),
    ],
)
def test_a_placeholder_of_published_templates_is_found(text: str, column: int) -> None:
    assert [(p.code, p.column) for p in check(text).problems] == [("macro_placeholder", column)]


def test_what_differs_from_the_published_meaning_is_said() -> None:
    """Affise's affiliates' postbacks have no {clickid}; AppsFlyer's monetary is in dollars."""
    for dialect, theirs, said in (
        ("affise", "{clickid}", "{sub1} to {sub8}"),
        ("appsflyer", "(monetary)", "US dollars"),
    ):
        answer = translate_postback(DIALECTS[dialect], f"https://h.com/p?b={theirs}")
        assert answer.text is not None
        assert [problem.code for problem in answer.problems] == ["macro_adapted"]
        assert said in answer.problems[0].detail


def test_a_table_says_which_names_nobody_found() -> None:
    table = rows("a, b? -> payout\nsub#1-2? -> sub#")
    assert {name: row.confirmed for name, row in table.items()} == {"a": True, "b": False, "sub1": False, "sub2": False}
    assert all(dialect.checked for dialect in NAMED.values())


@pytest.mark.parametrize(
    ("text", "dialect", "confidence"),
    [
        ("https://h/?a={subid}&b={sub_id_3}", "keitaro", Confidence.SURE),
        ("https://h/?a={external_id}&b={payout}", "waypost", Confidence.UNSURE),
        ("https://h/?a={click_id|md5}", "waypost", Confidence.SURE),
        ("https://h/?a={if goal == 'x'}1{end}", "waypost", Confidence.SURE),
        ("https://h/?a={externalid}&b={var1}", "voluum", Confidence.SURE),
        ("https://h/?a={t1_md5}", "binom", Confidence.SURE),
        ("https://h/?a={aff_sub}&b={transaction_id}", "tune", Confidence.SURE),
        ("https://h/?a=${(name)!}", "branch", Confidence.SURE),
        ("https://h/?a={cl?Net}&b={EVTNAME}", "singular", Confidence.SURE),
        ("https://h/?a=(sha1-idfa)", "appsflyer", Confidence.SURE),
        ("https://h/?a={gps_adid}", "adjust", Confidence.SURE),
        ("https://h/?a=[[[subid]]]", "admitad", Confidence.LIKELY),
        ("https://h/?a=#s2#&b=#price#", "cake", Confidence.LIKELY),
        ("https://h/?a=__CALLBACK_PARAM__", "tiktok", Confidence.SURE),
        ("https://h/?a=[CLICK_ID]", "[x]", Confidence.SURE),
        ("https://h/?a=##CLICK_ID##", "##x##", Confidence.SURE),
        ("https://h/?a={{clickid}}", "{{x}}", Confidence.SURE),
        ("https://h/?a=@@CLICK-ID@@", "@@x@@", Confidence.SURE),
        ("https://h/?a=@clickid@", "@x@", Confidence.SURE),
        ("https://h/?a={$clickid}", "{$x}", Confidence.SURE),
    ],
)
def test_the_guess(text: str, dialect: str, confidence: Confidence) -> None:
    answer = guess(text)
    assert (answer.dialect, answer.confidence) == (dialect, confidence), answer
    assert answer.why


@pytest.mark.parametrize(
    ("text", "result", "code", "column"),
    [
        ("https://h.com/?a={external_id}&p={payout}", "ok", "", 0),
        ("https://h.com/?a={EXTERNAL_ID}", "error", "macro_unknown", 18),
        ("https://h.com/?a={extrenal_id}", "error", "macro_unknown", 18),
        ("https://h.com/?a={оffer}", "error", "macro_unknown", 18),
        ("https://h.com/?a={external_id", "error", "macro_syntax", 18),
        ("https://h.com/?a=external_id}", "error", "macro_syntax", 29),
        ("https://h.com/?a=[external_id&p={payout}", "error", "macro_syntax", 18),
        ("https://h.com/?a={a{b}c}", "error", "macro_syntax", 18),
        ("https://h.com/?a={}", "error", "macro_syntax", 18),
        ("https://{sub1}.h.com/?a={payout}", "error", "macro_in_host", 9),
        ("https://h.com:{sub1}/?a={payout}", "error", "macro_in_host", 15),
        ("h.com/?a={payout}", "error", "macro_not_url", 1),
        ("htps://h.com/?a={payout}", "error", "macro_not_url", 1),
        ("https//h.com/?a={payout}", "error", "macro_not_url", 1),
        ("ftp://h.com/?a={payout}", "error", "macro_not_url", 1),
        ("http://http://h.com/?a={payout}", "error", "macro_not_url", 1),
        ('"https://h.com/?a={payout}"', "error", "macro_not_url", 1),
        ("https://h.com/?a={payout} https://g.com/", "error", "macro_not_url", 27),
        ("  https://h.com/?a={EXTERNAL_ID}", "error", "macro_unknown", 20),
        ("https://h.com/?a={subid} , and more", "warning", "macro_not_url", 25),
        ("https://h.com/?a=%7Bexternal_id%7D&b={payout}", "warning", "macro_encoded", 18),
        ("https://h.com/?a=%5BCLICK_ID%5D&b={payout}", "warning", "macro_encoded", 18),
        ("https://h.com/?a=CLICKID&b={payout}", "warning", "macro_placeholder", 18),
        ("https://h.com/?currency=currency&b={payout}", "warning", "macro_placeholder", 25),
        ("https://h.com/?a=TS{a.b}&b={payout}", "warning", "macro_foreign", 18),
        ("https://h.com/?a=%%cid%%&b={payout}", "warning", "macro_foreign", 18),
        ("https://h.com/?a=|cid|&b={payout}", "warning", "macro_foreign", 18),
        ("https://h.com/?[zone]=1&b={payout}", "warning", "macro_foreign", 16),
        ("https://h.com/?a={external_id}&{sub1}=1", "ok", "", 0),
        ("https://h.com/{sub1}/x#f={payout}", "ok", "", 0),
        ("https://h.com/путь?имя={external_id}", "ok", "", 0),
        ("https://h.com/?utm[source]=a&b={payout}", "ok", "", 0),
        ("https://h.com/pixel", "warning", "macro_missing", 0),
        ("http://{domain}/{postback_key}/postback?subid=__cid__&payout=!!p!!", "warning", "macro_placeholder", 62),
        ("&click_id={subid}", "ok", "", 0),
        ("/{subid}", "ok", "", 0),
        ("&click_id={subdi}", "error", "macro_unknown", 11),
        ("http://{domain}/{postback_key}/postback?subid=##CLICK_ID##&payout=##SUM##", "ok", "", 0),
        ("http://{domain}/{postback_key}/postback?subid={a}&status=1&sale_status=1", "ok", "", 0),
        ("http://{domain}/{postback_key}/postback?subid={{a}}&payout={b}", "warning", "macro_foreign", 60),
        ("http://{domain}/{postback_key}/postback?subid={a}&payuot={b}", "warning", "macro_parameter", 51),
        ("http://{domain}/{postback_key}/postback?subid={a}&status={payout}", "warning", "macro_parameter", 58),
        ("http://{domain}/{postback_key}/postback?subid=ext_id&payout={b}", "warning", "macro_placeholder", 47),
        ("http://{domain}/{postback_key}/postback?subid={a}&subid={b}", "warning", "macro_parameter", 51),
        ("http://{domain}/{postback_key}/postback?payout={b}", "error", "macro_missing", 0),
        ("http://{domian}/{postback_key}/postback?subid={a}", "error", "macro_in_host", 8),
        ("http://{domain}/{postbackkey}/postback?subid={a}", "error", "macro_unknown", 17),
        ("http://{domain}/{postback_key}/postback?subid={a", "error", "macro_syntax", 47),
        ("https://{domain}/pb?cid={external_id}", "error", "macro_in_host", 9),
    ],
)
def test_what_a_check_says(text: str, result: str, code: str, column: int) -> None:
    checked = check(text)
    first = checked.foremost
    assert (checked.result, first.code if first else "", first.column if first else 0) == (result, code, column), (
        checked.problems
    )


def test_the_kinds() -> None:
    assert check("http://{domain}/{postback_key}/postback?subid=[x]").kind is Kind.CALL
    assert check("http://{tracker_domain}:8080/abc/postback?subid=[x]").kind is Kind.CALL
    assert check("https://h.com/postback?subid={external_id}").kind is Kind.POSTBACK
    assert check("//h.com/?a={payout}").kind is Kind.POSTBACK
    assert check("?a={subid}").kind is Kind.PIECE


def test_the_neighbours_language_takes_more_than_one_strange_name_to_leave() -> None:
    for text in ("https://h/?a={externalid}&b={payout}", "https://h/?a={clickid}", "https://h/?a={external_id}"):
        assert guess(text).dialect != "keitaro"
        assert guess(text, prefer="keitaro").dialect == "keitaro"
    for text in ("https://h/?a={aff_sub}&b={transaction_id}&c={payout}", "https://h/?a=[CLICK_ID]&b=[PAYOUT]"):
        assert guess(text, prefer="keitaro") == guess(text)
