"""Heads that are read line by line lead to what the parser makes of them, whatever their lines are."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from support.parsed import Recorder, Wire
from waypost.doors import known_lines
from waypost.doors.inbox import headers_of
from waypost.doors.known_heads import SHAPES_MAX, KnownHeads
from waypost.doors.known_lines import MARKERS_MAX

NAMES = [
    *(name for name in sorted(known_lines.WANTED)),
    b"User-Agent", b"HOST", b"X-Forwarded-For", b"Forwarded", b"Referer", b"Cookie", b"Accept", b"X-Other",
    b"Connection", b"Content-Length", b"Transfer-Encoding", b"Upgrade", b"Expect", b"Proxy-Connection", b"Keep-Alive",
    b"Trailer", b"Te", b"X-Also", b"", b" ", b"Bad Name", b"bad\x00", b"a!b", b"a|b", b"(x)", b"a\xe9",
]  # fmt: skip
VALUES = [
    b"go.example", b"keep-alive", b"Keep-Alive", b"close", b"upgrade", b"keep-alive, close", b"0", b"3", b"chunked",
    b"identity", b"h2c", b"100-continue", b"198.51.100.7", b"10.0.0.1, 198.51.100.7", b"", b" ", b"\t", b"a\tb",
    b"trailing \t", b"\x7f", b"caf\xc3\xa9", b"a\x00b", b"a\rb", b"a\nb", b"de-DE,de;q=0.9", b"x" * 600,
]  # fmt: skip
lines = st.one_of(
    st.tuples(
        st.sampled_from(NAMES), st.sampled_from([b": ", b":", b":  ", b" : ", b":\t", b""]), st.sampled_from(VALUES)
    ),
    st.tuples(st.sampled_from(NAMES), st.just(b": "), st.binary(max_size=6)),
    st.tuples(st.sampled_from([b"Host", b"User-Agent", b"X-Other"]), st.just(b": "), st.sampled_from(VALUES[:1])),
    st.tuples(st.sampled_from([b"", b" ", b"\t"]), st.just(b""), st.sampled_from(VALUES)),
).map(b"".join)
ends = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"\r\n\r\n", b"\r\r\n"])
heads = st.lists(st.tuples(lines, ends).map(b"".join), max_size=5).map(b"".join)
requests = st.tuples(
    st.sampled_from([b"GET"] * 8 + [b"HEAD", b"POST"]),
    st.sampled_from([b"/c/demo?sub1=a", b"/postback?token=x", b"/c/x?a=\x01"]),
    st.tuples(
        st.sampled_from([b"HTTP/1.1\r\n"] * 8 + [b"HTTP/1.0\r\n", b"HTTP/1.1\n", b"HTTP/1.1 \r\n"]),
        heads,
        st.sampled_from([b"\r\n"] * 8 + [b"\r\n\r\n", b"", b"\n", b"\r\nabc"]),
    ).map(b"".join),
).map(b" ".join)


def _run(parts: list[bytes], *, knows: bool) -> tuple[object, ...]:
    door = Recorder(knows=knows, proxies=["192.0.2.0/24"])
    door.wanted_headers = frozenset([b"x-also"])
    if knows:
        door.known_heads.forget(door.wanted_headers)
    connection, wire = door.connect()
    for part in parts:
        connection.data_received(part)
        door.turn()
    return door.requests, door.noted, wire.written, wire.is_over


@pytest.mark.slow
@settings(max_examples=400)
@given(st.lists(requests, min_size=1, max_size=4).flatmap(lambda all_: st.permutations(all_ + all_[:1])))
@example([b"GET /c/x HTTP/1.1\r\nHost: d\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 198.51.100.7\r\n\r\n"] * 2)
@example([b"GET /c/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"] * 2)
@example([b"GET /c/x HTTP/1.1\r\nHost: d\r\nHost: d\r\n\r\n"] * 2)
@example([b"GET /c/x HTTP/1.1\r\nHost: d\r\nUser-Agent: a\r\nUser-Agent: b\r\n\r\n"] * 2)
@example([b"GET /c/x HTTP/1.1\r\nHost: d\r\n folded\r\n\r\n"] * 2)
@example([b"GET /c/x HTTP/1.1\r\n\r\n"] * 2)
def test_known_lines_change_nothing(parts: list[bytes]) -> None:
    assert _run(list(parts), knows=True) == _run(list(parts), knows=False)


OWN = [b"X-Forwarded-For", b"x-forwarded-for", b"Referer", b"Forwarded", b"X-Real-IP", b"Waypost-Token", b"X-Also"]
frames = st.lists(
    st.sampled_from([b"Host: d", b"User-Agent: x", b"Accept: */*", b"X-Other: 1", *(name + b":" for name in OWN)]),
    min_size=1,
    max_size=5,
).filter(lambda found: b"Host: d" in found)
values = st.sampled_from([b" 198.51.100.7", b"198.51.100.8", b" 198.51.100.9 \t", *VALUES]) | st.binary(max_size=4)


@pytest.mark.slow
@settings(max_examples=400)
@given(
    st.lists(frames, min_size=1, max_size=2), st.lists(st.lists(values, min_size=5, max_size=5), min_size=2, max_size=6)
)
@example([[b"Host: d", b"Referer:"]], [[b" http://a/"] * 5, [b""] * 5, [b" "] * 5, [b" http://b/"] * 5])
@example([[b"Host: d", b"Referer:", b"Referer:"]], [[b" http://a/"] * 5] * 3)
@example([[b"Host: d", b"Referer:"]], [[b" a"] * 5, [b" b\r\nX-Forwarded-For: 198.51.100.7"] * 5, [b" c\nd"] * 5])
@example([[b"Host: d", b"X-Forwarded-For:", b"x-forwarded-for:"]], [[b" 198.51.100.7"] * 5] * 3)
@example([[b"Host: d", b"Waypost-Token:"], [b"Host: d"]], [[b" one"] * 5, [b" two"] * 5])
def test_heads_of_one_shape_are_each_read_as_they_stand(shapes: list[list[bytes]], own: list[list[bytes]]) -> None:
    parts = []
    for chosen in own:
        for shape in shapes:
            lines = [line + value if line.endswith(b":") else line for line, value in zip(shape, chosen, strict=False)]
            parts.append(b"GET /c/x HTTP/1.1\r\n" + b"\r\n".join(lines) + b"\r\n\r\n")
    assert _run(parts, knows=True) == _run(parts, knows=False)


def test_a_visitors_head_is_looked_up_whole_once_one_of_its_shape_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    known = KnownHeads(2048)
    request = b"GET /c/x?n=%d HTTP/1.1\r\nHost: d\r\nX-Forwarded-For: 198.51.100.%d\r\nReferer: http://%d/\r\n\r\n"
    for nth in range(2):  # the first time the lines are met, the second time the shape is kept
        assert known.find(request % (nth, nth, nth)) is not None
    monkeypatch.setattr(known, "_read", None)
    head = known.find(request % (7, 7, 7))
    assert head is not None and head[0] == b"/c/x?n=7" and not head[1].is_asking
    assert headers_of(head) == {b"host": b"d", b"x-forwarded-for": b"198.51.100.7", b"referer": b"http://7/"}
    assert not any(b"198.51" in shape or b"http" in shape for shape in known._shapes)


def test_requests_of_one_shape_that_are_looked_at_together_keep_their_own() -> None:
    known = KnownHeads(2048)
    request = b"GET /c/x HTTP/1.1\r\nHost: d\r\nX-Forwarded-For: 198.51.100.%d\r\n\r\n"
    found = [known.find(request % nth) for nth in range(9)]
    assert [one and headers_of(one)[b"x-forwarded-for"] for one in found] == [
        b"198.51.100.%d" % nth for nth in range(9)
    ]


def test_a_name_in_so_many_spellings_that_they_are_not_told_apart_is_part_of_no_shape() -> None:
    known = KnownHeads(2048)
    name = "Waypost-Token"
    for nth in range(2, len(name)):
        spelt = (name[:nth].upper() + name[nth:]).encode()
        for turn in range(3):
            found = known.find(b"GET /c/x HTTP/1.1\r\nHost: d\r\n%b: s3cret%d\r\n\r\n" % (spelt, turn))
            assert found is not None and headers_of(found)[b"waypost-token"] == b"s3cret%d" % turn
    assert len(known._markers) == MARKERS_MAX
    assert 0 < len(known._shapes) <= MARKERS_MAX and not known._heads
    assert not any(b"s3cret" in shape or b"s3cret" in repr(kept).encode() for shape, kept in known._shapes.items())


def test_a_secret_is_part_of_no_shape_and_shapes_are_bounded() -> None:
    known = KnownHeads(2048)
    request = b"GET /c/x HTTP/1.1\r\nHost: d\r\nUser-Agent: %d\r\nWaypost-Token: s3cret%d\r\n\r\n"
    for nth in range(SHAPES_MAX + 50):
        for _ in range(2):
            found = known.find(request % (nth, nth))
            assert found is not None and headers_of(found)[b"waypost-token"] == b"s3cret%d" % nth
            assert found[1].is_asking
    assert 0 < len(known._shapes) <= SHAPES_MAX
    assert not any(b"s3cret" in shape or b"s3cret" in repr(kept).encode() for shape, kept in known._shapes.items())
    known.forget(frozenset())
    assert not known._shapes and not known._markers


def test_a_visitors_head_passes_by_the_parser_whoever_it_is() -> None:
    door = Recorder(proxies=["192.0.2.0/24"])
    connection, _ = door.connect(Wire(("192.0.2.7", 40000)))
    for nth in range(3):
        connection.data_received(
            b"GET /c/demo?n=%d HTTP/1.1\r\nHost: d\r\nConnection: keep-alive\r\nUser-Agent: Browser %d\r\n"
            b"X-Forwarded-For: 198.51.100.%d\r\nCookie: a=%d\r\n\r\n" % (nth, nth, nth, nth)
        )
        door.turn()
    assert connection._parser is None
    assert [address for *_, address in door.requests] == ["198.51.100.0", "198.51.100.1", "198.51.100.2"]
    assert [headers[b"user-agent"] for _, _, headers, *_ in door.requests] == [b"Browser %d" % n for n in range(3)]


def test_what_is_a_visitors_own_or_secret_is_not_kept_and_the_memory_is_bounded() -> None:
    known = known_lines.KnownLines()
    for nth in range(known_lines.LINES_MAX + 100):
        read = known.read(
            b"\r\nHost: d\r\nUser-Agent: Browser %d\r\nX-Forwarded-For: 198.51.100.7\r\nReferer: http://a/\r\n"
            b"Cookie: a=1\r\n"
            b"Authorization: Bearer s3cret\r\nWaypost-Token: s3cret\r\nX-Line-%d: n0thing\r\n\r\n" % (nth, nth)
        )
        assert read is not None and read[0][b"authorization"] == b"Bearer s3cret"
    assert 0 < len(known._lines) <= known_lines.LINES_MAX
    assert 0 < len(known._names) <= known_lines.NAMES_MAX
    own = (b"s3cret", b"198.51", b"a=1", b"//a", b"n0thing")
    assert not any(text in line for line in known._lines for text in own)
    known.forget(frozenset([b"x-line-1"]))
    assert not known._lines
    assert known.read(b"\r\nHost: d\r\nX-Line-1: yes\r\n\r\n") == ({b"host": b"d", b"x-line-1": b"yes"}, False)
    assert list(known._lines) == [b"Host: d"]  # a wanted header that is not known to be the same for many is not kept
