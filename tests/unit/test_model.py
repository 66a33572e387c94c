"""Ids, money, partitions, the wire form."""

from decimal import Decimal

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from support.traffic import RING
from waypost.errors import WaypostError
from waypost.model import frames as model
from waypost.model.frames import AnyFrame, Click, Conversion, Decision, Frame, OperatorChange, PostbackIn, Verdict
from waypost.model.ids import (
    ALPHABET,
    CLICK_SEQUENCE_MAX,
    DOORS_MAX,
    ROUTES_MAX,
    ClickIdCodec,
    KeyedReceipts,
    KeyRing,
    conversion_text,
    looks_like_click_id,
    parse_numbered,
    parse_postback,
    postback_text,
    receipt_number,
    receipt_text,
)
from waypost.model.money import Money, amount_text, decimals_of, is_currency, parse_amount, rounded
from waypost.model.partition import PARTITIONS, partition_of
from waypost.model.wire import Unreadable, decode_block, decode_frame, encode_frame, join_block, split_block

CODEC = ClickIdCodec(RING)
BITS = st.tuples(
    st.integers(0, (1 << 42) - 1),
    st.integers(0, (1 << 12) - 1),
    st.integers(0, (1 << 14) - 1),
    st.integers(0, (1 << 26) - 1),
    st.integers(0, 3),
)


@given(BITS)
def test_a_click_id_says_what_was_put_into_it(parts: tuple[int, int, int, int, int]) -> None:
    text = CODEC.encode(*parts)
    assert len(text) == 23 and text[0] == "a" and set(text) <= set(ALPHABET) and looks_like_click_id(text)
    assert tuple(CODEC.decode(text) or ()) == parts


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ((0, 0, 0, 0, 0), "05S6pCJ01KRdPgp7QPTkX18"),
        (((1 << 42) - 1, DOORS_MAX - 1, CLICK_SEQUENCE_MAX - 1, ROUTES_MAX - 1, 3), "05lYmWgWXh45MeKzKjpNwLQ"),
        ((1_790_000_000_000, 3, 5, 77, 1), "025yCgox2E4kNvnrMJnVMob"),
        ((1_790_000_000_000, 3, 6, 77, 2), "06PJmU8gGbduL9BamFOJ7Du"),
        ((1_790_000_000_002, 1, 14257, 7, 0), "00b0q1Hrap4nC5PgKg9RFGI"),  # not to be read as `0b…` or `0x…`
        ((1_790_000_000_008, 1, 14784, 7, 0), "0000xAaBFWrnR4lBXifHbIO"),
    ],
)
def test_click_ids_that_are_out_in_the_world_stay(parts: tuple[int, int, int, int, int], text: str) -> None:
    codec = ClickIdCodec(KeyRing({"0": b"0123456789abcdef"}))
    assert codec.encode(*parts) == text and codec.decode(text) == parts


def written_out(ring: KeyRing, parts: tuple[int, int, int, int, int]) -> str:
    """A click id by its definition, digit by digit."""
    ms, door, seq, route, flags = parts
    block = 0
    for part, bits in ((ms, 42), (door, 12), (seq, 14), (route, 26), (flags, 2), (int.from_bytes(b"WAYP"), 32)):
        block = block << bits | part
    cipher = Cipher(algorithms.AES(ring.keys[ring.current]), modes.ECB()).encryptor()
    number, digits = int.from_bytes(cipher.update(block.to_bytes(16))), ""
    for _ in range(22):
        number, digit = divmod(number, 62)
        digits = ALPHABET[digit] + digits
    return ring.current + digits


@given(st.sampled_from(ALPHABET), st.binary(min_size=16, max_size=16), st.lists(BITS, max_size=20))
def test_many_click_ids_are_written_as_each_is_defined(
    char: str, key: bytes, ids: list[tuple[int, int, int, int, int]]
) -> None:
    ring = KeyRing({char: key})
    codec = ClickIdCodec(ring)
    texts = codec.encode_many(ids)
    assert texts == [written_out(ring, parts) for parts in ids]
    assert codec.decode_many(texts) == ids


@pytest.mark.parametrize("digits", ["0" * 22, "0" * 21 + "1", "0b" + "1" * 20, "0x" + "1" * 20, "0o" + "1" * 20])
def test_small_numbers_are_forgeries_that_harm_no_neighbour(digits: str) -> None:
    text, parts = CODEC.encode(1, 2, 3, 4, 1), (1, 2, 3, 4, 1)
    assert looks_like_click_id("a" + digits)
    assert CODEC.decode("a" + digits) is None
    assert CODEC.decode_many(["a" + digits, text, "a" + digits]) == [None, parts, None]


@pytest.mark.parametrize("sign", ["+", "-", "_", " ", "\n", "\0"])
def test_a_number_that_is_written_otherwise_is_no_id(sign: str) -> None:
    """What the reader of numbers would let pass: signs, spaces and underscores."""
    text = CODEC.encode(1_790_000_000_000, 2, 3, 4, 0)
    for at in range(len(text)):
        for changed in (text[:at] + sign + text[at + 1 :], text[:at] + sign + text[at:], text + sign):
            assert not looks_like_click_id(changed) and CODEC.decode(changed) is None


