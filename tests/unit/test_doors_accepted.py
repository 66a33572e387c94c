"""The answers to an accepted call, by kind and mode: each a sound HTTP message with the receipt in it."""

import json

import pytest

from waypost.doors.answers import ANSWER_KINDS, CLOSE, KEEP, KEEP_1_0, PIXEL, Answers

RECEIPT = 0x687EEAB99F400000
TEXT = "r687eeab99f400000"


def _parts(response: bytes) -> tuple[str, dict[str, str], bytes]:
    head, _, body = response.partition(b"\r\n\r\n")
    line, *rest = head.decode("ascii").split("\r\n")
    return line, dict(field.split(": ", 1) for field in rest), body


@pytest.mark.parametrize("mode", [KEEP, CLOSE, KEEP_1_0])
@pytest.mark.parametrize("kind", ANSWER_KINDS)
def test_an_accepted_answer_is_framed_and_carries_the_receipt(kind: str, mode: int) -> None:
    line, headers, body = _parts(Answers(1, 1_800_000_000.0).accepted[kind][mode] % RECEIPT)
    assert line == ("HTTP/1.1 204 No Content" if kind == "empty" else "HTTP/1.1 200 OK")
    assert headers["Date"] == "Fri, 15 Jan 2027 08:00:00 GMT"
    assert headers.get("Connection") == {KEEP: None, CLOSE: "close", KEEP_1_0: "keep-alive"}[mode]
    if kind == "json":
        assert json.loads(body) == {"status": 1, "receipt": TEXT}
    else:
        assert headers["Waypost-Receipt"] == TEXT
        assert body == {"ok": b"OK", "gif": PIXEL, "empty": b""}[kind]
    if kind == "empty":
        assert "Content-Length" not in headers  # RFC 9110, 8.6: never with 204
    else:
        assert int(headers["Content-Length"]) == len(body)
    media = {"json": "application/json", "ok": "text/plain", "gif": "image/gif", "empty": None}[kind]
    assert headers.get("Content-Type") == media


def test_the_pixel_is_a_gif_of_one_pixel() -> None:
    assert PIXEL[:6] == b"GIF89a"
    assert (int.from_bytes(PIXEL[6:8], "little"), int.from_bytes(PIXEL[8:10], "little")) == (1, 1)
    assert PIXEL[-1:] == b";"
    assert len(PIXEL) == 43
