"""Framing of journal records, and their payloads."""

import pytest

from gateway.domain.entry import Amounts, Entry, Generation, Hold
from gateway.domain.request import Attribution
from gateway.domain.usage import Usage
from gateway.ledger import journal_codec
from gateway.ledger.journal_codec import (
    decode,
    encode_entry,
    encode_hold,
    encode_settlement,
    storable,
    storable_json,
)
from gateway.ledger.segment import (
    ADOPTED,
    HOLD,
    RELEASE,
    SETTLEMENT,
    Damage,
    Frame,
    encode_frame,
    scan,
)
from tests.fakes.holds import hold
from tests.fakes.settlements import settlement

PAYLOADS = [b"first", b'{"second": 2}', b"", b"fourth of them"]


def segment_of(payloads=PAYLOADS):
    return b"".join(encode_frame(SETTLEMENT, payload) for payload in payloads)


def payloads_in(data):
    return [found.payload for found in scan(data, is_end=True) if isinstance(found, Frame)]


def damages_in(data):
    return [found for found in scan(data, is_end=True) if isinstance(found, Damage)]


def start_of(index):
    return len(segment_of(PAYLOADS[:index]))


def test_records_come_back_in_order():
    assert payloads_in(segment_of()) == PAYLOADS
    assert damages_in(segment_of()) == []


def test_ends_of_records_are_starts_of_the_next():
    data = segment_of()
    frames = list(scan(data, is_end=True))
    assert [frame.start for frame in frames[1:]] == [frame.end for frame in frames[:-1]]
    assert frames[-1].end == len(data)


def test_a_record_is_one_readable_line():
    line = encode_frame(RELEASE, b"id")
    assert line.endswith(b" R id\n")
    assert line.count(b"\n") == 1


@pytest.mark.parametrize("kept", range(1, 10))
def test_a_torn_tail_is_cut_and_told(kept):
    data = segment_of() + encode_frame(SETTLEMENT, b"dying words")[:kept]
    assert payloads_in(data) == PAYLOADS
    (damage,) = damages_in(data)
    assert damage.is_torn_tail
    assert (damage.start, damage.end) == (start_of(4), len(data))


def test_a_record_that_lacks_only_its_newline_is_whole():
    data = segment_of()[:-1]
    assert payloads_in(data) == PAYLOADS
    assert damages_in(data) == []


def test_zeros_after_a_power_failure_are_a_torn_tail():
    (damage,) = damages_in(segment_of() + b"\0" * 4096)
    assert damage.is_torn_tail


def test_damage_in_the_middle_costs_one_record():
    data = bytearray(segment_of())
    data[start_of(1) + 22] ^= 1
    assert payloads_in(bytes(data)) == [PAYLOADS[0], *PAYLOADS[2:]]
    (damage,) = damages_in(bytes(data))
    assert not damage.is_torn_tail
    assert (damage.start, damage.end) == (start_of(1), start_of(2))


def test_a_damaged_length_costs_one_record():
    data = bytearray(segment_of())
    data[start_of(1)] = ord("f")
    assert payloads_in(bytes(data)) == [PAYLOADS[0], *PAYLOADS[2:]]


def test_a_damaged_kind_costs_one_record():
    data = segment_of().replace(b" S first", b" H first")
    assert payloads_in(data) == PAYLOADS[1:]


def test_a_damaged_newline_costs_nothing():
    data = bytearray(segment_of())
    data[start_of(1) - 1] = ord("x")
    assert payloads_in(bytes(data)) == PAYLOADS


def test_neighbours_that_are_damaged_are_one_damage():
    data = bytearray(segment_of())
    data[start_of(1) + 22] ^= 1
    data[start_of(2) + 10] ^= 1
    (damage,) = damages_in(bytes(data))
    assert (damage.start, damage.end) == (start_of(1), start_of(3))


def test_a_damaged_last_line_is_no_torn_tail():
    data = bytearray(segment_of())
    data[start_of(3) + 22] ^= 1
    (damage,) = damages_in(bytes(data))
    assert not damage.is_torn_tail


