"""The way past the parser and the way through it lead to the same requests, whatever bytes come."""

from hypothesis import example, given
from hypothesis import strategies as st

from support.parsed import Recorder

HEADS = [
    b"HTTP/1.1\r\nHost: d\r\n\r\n",
    b"HTTP/1.1\r\nHost: d\r\nUser-Agent: curl/8\r\nWaypost-Token: s3cret\r\n\r\n",
    b"HTTP/1.1\r\nHost: d\r\n\r\n",
    b"HTTP/1.1\r\nHost: d\r\n\r\n\r\n",
    b"HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n",
    b"HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    b"HTTP/1.1\r\nHost: d\r\nExpect: 100-continue\r\n\r\n",
    b"HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1\r\nHost: d\r\nContent-Length: 3\r\n\r\na=1",
    b"HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"HTTP/1.0\r\n\r\n",
    b"HTTP/1.1\r\nHost: d\r\n",
    b"HTTP/1.1\nHost: d\n\n",
    b" HTTP/1.1\r\nHost: d\r\n\r\n",
    b"/x HTTP/1.1\r\nHost: d\r\n\r\n",
    b"HTTP/1.1\r\nHost: d\r\n\r\nGET /second HTTP/1.1\r\nHost: d\r\n\r\n",
    b"HTTP/2.0\r\nHost: d\r\n\r\n",
    b"HTTP/1.1\r\n\r\n",
    b"HTTP/1.1\r\nHost: d\r\nHost: e\r\n\r\n",
    b"HTTP/1.1\r\nHost: d/e\r\n\r\n",
    b"HTTP/1.1\r\nHost: d\r\nX~Odd: 1\r\n\r\n",
    b"HTTP/1.1\r\nHost:\r\n\r\n",
    b"HTTP/1.1\r\nHost: d\r\nBad Header\r\n\r\n",
]
METHODS = [b"GET", b"GET", b"GET", b"HEAD", b"POST", b"get", b"\r\nGET", b"CONNECT", b"GOT", b""]
targets = st.one_of(
    st.sampled_from(
        [b"/postback?token=s3cret&a=1", b"/c/demo", b"/", b"http://h/c/x", b"*", b"h:1", b"", b"/a#b", b"/ b"]
    ),
    st.binary(max_size=12).map(lambda tail: b"/c/x?" + tail),
    st.integers(0, 255).map(lambda byte: b"/c/x?a=" + bytes([byte]) + b"&b=2"),
    st.text("abc/?&=%.-_~+:,;@!$'()*|{}[]^\"<>\\`#\t\x7f\x80", max_size=20).map(
        lambda text: b"/" + text.encode("latin-1")
    ),
)
requests = st.tuples(st.sampled_from(METHODS), targets, st.sampled_from(HEADS)).map(b" ".join)
pieces = st.lists(st.one_of(requests, requests, requests, st.binary(max_size=20)), min_size=1, max_size=8)


def _run(parts: list[bytes], *, knows: bool) -> tuple[list[tuple[object, ...]], list[str], bytes, bool]:
    door = Recorder(knows=knows)
    for head in HEADS if knows else ():  # all that can be known is known before
        connection, _ = door.connect()
        connection.data_received(b"GET /first " + head)
        door.turn()
    door.requests.clear()
    door.noted.clear()
    connection, wire = door.connect()
    for part in parts:
        connection.data_received(part)
        door.turn()
    return door.requests, door.noted, wire.written, wire.is_over


@given(pieces)
@example([b"GET /a HTTP/1.1\r\nHost: d\r\n\r\n"] * 3)
@example([b"GET ", b"/a HTTP/1.1\r\nHost: d\r\n\r\n"])
@example([b"GET /c/demo /x HTTP/1.1\r\nHost: d\r\n\r\n"])
@example([b"GET  /x HTTP/1.1\r\nHost: d\r\n\r\n"])
def test_known_heads_change_nothing(parts: list[bytes]) -> None:
    assert _run(parts, knows=True) == _run(parts, knows=False)