@given(BITS, st.integers(1, 22), st.sampled_from(ALPHABET))
def test_a_changed_click_id_is_a_forgery(parts: tuple[int, int, int, int, int], at: int, digit: str) -> None:
    text = CODEC.encode(*parts)
    changed = text[:at] + digit + text[at + 1 :]
    assert changed == text or CODEC.decode(changed) is None


@given(st.text(max_size=30))
def test_no_text_breaks_the_decoder(text: str) -> None:
    found = CODEC.decode(text)
    assert found is None or CODEC.encode(*found) == text


def test_values_beyond_the_block_are_refused() -> None:
    assert CODEC.decode("a" + "z" * 22) is None
    assert not looks_like_click_id("a" + "z" * 22)


def test_key_rings_rotate() -> None:
    old, new = KeyRing({"a": b"1" * 16}), KeyRing({"a": b"1" * 16, "b": b"2" * 16})
    before = ClickIdCodec(old).encode(1, 2, 3, 4, 0)
    codec = ClickIdCodec(new)
    assert codec.encode(1, 2, 3, 4, 0)[0] == "b"
    assert [codec.decode(before), ClickIdCodec(old).decode(codec.encode(1, 2, 3, 4, 0))] == [(1, 2, 3, 4, 0), None]
    for keys in ({}, {"ab": b"1" * 16}, {"a": b"short"}, {"!": b"1" * 16}):
        with pytest.raises(WaypostError):
            KeyRing(keys)


@given(st.integers(0, (1 << 41) - 1), st.integers(0, 4095), st.integers(0, 1023), st.integers(1, 999))
def test_numbered_ids_come_back(ms: int, door: int, seq: int, nth: int) -> None:
    number = receipt_number(ms, door, seq)
    assert 0 <= number < 1 << 63
    assert parse_numbered(receipt_text(number), "r") == parse_numbered(conversion_text(number), "c") == number
    found = parse_postback(postback_text(number, nth))
    assert found is not None and tuple(found) == (number, nth)
    assert receipt_number(ms + 1, 0, 0) > number


@pytest.mark.parametrize("text", ["", "r", "r123", "r" + "G" * 16, "r+" + "0" * 15, "r" + "A" * 16])
def test_other_texts_are_no_receipts(text: str) -> None:
    assert parse_numbered(text, "r") is None
    assert parse_postback("p" + text[1:] + ".1") is None


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        ("1.2", "USD", "1.20"),
        ("1", "JPY", "1"),
        ("1.5", "BHD", "1.500"),
        ("0.005", "USD", "0.005"),
        ("3.10", "ZZZ", "3.10"),
        ("100", "USD", "100.00"),
        ("1.200", "USD", "1.20"),
    ],
)
def test_amounts_are_written_with_their_currency_s_decimals(amount: str, currency: str, text: str) -> None:
    assert amount_text(Money(Decimal(amount), currency)) == text


def test_rounding_and_currencies() -> None:
    assert rounded(Decimal("1.005"), "USD") == Decimal("1.01") and rounded(Decimal("-1.005"), "USD") == Decimal("-1.01")
    assert rounded(Decimal("1.5"), "JPY") == Decimal(2)
    assert is_currency("EUR") and not is_currency("eur") and decimals_of("KWD") == 3


@pytest.mark.parametrize(
    "text", ["", "abc", "1e5", "NaN", "Infinity", "1,5", "--1", "1.2.3", "1" * 21, "１", "0x10", " 1"]
)
def test_what_is_no_plain_number(text: str) -> None:
    assert parse_amount(text) is None


@given(st.text(min_size=1, max_size=40))
def test_partitions_are_stable_and_in_range(name: str) -> None:
    assert 0 <= partition_of(name) < PARTITIONS and partition_of(name) == partition_of(name)


def test_the_partition_of_a_name_never_changes() -> None:
    assert [partition_of(name) for name in ("acme", "globex", "initech")] == [14, 16, 15]


def test_blocks_come_back_in_order() -> None:
    frames: list[Frame] = [OperatorChange(1, "a", "b", "c"), Click(1, 2, 3, 4, 0, 5, 6, b"q")]
    block = join_block([encode_frame(frame) for frame in frames])
    assert decode_block(block, 2) == frames
    assert split_block(block) == [encode_frame(frame) for frame in frames]


def test_a_damaged_frame_leaves_its_neighbours_alone() -> None:
    good = encode_frame(OperatorChange(1, "a", "b", "c"))
    for bad in (b"\x93\x7f\x01\x02", b"\x92\x01\xa1x", b"\xc0"):
        first, second, third = decode_block(join_block([good, bad, good]), 3)
        assert isinstance(second, Unreadable) and second.raw == bad and second.why
        assert first == third == OperatorChange(1, "a", "b", "c")


@given(st.binary(max_size=60), st.integers(1, 4))
def test_no_bytes_break_the_block_decoder(data: bytes, count: int) -> None:
    try:
        assert len(decode_block(data, count)) == count
    except WaypostError as error:
        assert error.code == "wire_version"


