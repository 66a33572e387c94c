"""The table of click cases: a wrong one is told with its line, and what is compared can differ."""

from pathlib import Path

import pytest

from support.click_cases import Answer, CaseError, fault, fault_of_trace, read_cases

RIGHT = """
- name: a click
  catalog: shop
  request: GET /c/demo
  expect:
    status: 302
    location: http://shop.example/?a={click_id}&b={click_id}
"""
ID, OTHER = "a2jvqcrzmjNOuBBX3bizaqG", "b2jvqcrzmjNOuBBX3bizaqG"


def written(folder: Path, text: str) -> Path:
    file = folder / "cases.yaml"
    file.write_text(text, "utf-8")
    return file


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("status: 302", "statsu: 302", "cases.yaml:6: `expect` has no `statsu`; did you mean `status`?"),
        ("request: GET /c/demo", "request: /c/demo", "cases.yaml:4: a request is a method and a target"),
        ("catalog: shop", "catalog: shpo", "cases.yaml:3: there is no catalog `shpo`; there are shop"),
        ("status: 302", "status: '302'", "cases.yaml:6: `status` is a number"),
        ("  catalog: shop\n", "", "cases.yaml:2: a case needs `catalog:`"),
        ("    status: 302\n", "", "cases.yaml:6: `expect` needs `status:`"),
        ("status: 302", "status: 302\n    status: 200", "cases.yaml:7: `status` stands here twice"),
        ("status: 302", "status: 302\n    trace: {skiped: []}", "cases.yaml:7: a trace has no `skiped`; did you mean"),
        ("status: 302", "status: 302\n    shares: {x: most}", "cases.yaml:6: a share is per cent"),
        ("  expect:", "  times: 2\n  expect:\n    trace: {}", ""),
        ("  expect:", "  times: 9999\n  expect:", "cases.yaml:5: `times` goes from 1 to 500"),
        ("- name: a click", "- name: a click\n  nmae: b", "cases.yaml:3: a case has no `nmae`; did you mean `name`?"),
        ("\n- name: a click\n ", "\n ", "cases.yaml:1: a table is a list of cases"),
        ("status: 302", "status: [302", "cases.yaml:7: this is no YAML"),
    ],
)
def test_a_wrong_table_is_told_with_its_line(tmp_path: Path, before: str, after: str, message: str) -> None:
    file = written(tmp_path, RIGHT.replace(before, after, 1))
    if not message:
        read_cases(file, frozenset({"shop"}))
        return
    with pytest.raises(CaseError) as told:
        read_cases(file, frozenset({"shop"}))
    assert str(told.value).startswith(message)


def test_two_cases_of_one_name(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match=r"cases\.yaml:9: the case of line 2 has this name already"):
        read_cases(written(tmp_path, RIGHT + RIGHT), frozenset({"shop"}))


def test_an_answer_is_compared_in_all_that_is_expected(tmp_path: Path) -> None:
    (case,) = read_cases(written(tmp_path, RIGHT), frozenset({"shop"}))
    right = Answer(302, {"location": f"http://shop.example/?a={ID}&b={ID}"}, "")
    assert fault(case, [right]) == ""
    assert "cases.yaml:2 (a click): the location is" in fault(
        case, [right._replace(headers={"location": f"http://shop.example/?a={ID}&b={OTHER}"})]
    )
    assert "the status is" in fault(case, [right, right._replace(status=307)])
    wanted = case._replace(expect=case.expect._replace(headers={"X-A": "1"}, body="x"))
    assert "the header X-A is 'absent'" in fault(wanted, [right])
    assert "the body is ''" in fault(wanted, [right._replace(headers={**right.headers, "x-a": "1"})])
    shared = case._replace(expect=case.expect._replace(shares={"http://shop.example/": "0-40"}))
    assert "the share of http://shop.example/ is '100 %'" in fault(shared, [right])
    alike = case._replace(expect=case.expect._replace(location=None, same=True))
    assert "the places is" in fault(alike, [right, right._replace(headers={"location": "http://b.example/"})])


def test_a_trace_is_compared_in_all_that_is_expected(tmp_path: Path) -> None:
    text = RIGHT + "    trace: {offer: a, skipped: [b country], visitor: {country: DE, os: null}, marks: []}\n"
    (case,) = read_cases(written(tmp_path, text), frozenset({"shop"}))
    skipped = [{"offer": "b", "code": "country"}]
    click = {"offer": "a", "skipped": skipped, "visitor": {"country": "DE", "city": "x"}, "marks": []}
    assert fault_of_trace(case, click) == ""
    assert "the trace's offer is 'b'" in fault_of_trace(case, click | {"offer": "b"})
    assert "the trace's skipped is []" in fault_of_trace(case, click | {"skipped": []})
    assert "the trace's visitor os is 'iOS'" in fault_of_trace(
        case, click | {"visitor": {"country": "DE", "os": "iOS"}}
    )
    assert "the trace's marks is ['prefetch']" in fault_of_trace(case, click | {"marks": ["prefetch"]})
