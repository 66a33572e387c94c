"""Ids: how clicks, receipts, conversions and postbacks are named.

Owns: the click id's layout and cipher, and the text forms of the other ids. Reads and writes nothing
(the key ring's file is an engine's). Never puts personal data into an id.

Click id, 128 bits from the top: ms 42, door 12, sequence 14, route 26, flags 2, check 32; encrypted as one
AES-128 block under a key of the ring; text is the key's character and 22 base62 digits of the block.
The check is a constant: a forged block deciphers to it with a chance of 2^-32.

Receipts are 63-bit numbers that grow with time: ms 41, door 12, sequence 10; text is `r` and 16 hex digits. From 2004
to 2039 their top bit is set. A *keyed* receipt is made from its sender's idempotency key instead: the top bit is clear,
and the other 62 are a keyed hash, so the two kinds never meet and every door makes the same one.
The conversion that a call created has the same digits after `c`, its postbacks after `p` with `.N` behind.
"""

from hashlib import blake2b
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from waypost.errors import WaypostError

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
CLICK_ID_LENGTH = 23
DOORS_MAX = 1 << 12
CLICK_SEQUENCE_MAX = 1 << 14
ROUTES_MAX = 1 << 26
RECEIPT_SEQUENCE_MAX = 1 << 10

KEYED_RECEIPT_BITS = 62

FLAG_UNRECORDED = 1  # redirected though the journal could not take it
FLAG_TEST = 2

_CHECK = 0x57415950  # "WAYP"
_VALUES = {char: value for value, char in enumerate(ALPHABET)}
_PAIRS = [a + b for a in ALPHABET for b in ALPHABET]  # two digits at a time: half the divisions
_PAIR_VALUES = {pair: value for value, pair in enumerate(_PAIRS)}
_BASE2, _BASE4, _BASE6, _BASE8, _BASE14 = (62**power for power in (2, 4, 6, 8, 14))
_LIMIT = 1 << 128


class ClickKey(NamedTuple):
    """A click's place in time: sorts by time, then door, then sequence."""

    ms: int
    door: int
    seq: int


class ClickId(NamedTuple):
    """What a click id says once deciphered. `ms` is Unix time."""

    ms: int
    door: int
    seq: int
    route: int
    flags: int

    @property
    def key(self) -> ClickKey:
        return ClickKey(self.ms, self.door, self.seq)


class KeyRing:
    """AES keys by their character; the last is used for new ids. Keys are 16 bytes."""

    def __init__(self, keys: dict[str, bytes]) -> None:
        if not keys or any(len(c) != 1 or c not in _VALUES or len(k) != 16 for c, k in keys.items()):
            raise WaypostError("bad_key_ring", "a key ring needs 16-byte keys named by one base62 character")
        self.current = list(keys)[-1]
        self.keys = dict(keys)


class ClickIdCodec:
    """Makes and reads click ids. Not safe for use by several threads at once (each takes its own)."""

    def __init__(self, ring: KeyRing) -> None:
        ciphers = {char: Cipher(algorithms.AES(key), modes.ECB()) for char, key in ring.keys.items()}
        self.ring = ring
        self._char = ring.current
        self._encrypt = ciphers[ring.current].encryptor().update
        self._decrypt = {char: cipher.decryptor().update for char, cipher in ciphers.items()}

    def encode(self, ms: int, door: int, seq: int, route: int, flags: int) -> str:
        """The text of a click id. The caller keeps each part within its bits."""
        block = ms << 86 | door << 74 | seq << 60 | route << 34 | flags << 32 | _CHECK
        number = int.from_bytes(self._encrypt(block.to_bytes(16, "big")), "big")
        # Thirds that fit a machine word: divisions of 128-bit numbers would be most of the cost.
        high, low = divmod(number, _BASE14)
        middle, low = divmod(low, _BASE8)
        pairs = _PAIRS
        return (
            f"{self._char}{pairs[high // _BASE6]}{pairs[high // _BASE4 % _BASE2]}{pairs[high // _BASE2 % _BASE2]}"
            f"{pairs[high % _BASE2]}{pairs[middle // _BASE4]}{pairs[middle // _BASE2 % _BASE2]}{pairs[middle % _BASE2]}"
            f"{pairs[low // _BASE6]}{pairs[low // _BASE4 % _BASE2]}{pairs[low // _BASE2 % _BASE2]}{pairs[low % _BASE2]}"
        )

    def decode(self, text: str) -> ClickId | None:
        """What the id says, or None if this ring did not make it (malformed or forged)."""
        return self.decode_many([text])[0]

    def decode_many(self, texts: list[str]) -> list[ClickId | None]:
        """`decode` for a batch: one cipher call for each key that occurs."""
        found: list[ClickId | None] = [None] * len(texts)
        blocks: dict[str, list[tuple[int, bytes]]] = {}
        for index, text in enumerate(texts):
            number = _number_of(text)
            if number is not None and text[0] in self._decrypt:
                blocks.setdefault(text[0], []).append((index, number.to_bytes(16, "big")))
        for char, items in blocks.items():
            plain = self._decrypt[char](b"".join(block for _, block in items))
            for nth, (index, _) in enumerate(items):
                found[index] = _parts_of(int.from_bytes(plain[nth * 16 : nth * 16 + 16], "big"))
        return found