def test_a_newer_release_s_fields_are_passed_over_and_an_older_one_s_are_filled_in() -> None:
    whole: list[object] = msgspec.msgpack.decode(encode_frame(Click(1, 2, 3, 4, 0, 5, 6, b"q", "ip", b"ua", b"ref")))
    newer = msgspec.msgpack.encode([*whole, "a later field", 7])
    older = msgspec.msgpack.encode(whole[:9])  # tag and the eight fields that have no default
    assert decode_frame(newer) == decode_frame(msgspec.msgpack.encode(whole))
    assert decode_frame(older) == Click(1, 2, 3, 4, 0, 5, 6, b"q")


def test_a_block_of_a_newer_wire_version_is_refused_and_says_so() -> None:
    with pytest.raises(WaypostError) as caught:
        decode_block(b"\x02" + join_block([])[1:], 0)
    assert caught.value.code == "wire_version"


def test_the_wire_form_of_every_struct_is_pinned() -> None:
    """Tags and the order of fields are what older and newer releases share: a change here breaks stored data."""
    tags = {struct.__struct_config__.tag: struct for struct in AnyFrame.__args__}
    assert sorted(tags) == [*range(1, 16), 18, 19, 20]
    assert Click.__struct_fields__[:8] == ("ms", "door", "seq", "route", "flags", "partition", "catalog", "query")
    assert PostbackIn.__struct_fields__[:9] == (
        "receipt", "at_ms", "door", "partition", "advertiser", "auth", "catalog", "method", "query",
    )  # fmt: skip
    assert Decision.__struct_fields__[:8] == (
        "source", "position", "receipt", "at_ms", "decided_ms", "verdict", "code", "checks",
    )  # fmt: skip
    assert Conversion.__struct_fields__[:4] == ("receipt", "identity", "partition", "status")
    assert {member.value for member in Verdict} == {"new", "updated", "duplicate", "refused", "set_aside"}
    assert model.RuleOutcome.__struct_config__.tag == 16 and model.SourceRange.__struct_config__.tag == 17


def test_keyed_receipts_never_meet_those_that_grow_with_time() -> None:
    made = KeyedReceipts(KeyRing({"a": bytes(16)}))
    numbers = {made.number(advertiser, b"key-%d" % nth) for advertiser in (0, 1) for nth in range(5000)}
    assert len(numbers) == 10_000 and max(numbers) < 1 << 62
    for year_ms in (1_100_000_000_000, 1_790_000_000_000, (1 << 41) - 1):
        assert receipt_number(year_ms, 0, 0) >= 1 << 62
    assert parse_numbered(receipt_text(min(numbers)), "r") == min(numbers)


def test_keyed_receipts_hold_while_keys_are_added_to_the_ring() -> None:
    older = KeyedReceipts(KeyRing({"a": bytes(16)}))
    newer = KeyedReceipts(KeyRing({"a": bytes(16), "b": bytes(range(16))}))
    other = KeyedReceipts(KeyRing({"a": bytes(range(16))}))
    assert older.number(1, b"k") == newer.number(1, b"k") != other.number(1, b"k")
    assert older.number(1, b"k") != older.number(1, b"k", test=True)


def test_a_batch_of_ids_is_read_as_they_are_one_by_one() -> None:
    """Lengths that are no power of two, both ends of each part, keys side by side, and what is no id in between."""
    ring = KeyRing({"a": b"0123456789abcdef", "b": b"fedcba9876543210"})
    codec, older = ClickIdCodec(ring), ClickIdCodec(KeyRing({"a": ring.keys["a"]}))
    made = [
        (0, 0, 0, 0, 0),
        ((1 << 42) - 1, DOORS_MAX - 1, CLICK_SEQUENCE_MAX - 1, ROUTES_MAX - 1, 3),
        *((1_790_000_000_000 + nth, nth, nth * 15, nth * 77, nth % 4) for nth in range(1000)),
    ]
    texts: list[str] = []
    expected: list[tuple[int, ...] | None] = []
    for nth, parts in enumerate(made):
        texts.append((older if nth % 3 == 0 else codec).encode(*parts))
        expected.append(parts)
        if nth % 7 == 0:
            wrong = texts[-1]
            texts += [wrong[:-1], wrong + "0", "c" + wrong[1:], *(f"{wrong[:9]}{bad}{wrong[10:]}" for bad in "é-²")]
            expected += [None] * 6
    assert codec.decode_many(texts) == expected
    assert [codec.decode(text) for text in texts] == expected
    assert codec.decode_many([]) == []


def test_the_highest_number_is_an_id_and_the_next_is_none() -> None:
    """22 digits write more than 128 bits hold."""
    digits = ""
    number = (1 << 128) - 1
    while number:
        number, digit = divmod(number, 62)
        digits = ALPHABET[digit] + digits
    assert looks_like_click_id("a" + digits)
    assert not looks_like_click_id("a" + digits[:-1] + ALPHABET[ALPHABET.index(digits[-1]) + 1])
    assert not looks_like_click_id("a" + "z" * 22)
