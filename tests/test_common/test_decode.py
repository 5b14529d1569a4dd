"""The decoder of log values: what was encoded comes back, and each kind of bad value has its reason."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from readerflow.common import canonical
from readerflow.common.decode import ERROR_CLASSES, Decoded, decode, encode
from readerflow.common.records import (
    CLASS_OF,
    CLICKS,
    CONTROLS,
    ENTRIES,
    LINK_TYPES,
    MAX_REASON_CHARS,
    RECORDS,
    REJECTS,
    Kind,
)

GOOD: dict[str, Any] = {
    "source": "0123456789abcdef",
    "seq": 7,
    "wiki": "hrwiki",
    "month": "2025-03",
    "event_time": "2025-03-31T23:00Z",
    "referrer": "Zagreb",
    "article": "Čovjek_koji_nije_mogao_šutjeti_(2024.)",
    "link_type": "link",
    "clicks": 3,
}
BEAT: dict[str, Any] = {
    "control": "heartbeat",
    "source": "0123456789abcdef",
    "seq": 8,
    "wiki": "hrwiki",
    "month": "2025-03",
    "from": "2025-03-31T23:00Z",
    "until": "2025-04-01T00:00Z",
}
REPLACED: dict[str, Any] = {"control": "replacement", "source": "s2", "wiki": "hrwiki", "month": "2025-03"}


def decode_all(values: list[bytes]) -> Decoded:
    offsets = pa.array(np.arange(100, 100 + len(values)))
    return decode(offsets, pa.nulls(len(values), pa.binary()), pa.array(values, pa.binary()))


def as_bytes(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()


def without(document: dict[str, Any], field: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != field}


titles = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters=" \ufeff"), min_size=1, max_size=60
).filter(lambda title: len(title.encode()) <= 255 and title not in CLASS_OF)
times = st.integers(0, 31 * 86400 - 1).map(lambda seconds: datetime(2025, 3, 1) + timedelta(seconds=seconds))
names = {
    "source": st.from_regex(r"\A[0-9a-f]{16}\Z"),
    "seq": st.integers(0, 2**63 - 1),
    "wiki": st.just("hrwiki"),
    "month": st.just("2025-03"),
}
records = st.one_of(
    st.fixed_dictionaries(
        names
        | {
            "kind": st.just(int(Kind.RECORD)),
            "event_time": times,
            "referrer": referrers,
            "article": titles,
            "link_type": link_types,
            "clicks": st.integers(1, 2**63 - 1),
        }
    )
    for referrers, link_types in (
        (titles, st.sampled_from([name for name in LINK_TYPES if name != "external"])),
        (st.sampled_from(list(CLASS_OF)), st.just("external")),
    )
)
heartbeats = st.fixed_dictionaries(names | {"kind": st.just(int(Kind.HEARTBEAT)), "event_time": times}).map(
    lambda beat: beat | {"until": beat["event_time"] + timedelta(seconds=1)}
)
replacements = st.fixed_dictionaries(names | {"kind": st.just(int(Kind.REPLACEMENT)), "seq": st.just(-1)})


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(records, heartbeats, replacements), max_size=20))
def test_what_is_encoded_is_decoded_to_the_same(rows: list[dict[str, Any]]) -> None:
    values = encode(pa.Table.from_pylist(rows, schema=ENTRIES))
    assert values.type == pa.binary()
    found = decode_all(values.to_pylist())
    assert found.rejects.num_rows == 0
    placed = [{"offset": 100 + place} | row for place, row in enumerate(rows)]
    for table, schema, kinds in (
        (found.records, RECORDS, (Kind.RECORD,)),
        (found.controls, CONTROLS, (Kind.HEARTBEAT, Kind.REPLACEMENT)),
    ):
        mine = [{name: row.get(name) for name in schema.names} for row in placed if row["kind"] in kinds]
        assert table.equals(pa.Table.from_pylist(mine, schema=schema))


def test_the_json_is_as_documented() -> None:
    assert decode_all([as_bytes(GOOD), as_bytes(BEAT), as_bytes(REPLACED)]).rejects.num_rows == 0
    row = GOOD | {"kind": 0, "event_time": datetime(2025, 3, 31, 23), "until": None}
    beat = BEAT | {"kind": 1, "event_time": datetime(2025, 3, 31, 23), "until": datetime(2025, 4, 1)}
    replaced = REPLACED | {"kind": 2, "seq": -1}
    values = encode(pa.Table.from_pylist([row, beat, replaced], schema=ENTRIES)).to_pylist()
    assert [json.loads(value) for value in values] == [GOOD, BEAT, REPLACED]
    assert [list(json.loads(value)) for value in values] == [list(GOOD), list(BEAT), list(REPLACED)]


LEGAL = {
    "seconds": GOOD | {"event_time": "2025-03-31T23:59:59Z"},
    "further fields": GOOD | {"trace": {"id": [1, None, {"deep": "x"}]}},
    "a title like a number": GOOD | {"article": "1e6"},
    "a title of one quote": GOOD | {"article": '"', "referrer": "\\"},
    "bidi controls": GOOD | {"article": "\u202eabc\u202c"},
    "a title of 255 bytes": GOOD | {"article": "x" * 255},
    "a title that begins like a class": GOOD | {"referrer": "other-thing"},
    "a class of 2015": GOOD | {"referrer": "other-google", "link_type": "external"},
    "a redlink": GOOD | {"link_type": "redlink"},
    "the largest numbers": GOOD | {"seq": 2**63 - 1, "clicks": 2**63 - 1},
    "markup": GOOD | {"article": "<script>alert(1)</script>"},
    "a heartbeat of a month": BEAT | {"from": "2025-03-01T00:00Z"},
    "a replacement with a seq": REPLACED | {"seq": -1},
}


@pytest.mark.parametrize("name", LEGAL)
def test_legal_values_are_kept(name: str) -> None:
    found = decode_all([as_bytes(LEGAL[name])])
    assert found.rejects.to_pylist() == []
    for field in ("article", "referrer", "clicks"):
        if found.records.num_rows:
            assert found.records[field].to_pylist() == [LEGAL[name][field]]


BAD: dict[str, list[bytes]] = {
    "not_utf8": [b"\xff", b"\xc0\xaf", as_bytes(GOOD).replace(b"Zagreb", b"Zag\xed\xa0\x80reb"), b"\xf0\x9f"],
    "not_json": [b"", b"{", b"}", b"nonsense", b"\x00", as_bytes(GOOD)[:-1], as_bytes(GOOD) + b"x",
                 as_bytes(GOOD).replace(b'"Zagreb"', b'"\\ud800"'), as_bytes(GOOD).replace(b"Zagreb", b"Zag\nreb"),
                 b"\xef\xbb\xbf" + as_bytes(GOOD), as_bytes(GOOD) + as_bytes(GOOD)],
    "not_object": [b"[]", b"null", b"1", b'"text"', b"true"],
    "unknown_control": [as_bytes(BEAT | {"control": value}) for value in ("reset", "", None, 1, ["heartbeat"])],
    "missing_field": [b"{}", *(as_bytes(without(GOOD, field)) for field in GOOD),
                      *(as_bytes(without(BEAT, field)) for field in BEAT if field != "control"),
                      *(as_bytes(without(REPLACED, field)) for field in REPLACED if field != "control")],
    "wrong_type": [as_bytes(GOOD | {field: value}) for field in GOOD if field not in ("seq", "clicks")
                   for value in (None, 1, ["x"], {"x": "y"}, True)],
    "bad_source": [as_bytes(GOOD | {"source": value}) for value in ("", "a b", "x" * 65, "../etc", "š")],
    "bad_seq": [as_bytes(GOOD | {"seq": value}) for value in (-1, 1.0, "1", None, True, 2**63, 2**64, 1e30)]
               + [as_bytes(BEAT | {"seq": -1})],
    "bad_wiki": [as_bytes(GOOD | {"wiki": value}) for value in ("", "HRWIKI", "hr wiki", "h", "hrwiki\n", "1wiki")],
    "bad_month": [as_bytes(GOOD | {"month": value}) for value in ("", "2025-3", "2025-13", "2025-00", "0000-01",
                                                                  "1969-12", "9999-12", "2025-03-01", "25-03")],
    "bad_time": [as_bytes(GOOD | {"event_time": value}) for value in
                 ("", "2025-03-31", "2025-03-31T23Z", "2025-03-31T23:00", "2025-03-31T23:00+00:00", "2025-03-31 23:00Z",
                  "2025-03-32T23:00Z", "2025-03-31T24:00Z", "2025-03-31T23:60Z", "2025-03-31T23:00:00.5Z", "now")]
                + [as_bytes(BEAT | {"until": "2025-04-01"})],
    "time_outside_month": [as_bytes(GOOD | {"event_time": "2025-04-01T00:00Z"}),
                           as_bytes(GOOD | {"event_time": "2024-03-31T23:00Z"}),
                           as_bytes(BEAT | {"until": "2025-04-01T01:00Z"}),
                           as_bytes(BEAT | {"until": "2025-03-31T23:00Z"}),
                           as_bytes(BEAT | {"from": "2025-02-28T23:00Z"})],
    "title_empty": [as_bytes(GOOD | {"article": ""}), as_bytes(GOOD | {"referrer": ""})],
    "title_control": [as_bytes(GOOD | {end: f"a{value}b"}) for end in ("article", "referrer")
                      for value in ("\t", "\n", "\r", "\x00", "\x1f", "\x7f", "\x85")],
    "title_bom": [as_bytes(GOOD | {"article": "\ufeffZagreb"})],
    "title_space": [as_bytes(GOOD | {"article": "Novi Zagreb"})],
    "title_too_long": [as_bytes(GOOD | {"article": "x" * 256}), as_bytes(GOOD | {"referrer": "š" * 128}),
                       as_bytes(GOOD | {"article": "x" * 2**20})],
    "unknown_link_type": [as_bytes(GOOD | {"link_type": value}) for value in ("", "Link", "links", "teleport")],
    "type_against_referrer": [as_bytes(GOOD | {"link_type": "external"}),
                              as_bytes(GOOD | {"referrer": "other-search"}),
                              as_bytes(GOOD | {"referrer": "other-google", "link_type": "other"})],
    "bad_clicks": [as_bytes(GOOD | {"clicks": value}) for value in (0, -3, 1.5, 1e6, "3", None, False, 2**63, 10**30)]
                  + [as_bytes(GOOD).replace(b'"clicks": 3', b'"clicks": NaN')],
}  # fmt: skip


ALL_BAD = [value for values in BAD.values() for value in values]


def test_every_error_class_has_a_bad_value_here() -> None:
    assert set(BAD) == set(ERROR_CLASSES)


@pytest.mark.parametrize("name", BAD)
def test_each_kind_of_bad_value_has_its_error_class_and_reason(name: str) -> None:
    found = decode_all(BAD[name])
    assert found.rejects.schema == REJECTS
    rejects = found.rejects.to_pylist()
    assert [row["error_class"] for row in rejects] == [name] * len(BAD[name])
    assert [row["offset"] for row in rejects] == list(range(100, 100 + len(BAD[name])))
    assert all(0 < len(row["reason"]) <= MAX_REASON_CHARS for row in rejects)
    assert found.records.num_rows + found.controls.num_rows == 0


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from([*LEGAL.values(), *ALL_BAD]), max_size=30))
def test_a_value_is_judged_alike_whatever_stands_beside_it(values: list[Any]) -> None:
    raw = [value if isinstance(value, bytes) else as_bytes(value) for value in values]
    together = decode_all(raw)
    expected = [ALONE[value] for value in raw]
    classes = {row["offset"]: row["error_class"] for row in together.rejects.to_pylist()}
    assert [classes.get(100 + place) for place in range(len(raw))] == expected
    assert together.records.num_rows + together.controls.num_rows + together.rejects.num_rows == len(raw)


def alone(value: bytes) -> str | None:
    classes = decode_all([value]).rejects["error_class"].to_pylist()
    return classes[0] if classes else None


ALONE = {value: None for value in map(as_bytes, LEGAL.values())} | {
    value: name for name, values in BAD.items() for value in values
}


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_no_bytes_raise(value: bytes) -> None:
    assert alone(value) in ERROR_CLASSES


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_good_value_with_a_byte_changed_is_counted_once(data: st.DataObject) -> None:
    value = bytearray(as_bytes(data.draw(st.sampled_from([GOOD, BEAT, REPLACED]))))
    value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    found = decode_all([bytes(value)])
    assert found.records.num_rows + found.controls.num_rows + found.rejects.num_rows == 1


def test_an_empty_batch_and_a_null_value_are_no_exception() -> None:
    assert decode_all([]).records.schema == RECORDS
    found = decode(pa.array([5]), pa.nulls(1, pa.binary()), pa.array([None], pa.binary()))
    assert found.rejects["error_class"].to_pylist() == ["not_json"]


# The layout of our own records is read by a path of its own; it must judge as the path for any JSON does ------------


def as_written(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def by_both_paths(values: list[bytes]) -> tuple[Decoded, Decoded]:
    """What the decoder says, and what it says when nothing is of its own layout."""
    plain = decode_all(values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(canonical, "read", lambda texts: (np.zeros(len(texts), np.bool_), CLICKS.empty_table()))
        return plain, decode_all(values)


def assert_both_paths_agree(values: list[bytes]) -> None:
    plain, careful = by_both_paths(values)
    for kind in ("records", "controls", "rejects"):
        assert getattr(plain, kind).equals(getattr(careful, kind))


fields = {
    "source": st.sampled_from(["0123456789abcdef", "s", "x" * 64, "x" * 65, "a b", "š", ""]),
    "seq": st.sampled_from([0, 7, 12345678, 123456789, 10**15, 10**16, 2**63 - 1, 2**63, -1, 1.5]),
    "wiki": st.sampled_from(["hrwiki", "h", "x" * 32, "x" * 33, "HR", "hr\n"]),
    "month": st.sampled_from(["2025-03", "2025-02", "2025-13", "1969-03", "9999-03", "2025-3", "2024-02"]),
    "event_time": st.sampled_from([
        "2025-03-31T23:00Z", "2025-03-31T23:00:59Z", "2025-03-32T23:00Z", "2025-02-29T00:00Z", "2025-02-30T00:00Z",
        "2024-02-29T23:59Z", "2025-03-01T24:00Z", "2025-03-01T00:00", "2025-03-01", "2025-03-01T00:00:60Z", "Z",
    ]),
    "referrer": st.sampled_from(["Zagreb", "other-search", "other-google", "", "a b", "x" * 255, "x" * 256]),
    "article": st.one_of(
        titles, st.text(max_size=3), st.sampled_from(["\x7f", "\x80", "\xa0", "«", "\ufeff", "\uffee", "š" * 128, "a"])
    ),
    "link_type": st.sampled_from([*LINK_TYPES, "links", ""]),
    "clicks": st.sampled_from([1, 99, 0, 2**63 - 1, 2**63, -3, 10**8]),
}  # fmt: skip
#: Values of which most fields are good.
nearly_good = st.fixed_dictionaries({}, optional=fields).map(lambda changes: as_written(GOOD | changes))


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A value of the layout in which bytes were changed, put in, taken out or repeated."""
    value = bytearray(draw(nearly_good | st.sampled_from([as_written(BEAT), as_written(REPLACED)])))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(value)))
        piece = draw(st.sampled_from(
            [b"", b"0", b"-", b"9", b'"', b"\\", b"\\u0041", b"\n", b"\0", b" ", b",", b"{", b"}", b"\xff", b"\xc2",
             b"Z", b"null", b'"clicks":1,', b'"control":null,', b'"x":1,', b"1e1", b".0"]
        ))  # fmt: skip
        value[at : at + draw(st.integers(0, 2))] = piece
    return bytes(value)