def looks_like_click_id(text: str) -> bool:
    """Whether the text has a click id's form; says nothing of who made it."""
    return _number_of(text) is not None


def _number_of(text: str) -> int | None:
    if len(text) != CLICK_ID_LENGTH:
        return None
    value = _PAIR_VALUES
    try:
        high = ((value[text[1:3]] * _BASE2 + value[text[3:5]]) * _BASE2 + value[text[5:7]]) * _BASE2 + value[text[7:9]]
        middle = (value[text[9:11]] * _BASE2 + value[text[11:13]]) * _BASE2 + value[text[13:15]]
        low = ((value[text[15:17]] * _BASE2 + value[text[17:19]]) * _BASE2 + value[text[19:21]]) * _BASE2 + value[
            text[21:23]
        ]
    except KeyError:
        return None
    number = high * _BASE14 + middle * _BASE8 + low
    return number if number < _LIMIT and text[0] in _VALUES else None


def _parts_of(block: int) -> ClickId | None:
    if block & 0xFFFFFFFF != _CHECK:
        return None
    return ClickId(block >> 86, block >> 74 & 0xFFF, block >> 60 & 0x3FFF, block >> 34 & 0x3FFFFFF, block >> 32 & 3)


def receipt_number(ms: int, door: int, seq: int) -> int:
    """A receipt's number; unique while a door's (ms, seq) is, and growing with time."""
    return ms << 22 | door << 10 | seq


class KeyedReceipts:
    """Receipts from idempotency keys: the same at every door of an installation, and to be guessed by nobody.

    The oldest key of the ring makes them, for that is the one that stays when a newer one is added.
    """

    def __init__(self, ring: KeyRing) -> None:
        self._secret = next(iter(ring.keys.values()))

    def number(self, advertiser: int, key: bytes, *, test: bool = False) -> int:
        """The receipt of (advertiser, key); a test has receipts of its own."""
        text = b"%d\0%d\0%b" % (advertiser, test, key)
        digest = blake2b(text, key=self._secret, person=b"waypost-keyed", digest_size=8).digest()
        return int.from_bytes(digest, "big") & ((1 << KEYED_RECEIPT_BITS) - 1)


def receipt_text(number: int) -> str:
    return f"r{number:016x}"


def conversion_text(receipt: int) -> str:
    """The id of the conversion that the call with this receipt created."""
    return f"c{receipt:016x}"


def postback_text(conversion_receipt: int, nth: int) -> str:
    """The id of a conversion's nth postback, from 1."""
    return f"p{conversion_receipt:016x}.{nth}"


class PostbackRef(NamedTuple):
    """A postback id, taken apart."""

    conversion: int
    nth: int


def parse_numbered(text: str, prefix: str) -> int | None:
    """The number behind `r…` or `c…`; None if the text has another form."""
    if len(text) != 17 or text[0] != prefix:
        return None
    try:
        number = int(text[1:], 16)
    except ValueError:
        return None
    return number if f"{prefix}{number:016x}" == text else None


def parse_postback(text: str) -> PostbackRef | None:
    """A postback id taken apart; None if the text has another form."""
    head, dot, tail = text.partition(".")
    number = parse_numbered("c" + head[1:], "c") if head[:1] == "p" and dot else None
    if number is None or not tail.isascii() or not tail.isdigit():
        return None
    return PostbackRef(number, int(tail))
