"""Whatever bytes come over one connection, in whatever pieces: a door answers as it should.

An input: a byte of circumstances (`PROXY` …), a byte that says where the stream is cut, and the stream. Each input runs
twice: cut up, by the short ways; and whole, by the parser and the thorough desks. Both must come to the same.
"""

from collections.abc import Iterator

from fuzz.fuzzed_door import CODEC, NOW_MS, TOKENS, FuzzedDoor, FuzzWire, check_answers, must, opened_shelf
from waypost.doors.proxies import PREFACE_BYTES_MAX, BadPreface, read_preface
from waypost.doors.targets import encoded_target

NAMED, PREFACE, SLOW, SMALL, ENDS, LEAVES, DRAINS, FAILS = (1 << bit for bit in range(8))
STREAM_BYTES_MAX = 4096
HEADS = [
    b"GET /postback?n=1 HTTP/1.1\r\nHost: d\r\n\r\n",
    b"GET /c/demo HTTP/1.1\r\nHost: d\r\nUser-Agent: x\r\n\r\n",
    b"GET /c/demo HTTP/1.1\r\nHost: d\r\n\r\n",
    b"GET /c/demo HTTP/1.1\r\nHost: d\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n",
    b"GET /postback HTTP/1.1\r\nHost: d\r\nWaypost-Token: " + TOKENS[0].encode() + b"\r\n\r\n",
]
_V2 = b"\r\n\r\n\x00\r\nQUIT\n"


class Connections:
    """The check; made once a process."""

    def __init__(self) -> None:
        shelf, thorough = opened_shelf(), opened_shelf()
        self._doors = {
            (knows, small): FuzzedDoor(knows=knows, shelf=shelf if knows else thorough, small=small)
            for knows in (True, False)
            for small in (False, True)
        }
        for door in self._doors.values():
            door.teach(HEADS)

    def __call__(self, data: bytes) -> None:
        if len(data) < 3 or len(data) > STREAM_BYTES_MAX:
            return
        how, cut, stream = data[0], data[1], data[2:]
        peer = "198.51.100.7" if how & NAMED else "192.0.2.7"
        address = ""
        if how & PREFACE:
            begun = prefaced(stream)
            if begun is None:
                return
            size, address = begun
            stream = stream[size:]
        door, thorough = (self._doors[knows, bool(how & SMALL)] for knows in (True, False))
        wire = converse(door, list(pieces(stream, cut)), how, cut, peer, address)
        if how & (LEAVES | DRAINS):
            return  # what is answered hangs on when it came
        other = converse(thorough, [stream], how & ~SLOW, 0, peer, address)
        if "headers_too_large" in door.noted + thorough.noted:
            return  # a head is measured by pieces until it ends, and by lines then
        if encoded_target(stream) is not None or (b"\n" in stream and any(sign > 127 for sign in stream)):
            return  # a target that its sender did not encode is put right where its line comes in one piece
        must(door.requests == thorough.requests, "pieces change no request", door.requests, thorough.requests)
        if door.noted != thorough.noted:  # of two faults of a request the one counts that is seen first
            must(door.noted and thorough.noted, "pieces change no refusal", door.noted, thorough.noted)
            return
        if how & FAILS:
            return  # the ids of clicks that are not recorded are made when the disk has failed
        frames = door.commit.frames, thorough.commit.frames
        must(frames[0] == frames[1], "both ways leave the same frames", *frames)
        one, two = ([data for _, data in done.writes] for done in (wire, other))
        must(one == two, "both ways answer the same", one, two)