@settings(max_examples=150, deadline=None)
@given(st.lists(nearly_good | mutated(), min_size=1, max_size=8))
def test_own_records_are_judged_as_any_json_is(values: list[bytes]) -> None:
    assert_both_paths_agree(values)


def test_every_byte_of_an_own_record_counts() -> None:
    value = as_written(GOOD)
    others = [bytes([byte]) for byte in b'"\\ 0-9{},:\n\0\xffZaA'] + [b"", b"00", b'"",']
    assert_both_paths_agree([value[:at] + other + value[at + 1 :] for at in range(len(value)) for other in others])
    assert_both_paths_agree([value[:at] for at in range(len(value))] + [value[at:] for at in range(len(value))])


def test_legal_and_bad_values_are_judged_alike_in_the_own_layout() -> None:
    documents = [document for document in LEGAL.values() if "control" not in document]
    for values in BAD.values():
        documents += [found for value in values if isinstance(found := _json(value), dict)]
    assert_both_paths_agree([as_written(document) for document in documents] + ALL_BAD)


def _json(value: bytes) -> Any:
    try:
        text = value.decode()
        return None if "\\ud" in text else json.loads(text)
    except ValueError:
        return None


def test_own_records_take_the_short_path_and_keep_their_order_among_others() -> None:
    own, other = as_written(GOOD), as_bytes(GOOD)
    values = [own, other, as_written(BEAT), own, b"{", as_written(GOOD | {"article": 'a"b'}), own] * 3000
    taken, records = canonical.read(pa.array([value.decode() for value in values]))
    assert taken.tolist() == [True, False, False, True, False, False, True] * 3000
    assert records.num_rows == 9000
    found = decode_all(values)
    kept = [place for place in range(len(values)) if place % 7 in (0, 1, 3, 5, 6)]
    assert found.records["offset"].to_pylist() == [100 + place for place in kept]
    assert found.records["article"].to_pylist()[:5] == [GOOD["article"]] * 3 + ['a"b', GOOD["article"]]
    assert (found.controls.num_rows, found.rejects.num_rows) == (3000, 3000)


