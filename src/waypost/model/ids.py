"""Ids: how clicks, receipts, conversions and postbacks are named.

Owns: the click id's layout and cipher, and the text forms of the other ids. Reads and writes nothing
(the key ring's file is an engine's). Never puts personal data into an id.

Click id, 128 bits from the top: ms 42, door 12, sequence 14, route 26, flags 2, check 32; encrypted as one
AES-128 block under a key of the ring; text is the key's character and 22 base62 digits of the block. They are written
and read by GMP, whose digits of base 62 are the same as ours (decision 0046).
The check is a constant: a forged block deciphers to it with a chance of 2^-32.

Receipts are 63-bit numbers that grow with time: ms 41, door 12, sequence 10; text is `r` and 16 hex digits. From 2004
to 2039 their top bit is set. A *keyed* receipt is made from its sender's idempotency key instead: the top bit is clear,
and the other 62 are a keyed hash, so the two kinds never meet and every door makes the same one.
The conversion that a call created has the same digits after `c`, its postbacks after `p` with `.N` behind.
"""

from collections.abc import Sequence
from hashlib import blake2b
from struct import Struct
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from gmpy2 import mpz, pack, unpack

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
_BASE = len(ALPHABET)
_DIGITS = CLICK_ID_LENGTH - 1
_BLOCK_BITS = 128
_HIGHEST = "7n42DGM5Tflk9n8mt7Fhc7"  # 2^128 - 1; the alphabet is in the order of character codes, so texts compare
_parts = Struct(">QII").iter_unpack
_new = tuple.__new__  # makes a named tuple in a third of the time that its own constructor takes


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
        return _new(ClickKey, self[:3])


class KeyRing:
    """AES keys by their character; the last is used for new ids. Keys are 16 bytes."""

    def __init__(self, keys: dict[str, bytes]) -> None:
        if not keys or any(len(c) != 1 or c not in ALPHABET or len(k) != 16 for c, k in keys.items()):
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
        return self.encode_many([ClickId(ms, door, seq, route, flags)])[0]

    def encode_many(self, ids: Sequence[tuple[int, int, int, int, int]]) -> list[str]:
        """`encode` for many, in the order of `ClickId`: they are enciphered all together."""
        blocks = b"".join(
            [
                (ms << 86 | door << 74 | seq << 60 | route << 34 | flags << 32 | _CHECK).to_bytes(16, "big")
                for ms, door, seq, route, flags in ids
            ]
        )
        # `unpack` begins with the last block, and leaves out zeros before the first: hence the one in front.
        numbers = unpack(mpz.from_bytes(b"\1" + self._encrypt(blocks)), _BLOCK_BITS)[-2::-1]
        char = self._char
        return [char + number.digits(_BASE).zfill(_DIGITS) for number in numbers]

    def decode(self, text: str) -> ClickId | None:
        """What the id says, or None if this ring did not make it (malformed or forged)."""
        return self.decode_many([text])[0]

    def decode_many(self, texts: list[str]) -> list[ClickId | None]:
        """`decode` for a batch: numbers are read, and deciphered, all together for each key that occurs."""
        found: list[ClickId | None] = [None] * len(texts)
        by_key: dict[str, list[int]] = {}
        for nth, text in enumerate(texts):
            if looks_like_click_id(text):
                by_key.setdefault(text[0], []).append(nth)
        for char, nths in by_key.items():
            decrypt = self._decrypt.get(char)
            if decrypt is None:
                continue
            numbers = [mpz(texts[nth][1:], _BASE) for nth in reversed(nths)]  # `pack` begins with the last, as `unpack`
            plain = decrypt(pack(numbers, _BLOCK_BITS).to_bytes(len(nths) * _BLOCK_BITS // 8))
            for nth, (high, low, check) in zip(nths, _parts(plain), strict=True):
                if check == _CHECK:
                    seq = (high & 0x3FF) << 4 | low >> 28
                    parts = (high >> 22, high >> 10 & 0xFFF, seq, low >> 2 & 0x3FFFFFF, low & 3)
                    found[nth] = _new(ClickId, parts)
        return found


def looks_like_click_id(text: str) -> bool:
    """Whether the text has a click id's form; says nothing of who made it."""
    return len(text) == CLICK_ID_LENGTH and text.isascii() and text.isalnum() and text[1:] <= _HIGHEST


def receipt_number(ms: int, door: int, seq: int) -> int:
    """A receipt's number; unique while a door's (ms, seq) is, and growing with time."""
    return ms << 22 | door << 10 | seq


def receipt_place(number: int) -> int:
    """Where an unkeyed receipt stands in time: by milliseconds, then by sequence, doors last."""
    return number >> 22 << 22 | (number & 0x3FF) << 12 | number >> 10 & 0xFFF


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