def converse(door: FuzzedDoor, parts: list[bytes], how: int, cut: int, peer: str, address: str) -> FuzzWire:
    """One connection from its beginning to its end, and what must hold of it."""
    door.begin()
    door.commit.error = "journal_unavailable" if how & FAILS else ""
    wire = FuzzWire(door, peer)
    connection = door.connect(wire, address)
    for nth, part in enumerate(parts):
        if wire.is_ended:
            break
        if how & DRAINS and nth == len(parts) // 2:
            door.is_draining = True
            door.known_heads.close()
        connection.data_received(part)
        if not (how & SLOW) or (nth + cut) % 3 == 0 or wire.is_paused:
            door.turn(commits=not how & SLOW or wire.is_paused)
    unfinished = bool(how & LEAVES)
    if unfinished:
        connection.connection_lost(None)
    elif how & ENDS and not wire.is_ended:
        connection.eof_received()
    door.turn()
    check_answers(door, wire, unfinished=unfinished)
    must(connection.pending == 0, "no answer waits for ever", connection.pending)
    if how & DRAINS and door.handled and not wire.is_over and not connection.in_request and not unfinished:
        connection.close_politely()
        must(wire.is_over, "a drain ends a connection")
    if not unfinished:
        connection.connection_lost(None)
    must(not door.connections, "a connection that ended is forgotten")
    return wire


def pieces(stream: bytes, cut: int) -> Iterator[bytes]:
    """The stream cut up: behind each blank line, in two, or at places that the number `cut` leads to."""
    kind, seed = cut & 3, cut >> 2
    if kind == 0:
        at = 0
        while at < len(stream):
            end = stream.find(b"\r\n\r\n", at)
            end = len(stream) if end < 0 else end + 4
            yield stream[at:end]
            at = end
    elif kind == 1:
        middle = len(stream) * (seed + 1) // 65
        yield from (part for part in (stream[:middle], stream[middle:]) if part)
    else:
        largest = 1 + (seed if kind == 2 else seed * 8)
        at = 0
        while at < len(stream):
            seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
            size = 1 + (seed >> 8) % largest
            yield stream[at : at + size]
            at += size


def prefaced(stream: bytes) -> tuple[int, str] | None:
    """Size and address of the preface, as the acceptor finds it; None if there is none."""
    found: tuple[int, str] | None = None
    for end in (1, 5, 6, 12, 16, 28, 60, 108, len(stream)):
        seen = stream[: min(end, PREFACE_BYTES_MAX)]
        if not seen:
            return None
        try:
            now = read_preface(seen)
        except BadPreface:
            must(found is None, "a preface that was whole stays so", stream)
            return None
        must(found is None or now == found, "what follows a preface does not change it", stream)
        found = now
    if found is not None:
        must(0 < found[0] <= len(stream), "a preface lies within what was read", stream)
    return found