def test_a_slice_of_values_is_read_as_if_it_stood_alone() -> None:
    values = pa.array([as_written(GOOD | {"seq": seq}) for seq in range(10)], pa.binary())
    found = decode(pa.array([3, 4]), pa.nulls(2, pa.binary()), values.slice(3, 2))
    assert found.records["seq"].to_pylist() == [3, 4]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(records | st.builds(lambda row, text: row | {"article": text}, records, st.text()), min_size=1, max_size=9)
)
def test_own_records_are_written_as_any_json_encoder_would(rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(rows, schema=ENTRIES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(canonical, "write", lambda _: None)
        expected = encode(table)
    assert encode(table).equals(expected)


def test_heartbeats_stand_in_their_places_among_records_that_are_written() -> None:
    row = GOOD | {"kind": 0, "event_time": datetime(2025, 3, 31, 23), "until": None}
    beat = BEAT | {"kind": 1, "event_time": datetime(2025, 3, 31, 23), "until": datetime(2025, 4, 1)}
    rows = [row | {"seq": seq} for seq in range(400)]
    for place in (0, 7, 8, 399):
        rows[place] = beat | {"seq": place}
    found = decode_all(encode(pa.Table.from_pylist(rows, schema=ENTRIES)).to_pylist())
    assert found.controls["offset"].to_pylist() == [100, 107, 108, 499]
    assert found.controls["seq"].to_pylist() == [0, 7, 8, 399]
    assert found.records["seq"].to_pylist() == [seq for seq in range(400) if seq not in (0, 7, 8, 399)]