def test_a_head_is_parsed_once_for_all_connections() -> None:
    door = Recorder()
    for nth in range(3):
        connection, _ = door.connect()
        connection.data_received(b"GET /postback?n=%d HTTP/1.1\r\nHost: d\r\nAccept:\r\n\r\n" % nth)
        door.turn()
        assert (connection._parser is None) == (nth > 0)
    assert [url for _, url, *_ in door.requests] == [b"/postback?n=0", b"/postback?n=1", b"/postback?n=2"]


def test_a_request_that_caused_no_frame_leaves_nothing_behind() -> None:
    door = Recorder()
    door.handle = lambda connection: connection.respond(b"no")  # type: ignore[method-assign]
    connection, wire = door.connect()
    connection.data_received(b"GET /nothing HTTP/1.1\r\nHost: d\r\nAccept:\r\n\r\n")
    door.turn()
    assert wire.written == b"no"
    assert door.known_heads.find(b"GET /nothing HTTP/1.1\r\nHost: d\r\nAccept:\r\n\r\n") is None


def test_the_memo_is_bounded_in_entries_and_bytes() -> None:
    door = Recorder()
    connection, _ = door.connect()
    for nth in range(2000):
        connection.data_received(b"GET /a HTTP/1.1\r\nHost: d\r\nAccept: \r\nUser-Agent: %d\r\n\r\n" % nth)
    connection.data_received(b"GET /a HTTP/1.1\r\nHost: d\r\nUser-Agent: %s\r\n\r\n" % (b"x" * 3000))
    door.turn()
    assert len(door.requests) == 2001
    heads = door.known_heads._heads
    assert 0 < len(heads) <= 512
    assert max(len(rest) for rest in heads) < 2048
    door.known_heads.close()
    assert not heads
    connection.data_received(b"GET /a HTTP/1.1\r\nHost: d\r\n\r\n")
    door.turn()
    assert not heads


def test_pieces_are_handled_in_their_order_at_the_end_of_the_turn() -> None:
    door = Recorder()
    one, _ = door.connect()
    two, wire = door.connect()
    one.data_received(b"GET /1 HTTP/1.1\r\nHost: d\r\n\r\nGET /2 HT")
    two.data_received(b"GET /3 HTTP/1.1\r\nHost: d\r\n\r\n")
    one.data_received(b"TP/1.1\r\nHost: d\r\n\r\n")
    assert door.requests == []
    assert two.eof_received()  # what was sent before the end is handled before it
    assert [url for _, url, *_ in door.requests] == [b"/1", b"/3", b"/2"]
    door.turn()
    assert wire.written == b"answer\r\n"
    assert wire.is_over


def test_a_large_piece_is_not_kept() -> None:
    door = Recorder()
    one, _ = door.connect()
    one.data_received(b"POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 9000\r\n\r\n")
    one.data_received(b"x" * 9000)
    assert [len(request[3]) for request in door.requests] == [9000]


def test_what_stands_behind_a_value_is_none_of_it() -> None:
    for knows in (True, False):
        door = Recorder(knows=knows)
        connection, _ = door.connect()
        connection.data_received(
            b"GET /a HTTP/1.1\r\nHost: d\r\nOrigin: https://a.example \t\r\nUser-Agent: x y \r\n\r\n"
        )
        door.turn()
        assert door.requests[0][2] == {
            b"host": b"d",
            b"origin": b"https://a.example",
            b"user-agent": b"x y",
        }


def test_a_head_with_a_header_that_nobody_knows_is_not_kept() -> None:
    door = Recorder()
    for _ in range(2):
        connection, _ = door.connect()
        connection.data_received(b"GET /a HTTP/1.1\r\nHost: d\r\nAccept:\r\nX-Api-Key: s3cret\r\n\r\n")
        door.turn()
        assert connection._parser is not None
    assert len(door.requests) == 2 and not door.known_heads._heads