def seeds() -> Iterator[bytes]:
    """Requests of every kind, alone and behind each other, in several circumstances."""
    click_id = CODEC.encode(NOW_MS, 3, 0, 1, 0).encode()
    gets = [
        b"/postback?click_id=" + click_id + b"&goal=order&token=" + TOKENS[0].encode(),
        b"/postback?token=nobodys&click_id=1", b"/" + TOKENS[0].encode() + b"/postback?return=OK",
        b"/postback?token=" + TOKENS[1].encode(), b"/postback?advertiser=signer&x=1",
        b"/postback?token=" + TOKENS[3].encode() + b"&click_id=" + click_id, b"/of-the-offer/postback",
        b"/c/demo?sub1=a%20b&sub2=y&keyword=%C3%A9&cost=1", b"/c/demo?mode=json&ip=203.0.113.77", b"/c/app?sub4=yes",
        b"/c?offer=shop&partner=geozo", b"/aff_c?offer_id=shop&aff_id=geozo&aff_sub=x", b"/demo?sub_id_1=x", b"/c/none",
        b"/c/demo?mode=s2s&token=p4rtner-token&ip=203.0.113.5&ua=curl", b"/i/demo?mode=json", b"/i/demo", b"/",
        b"/b/click/demo?mode=gif", b"/b/goal?mode=gif&goal=order&click_id=" + click_id, b"/healthz", b"/waypost.js",
        b"/.well-known/apple-app-site-association", b"/robots.txt", b"/postbacks", b"/click.php?key=demo", b"/c/mixed",
        b"/click.php?cnv_id=1&token=x", b"http://go.example.com/c/quiet?sub1=1", b"*", b"/c/quiet#x", b"/aff_lsr?a=1",
    ]  # fmt: skip
    heads = [
        b"Host: d\r\n", b"", b"Host: go.example.com\r\nAccept-Language: de-DE\r\n", b"Host: closed.example.com\r\n",
        b"Origin: https://shop.example\r\nReferer: https://shop.example/x\r\n",
        b"X-Forwarded-For: 203.0.113.9, 198.51.100.3\r\n",
        b"User-Agent: Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X)\r\nSec-Purpose: prefetch\r\n",
        b"Connection: close\r\n", b"Connection: Upgrade\r\nUpgrade: h2c\r\n", b"Waypost-Token: 0ther-token\r\n",
        b"Waypost-Test: " + b"0f" * 32 + b"\r\n", b"Authorization: Bearer everywhere-token\r\nIf-None-Match: *\r\n",
        b"X-Signature: abc\r\nX-Timestamp: 1790000000\r\n", b"Expect: 100-continue\r\n",
    ]  # fmt: skip
    heads = [head if head.startswith(b"Host:") else b"Host: d\r\n" + head for head in heads]
    heads += [b"", b"Host: d\r\nHost: go.example.com\r\n", b"Host: d/e\r\n"]
    requests = [b"GET %b HTTP/1.1\r\n%b\r\n" % (get, heads[nth % len(heads)]) for nth, get in enumerate(gets)]
    requests += [b"GET /c/demo HTTP/1.1\r\n%b\r\n" % head for head in heads]
    requests += [b"GET http://go.example.com?x=/c/demo HTTP/1.1\r\nHost: d\r\n\r\n"]
    form = b"Content-Type: application/x-www-form-urlencoded\r\n"
    body = b"token=" + TOKENS[0].encode() + b"&click_id=" + click_id
    others = [
        b"POST /postback HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (form, len(body), body),
        b"POST /postback HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"token\":\"a\"}",
        b"POST /postback HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\n5\r\ntoken\r\n0\r\nHost: x\r\n\r\n" % form,
        b"POST /c/demo HTTP/1.1\r\n%bContent-Length: 31\r\n\r\ntoken=p4rtner-token&ip=192.0.2.1" % form,
        b"POST /b/click/demo HTTP/1.1\r\nOrigin: https://shop.example\r\n%bContent-Length: 6\r\n\r\nsub1=x" % form,
        b"OPTIONS /b/goal HTTP/1.1\r\nOrigin: https://shop.example\r\n\r\n", b"HEAD /c/demo HTTP/1.1\r\n\r\n",
        b"HEAD /postback HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", b"PUT / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"CONNECT h:1 HTTP/1.1\r\n\r\n", b"GET /c/demo HTTP/1.1\r\nBad Header\r\n\r\n", b"\x16\x03\x01\x02\x00\x01",
        b"POST /postbacks HTTP/1.1\r\nContent-Length: 11\r\n\r\n{\"x\":\"\xff\"}\n\n",
        b"POST /postbacks HTTP/1.1\r\nContent-Length: 36\r\n\r\n{\"token\":\"a\",\"x\":\"\xc3\xa9\"}\n{\"click_id\":1}",
        b"POST /s3cret-of-acme/postbacks HTTP/1.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: 16\r\n\r\n[{\"a\":1},2,null]",
        b"POST /postbacks?token=0ther-token HTTP/1.1\r\nContent-Length: 26\r\n\r\n{\"idempotency_key\":\"k\"}\n{}",
        b"POST /postback HTTP/1.1\r\nIdempotency-Key: k\r\nContent-Length: 22\r\n\r\ntoken=s3cret-of-acme&a",
        b"POST /postback HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\na=1",
    ]  # fmt: skip
    requests += [other.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\nHost: d\r\n") for other in others]
    for nth, request in enumerate(requests):
        yield bytes((nth % 256, nth * 37 % 256)) + request
        yield bytes((0, 0)) + request + requests[(nth * 7 + 3) % len(requests)] + request
        yield bytes((SLOW, nth * 11 % 256)) + requests[(nth * 5) % len(requests)] + request
    for preface in (
        b"PROXY TCP4 203.0.113.9 192.0.2.1 1234 80\r\n", b"PROXY UNKNOWN\r\n", _V2 + b"\x20\x00\x00\x00",
        _V2 + b"\x21\x11\x00\x0c" + bytes(range(12)), _V2 + b"\x21\x21\x00\x24" + bytes(36),
        b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n",
    ):  # fmt: skip
        yield bytes((PREFACE | NAMED, 1)) + preface + requests[0]