def test_a_record_that_goes_on_is_not_given_yet():
    data = segment_of()
    cut = start_of(3) + 5
    found = list(scan(data[:cut], is_end=False))
    assert [frame.payload for frame in found] == PAYLOADS[:3]
    assert found[-1].end == start_of(3)


def test_a_settlement_comes_back_equal():
    before = settlement(
        detail={"usage": {"tokens": [1, 2.5, None, True]}},
        properties={"tier": "gold"},
        http_status=529,
        response_model=None,
    )
    for kind, is_adopted in ((SETTLEMENT, False), (ADOPTED, True)):
        (frame,) = scan(encode_frame(kind, encode_settlement(before)), is_end=True)
        record = decode(frame)
        assert record.settlement == before
        assert record.is_adopted is is_adopted
        assert type(record.settlement.entry.usage_source) is type(before.entry.usage_source)


def test_a_hold_comes_back_equal():
    before = hold(product="ünïcode \n \0")
    (frame,) = scan(encode_frame(HOLD, encode_hold(before)), is_end=True)
    assert decode(frame).hold == before


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (Hold, journal_codec.HOLD_FIELDS),
        (Entry, (*journal_codec.ENTRY_FIELDS, "usage", "amounts")),
        (Usage, journal_codec.USAGE_FIELDS),
        (Amounts, journal_codec.AMOUNT_FIELDS),
        (Generation, (*journal_codec.GENERATION_FIELDS, "attribution")),
        (Attribution, journal_codec.ATTRIBUTION_FIELDS),
    ],
)
def test_every_field_is_in_the_journal(kind, names):
    assert sorted(names) == sorted(kind.__struct_fields__)


def test_a_record_of_another_version_is_read_as_far_as_it_is_known():
    before = settlement()
    payload = encode_settlement(before)
    newer = payload[:-2] + b',"more"],["even more"]]'
    older = payload.replace(b",{},{}]]", b"]]")
    assert older != payload
    for other in (newer, older):
        (frame,) = scan(encode_frame(SETTLEMENT, other), is_end=True)
        assert decode(frame).settlement == before


@pytest.mark.parametrize("payload", [b"", b"[]", b"null", b"[[]]", b'{"entry": 1}', b"not json"])
@pytest.mark.parametrize("kind", [HOLD, SETTLEMENT, RELEASE])
def test_a_payload_that_is_no_record_is_none(kind, payload):
    (frame,) = scan(encode_frame(kind, payload), is_end=True)
    assert decode(frame) is None


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("plain", "plain"),
        ("nul\0here", "nul\ufffdhere"),
        ("lone \ud800 half", "lone \ufffd half"),
        ("whole \U0001f600\0", "whole \U0001f600\ufffd"),
        ("ünï", "ünï"),
    ],
)
def test_text_is_changed_only_where_postgresql_refuses_it(text, stored):
    assert storable(text) == stored


def test_hostile_values_can_still_be_written():
    before = settlement(
        request_model="m\ud800\0",
        detail={"usage": {"n\0": 2**80, "nan": float("nan"), "\udfff": ["\0"]}},
    )
    (frame,) = scan(encode_frame(SETTLEMENT, encode_settlement(before)), is_end=True)
    after = decode(frame).settlement
    assert after.entry.amounts == before.entry.amounts
    assert after.entry.request_model == "m\ufffd\ufffd"
    assert after.entry.detail["usage"]["\ufffd"] == ["\ufffd"]


def test_detail_has_no_nul_and_keeps_what_looks_like_one():
    assert storable_json({"a\0": "b\0c"}) == '{"a\ufffd":"b\ufffdc"}'
    assert storable_json({"a": "\\u0000"}) == '{"a":"\\\\u0000"}'
    assert storable_json({"plain": 1}) == '{"plain":1}'


def test_a_dead_letter_names_its_fields():
    text = encode_entry(settlement(request_model="x\0").entry)
    assert '"request_model":"x\ufffd"' in text
    assert '"input_pico_usd":500000000' in text
