"""Any text in any dialect: nothing crashes, what is translated compiles, and what was understood comes back."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waypost.errors import WaypostError
from waypost.macros.dialects import DIALECTS, NAMED
from waypost.macros.dialects.brackets import FORMS, find_tokens, masked
from waypost.macros.dialects.calls import export_call, translate_call
from waypost.macros.dialects.export import export
from waypost.macros.dialects.guess import guess
from waypost.macros.dialects.postbacks import translate_postback
from waypost.macros.lint import check
from waypost.macros.names import IN_POSTBACK
from waypost.macros.template import Position, compile_template

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40)
SIGNS = "{}[]<>()#%$_|:=&?/~*@! ,'\\x1"
PIECES = st.lists(
    st.one_of(
        st.sampled_from(["https://h.com/?a=", "http://{domain}/{postback_key}/postback?subid=", "&b=", "{subid}",
                         "{status: lead=1}", "{{x}}", "[[[subid]]]", "##CLICK_ID##", "#s2#", "(sha1-idfa)",
                         "${(name)!}",
                         "<#if attributed>", "<#else>", "</#if>", "<@sha1>${(id)!}</@sha1>", "{cl?Net}",
                         "{NETWORK=A'b}", "REPLACE", "%7Bsubid%7D", "__CID__", "{if a == 'b'}", "{end}", "{?sub1}"]),
        st.text(st.sampled_from(SIGNS), max_size=8),
        ANY_TEXT,
    ),
    max_size=10,
).map("".join)  # fmt: skip


@settings(max_examples=400)
@given(PIECES, st.sampled_from(["", "waypost", *DIALECTS]), st.sampled_from([Position.URL, Position.JSON]))
def test_nothing_crashes_and_what_is_translated_compiles(text: str, dialect: str, position: Position) -> None:
    checked = check(text, dialect=dialect, position=position)
    assert (checked.translation.text is None) == bool(checked.translation.errors)
    assert all(0 <= problem.column <= len(text) + 1 and problem.hint for problem in checked.problems)
    if checked.kind == "postback" and checked.translation.text is not None:
        compile_template(checked.translation.text, position=position, names=IN_POSTBACK)


@settings(max_examples=200)
@given(PIECES, st.sampled_from(sorted(DIALECTS)))
def test_nothing_crashes_an_export(text: str, dialect: str) -> None:
    answer = export(DIALECTS[dialect], text)
    assert (answer.text is None) == bool(answer.errors)
    translate_call(text)
    export_call(text)


@given(PIECES)
def test_tokens_do_not_overlap_and_are_of_the_text(text: str) -> None:
    at = 0
    for token in find_tokens(text):
        assert token.start >= at and text[token.start : token.end] == token.text
        at = token.end
    assert len(masked(text, find_tokens(text))) == len(text)


def first_names(dialect: str) -> list[str]:
    """Of each meaning the name that an export writes, by the table alone."""
    seen: dict[str, str] = {}
    rows = sorted(NAMED[dialect].rows.items(), key=lambda item: bool(item[1].note))
    for name, row in rows:
        if row.ours:
            seen.setdefault(row.ours, name)
    return list(seen.values())


@pytest.mark.parametrize("name", NAMED)
def test_each_name_comes_back(name: str) -> None:
    """Import, then export: the same text where the name is the first of its meaning, else one that means the same."""
    dialect = NAMED[name]
    exact = set(first_names(name))
    for theirs, row in dialect.rows.items():
        if not row.ours:
            continue
        text = f"https://h.com/p?a={dialect.write_name(theirs)}&b=1"
        ours = translate_postback(dialect, text)
        assert ours.text is not None, (theirs, ours.problems)
        back = export(dialect, ours.text)
        assert back.text is not None, (theirs, back.problems)
        if theirs in exact:
            assert back.text == text
        assert translate_postback(dialect, back.text).text == ours.text


@settings(max_examples=300)
@given(st.data(), st.sampled_from(sorted(NAMED)))
def test_import_then_export_is_the_identity_on_what_was_understood(data: st.DataObject, name: str) -> None:
    dialect = NAMED[name]
    macros = [dialect.write_name(theirs) for theirs in first_names(name)]
    special = {
        "keitaro": ["{status:lead=0 sale=1}", "{date:U}", "{date:Y-m-d H:i:s,Europe/Kyiv}", "{bundle}"],
        "voluum": ["{var:zone}"],
        "branch": ["<#if attributed>1<#else>0</#if>", '<#if (name)! == "purchase" && existing_user>x</#if>'],
        "singular": ["{NETWORK=Facebook Ads}", "{NETWORK=It's}"],
    }.get(name, [])
    literals = st.text(st.sampled_from("abcXYZ019.-_~"), min_size=1, max_size=6)
    values = data.draw(st.lists(st.one_of(st.sampled_from(macros + special), literals), min_size=1, max_size=6))
    text = "https://h.com/p?" + "&".join(f"k{nth}={value}" for nth, value in enumerate(values))
    ours = translate_postback(dialect, text)
    if ours.text is None or any(problem.code == "macro_placeholder" for problem in ours.problems):
        return  # a literal that looks like a placeholder
    back = export(dialect, ours.text)
    assert back.text is not None
    assert translate_postback(dialect, back.text).text == ours.text
    if "{date:U}" not in values or name != "keitaro":
        assert back.text == text


@given(st.lists(st.tuples(st.sampled_from(["subid", "tid", "payout", "lead_status", "from", "zone"]),
                          st.sampled_from(["##A##", "{a}", "[x]", "1", ""])), min_size=1, max_size=6))  # fmt: skip
def test_a_call_comes_back(pairs: list[tuple[str, str]]) -> None:
    text = "http://{domain}/{postback_key}/postback?" + "&".join(f"{key}={value}" for key, value in pairs)
    answer = translate_call(text)
    assert export_call(answer.draft) == text


@pytest.mark.parametrize("unit", [
    "{", "[", "[[[", "<", "<#if ", "<@a>", "${", "${(", "##", "##a", "#a", "%a", "%%", "__A", "__A_", "(", "=(a", "~(",
    "*|",
    "=$a", "%7B", "%7Ba", "{a}", "{status:a=b ", "{var:", "&k=v", "REPLACE/", "{zzzzz}", "{sub_id}", "|", " ", "a=a&",
    "\\'",
])  # fmt: skip
def test_time_is_linear_in_the_text(unit: str) -> None:
    """Sixteen times the text takes nowhere near 16² = 256 times the time."""

    def seconds(count: int) -> float:
        text = "https://h.com/?a=" + unit * count
        call = "http://{domain}/{postback_key}/postback?subid=" + unit * count
        best = 1e9
        for _ in range(3):
            start = time.perf_counter()
            check(text[:8192])
            check(text[:8192], dialect="branch")
            check(call[:8192])
            export(DIALECTS["singular"], text[:8192])
            guess(text)
            best = min(best, time.perf_counter() - start)
        return best

    small, large = seconds(200 // len(unit)), seconds(3200 // len(unit))
    assert large < max(small, 0.001) * 120


def test_every_form_is_found() -> None:
    for form in FORMS:
        if form.picture in ("<#x>", "<@x>"):
            continue
        name = "name" if form.picture == "__x__" else "NAME"
        text = f"https://h.com/?a={form.picture.replace('x', name).replace('X', name)}&b=1"
        assert [(token.form, token.name) for token in find_tokens(text)] == [(form.picture, name)], form


@given(ANY_TEXT)
def test_a_guess_is_always_one_of_the_languages(text: str) -> None:
    try:
        assert guess(text).dialect in {"waypost", *DIALECTS}
    except WaypostError as error:  # pragma: no cover
        raise AssertionError(text) from error
