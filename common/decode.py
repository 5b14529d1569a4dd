"""The one decoder and encoder of log values: JSON bytes <-> records, controls and rejects, vectorised.

A record is the JSON object ``{"source", "seq", "wiki", "month", "event_time", "referrer", "article", "link_type",
"clicks"}``, a heartbeat ``{"control": "heartbeat", "source", "seq", "wiki", "month", "from", "until"}``, a replacement
``{"control": "replacement", "source", "wiki", "month"}``; further fields are ignored. Times are written
``YYYY-MM-DDTHH:MMZ`` or ``YYYY-MM-DDTHH:MM:SSZ``. Every adapter decodes through this module, so a value is rejected for
the same reason everywhere, whatever stands beside it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, cast

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from . import canonical
from .canonical import MONTH_FORM, SOURCE_FORM, TIME_FORM, WIKI_FORM
from .months import FIRST_YEAR, LAST_YEAR
from .records import (
    CLASS_OF,
    CLICKS,
    CONTROLS,
    LINK_TYPES,
    MAX_RAW_BYTES,
    MAX_REASON_CHARS,
    OFFSET,
    RECORDS,
    REJECTS,
    Kind,
)
from .titles import ILLEGAL, MAX_TITLE_BYTES

FIELDS = ("source", "seq", "wiki", "month", "event_time", "referrer", "article", "link_type", "clicks")
HEARTBEAT_FIELDS = ("source", "seq", "wiki", "month", "from", "until")
REPLACEMENT_FIELDS = ("source", "wiki", "month")
#: Every field that any kind of value has.
_ALL = (*FIELDS, "from", "until", "control")


def _text(value: str) -> str:
    """An SQL literal of one of this module's own constants."""
    return "'" + value.replace("'", "''") + "'"


def _required(condition: str) -> str:
    """SQL that is true when ``condition`` (with {field}) holds for a field that the value's kind requires."""
    by_kind = {"record": FIELDS, "heartbeat": HEARTBEAT_FIELDS, "replacement": REPLACEMENT_FIELDS}
    return " or ".join(
        f"(form = {_text(kind)} and ({' or '.join(condition.format(field=field) for field in fields)}))"
        for kind, fields in by_kind.items()
    )


_STRINGS = [field for field in _ALL if field not in ("seq", "clicks", "control")]
_ENDS = ("article", "referrer")
_CLASS_LIST = ", ".join(map(_text, CLASS_OF))

#: error class -> (SQL that is true for a bad value, what it says, SQL of the piece of the value that it shows). The
#: first that holds counts, and a later one may rely on the earlier ones. A null condition does not hold.
_CHECKS: dict[str, tuple[str, str, str]] = {
    "not_utf8": ("text is null", "the value is not UTF-8", "null"),
    "not_json": ("form is null", "the value is not JSON", "text"),
    "not_object": ("form = 'none'", "the value is not a JSON object", "text"),
    "unknown_control": (
        "form not in ('record', 'heartbeat', 'replacement')",
        "the control is neither heartbeat nor replacement",
        "control",
    ),
    "missing_field": (_required("{field}_type is null"), "a required field is missing", "text"),
    "wrong_type": (
        " or ".join(f"{field}_type <> 'VARCHAR'" for field in _STRINGS),
        "a field that must be a string is not one",
        "text",
    ),
    "bad_source": (f"not regexp_full_match(source, '{SOURCE_FORM}')", "the source is not an id", "source"),
    "bad_seq": (
        "form <> 'replacement' and (seq_type not in ('UBIGINT', 'BIGINT') or seq_number is null or seq_number < 0)",
        "seq is not an integer from 0 to 2^63 - 1",
        "seq",
    ),
    "bad_wiki": (f"not regexp_full_match(wiki, '{WIKI_FORM}')", "the wiki is not a database name", "wiki"),
    "bad_month": (
        f"not regexp_full_match(month, '{MONTH_FORM}') or left(month, 4) not between '{FIRST_YEAR}' and '{LAST_YEAR}'",
        f"the month is not of the form YYYY-MM, from {FIRST_YEAR} to {LAST_YEAR}",
        "month",
    ),
    "bad_time": (
        "(form = 'record' and event is null) or (form = 'heartbeat' and (slot is null or slot_end is null))",
        "a time is not a UTC time of the form YYYY-MM-DDTHH:MMZ or YYYY-MM-DDTHH:MM:SSZ",
        "coalesce(event_time, concat_ws(' ', \"from\", until))",
    ),
    "time_outside_month": (
        "(form = 'record' and not starts_with(event_time, month))"
        " or (form = 'heartbeat' and (not starts_with(\"from\", month) or slot >= slot_end"
        " or slot_end > try_cast(month || '-01' as timestamp) + interval 1 month))",
        "a time lies outside the month, or a slot ends before it begins",
        "coalesce(event_time, concat_ws(' ', \"from\", until))",
    ),
    **{
        name: (
            " or ".join(f"(form = 'record' and regexp_matches({end}, {_text(pattern)}))" for end in _ENDS),
            f"a title is illegal ({name.replace('_', ' ')})",
            "concat_ws(' <- ', article, referrer)",
        )
        for name, pattern in ILLEGAL.items()
    },
    "title_too_long": (
        f"form = 'record' and (strlen(article) > {MAX_TITLE_BYTES} or strlen(referrer) > {MAX_TITLE_BYTES})",
        f"a title is longer than {MAX_TITLE_BYTES} bytes",
        "concat_ws(' <- ', article, referrer)",
    ),
    "unknown_link_type": (
        f"form = 'record' and link_type not in ({', '.join(map(_text, LINK_TYPES))})",
        f"the link type is none of {', '.join(LINK_TYPES)}",
        "link_type",
    ),
    "type_against_referrer": (
        f"form = 'record' and (link_type = 'external') <> (referrer in ({_CLASS_LIST}))",
        "the link type is external exactly when the referrer is a class",
        "concat_ws(' ', referrer, link_type)",
    ),
    "bad_clicks": (
        "form = 'record' and (clicks_type not in ('UBIGINT', 'BIGINT') or clicks_number is null or clicks_number < 1)",
        "clicks is not an integer from 1 to 2^63 - 1",
        "clicks",
    ),
}  # fmt: skip

#: Why a log entry can be rejected: the closed list of error classes.
ERROR_CLASSES = tuple(_CHECKS)


def _time(field: str) -> str:
    """SQL that reads a time; null when it does not have the form or the date does not exist."""
    return (
        f"case when regexp_full_match({field}, '{TIME_FORM}') then"
        f" try_cast(left({field}, -1) || case when strlen({field}) = 17 then ':00' else '' end as timestamp) end"
    )


def _written(column: str) -> str:
    """SQL that writes a time."""
    short, long = (f"strftime({column}, '{form}')" for form in ("%Y-%m-%dT%H:%MZ", "%Y-%m-%dT%H:%M:%SZ"))
    return f"case when second({column}) = 0 then {short} else {long} end"


_PATHS = "[" + ", ".join(f"'$.{field}'" for field in _ALL) + "]"
_FIELDS_SQL = ", ".join(
    f'texts[{place}] as "{field}", types[{place}] as {field}_type' for place, field in enumerate(_ALL, 1)
)
_CHECK_SQL = " ".join(f"when {condition} then {_text(name)}" for name, (condition, _, _) in _CHECKS.items())
_REASON_SQL = " ".join(
    f"when {_text(name)} then concat_ws(': ', {_text(says)}, left({shown}, 120))"
    for name, (_, says, shown) in _CHECKS.items()
)
_DECODE = f"""
with valid as (
    select "offset", case when json_valid(text) then text end as document, text from lines
), parts as (
    select "offset", text, json_type(document) as shape, json_type(document, {_PATHS}) as types,
        json_extract_string(document, {_PATHS}) as texts
    from valid
), fields as (
    select "offset", text, shape, {_FIELDS_SQL} from parts
), typed as (
    select *,
        case when shape <> 'OBJECT' then 'none' when shape is null then null
            when control_type is null then 'record'
            when control_type = 'VARCHAR' and control in ('heartbeat', 'replacement') then control
            else 'unknown' end as form,
        try_cast(seq as bigint) as seq_number, try_cast(clicks as bigint) as clicks_number,
        {_time("event_time")} as event, {_time('"from"')} as slot, {_time("until")} as slot_end
    from fields
), judged as (
    select *, case {_CHECK_SQL} end as error_class from typed
)
select "offset", form, source, seq_number as seq, wiki, month, coalesce(event, slot) as event_time,
    referrer, article, link_type, clicks_number as clicks, slot_end as until, error_class,
    left(case error_class {_REASON_SQL} end, {MAX_REASON_CHARS}) as reason
from judged
"""  # noqa: S608 - built of this module's constants only

_ENCODE = f"""
with entries as (
    select *, {_written("event_time")} as "from", {_written('"until"')} as slot_end
    from rows
)
select encode(case kind
    when {int(Kind.RECORD)} then cast(json_object('source', source, 'seq', seq, 'wiki', wiki, 'month', month,
        'event_time', "from", 'referrer', referrer, 'article', article, 'link_type', link_type, 'clicks', clicks)
        as varchar)
    when {int(Kind.HEARTBEAT)} then cast(json_object('control', 'heartbeat', 'source', source, 'seq', seq,
        'wiki', wiki, 'month', month, 'from', "from", 'until', slot_end) as varchar)
    else cast(json_object('control', 'replacement', 'source', source, 'wiki', wiki, 'month', month) as varchar)
    end) as value
from entries
"""  # noqa: S608 - built of this module's constants only


@dataclass(frozen=True)
class Decoded:
    """Values of a log by kind, each in offset order: records + controls + rejects = values."""

    records: pa.Table  # records.RECORDS
    controls: pa.Table  # records.CONTROLS
    rejects: pa.Table  # records.REJECTS


def decode(offsets: pa.Array, keys: pa.Array, values: pa.Array, *, raw_bytes: int = MAX_RAW_BYTES) -> Decoded:
    """Decode JSON values (binary) with their offsets (int64, ascending) and keys (binary, nulls allowed).

    Never raises for a bad value: it becomes a reject with one of :data:`ERROR_CLASSES`, and its bytes are kept up to
    ``raw_bytes``.
    """
    if len(values) == 0:
        return Decoded(RECORDS.empty_table(), CONTROLS.empty_table(), REJECTS.empty_table())
    values = values.fill_null(b"")
    texts = _texts(values)
    taken, plain = canonical.read(texts)
    places = np.flatnonzero(taken)
    records = plain.add_column(0, OFFSET, offsets if len(places) == len(values) else offsets.take(pa.array(places)))
    if len(places) == len(values):
        return Decoded(records, CONTROLS.empty_table(), REJECTS.empty_table())
    rest = pa.array(np.flatnonzero(~taken))
    found = _decode_any(offsets.take(rest), keys.take(rest), values.take(rest), texts.take(rest), raw_bytes)
    if found.records.num_rows:
        records = pa.concat_tables([records, found.records]).sort_by("offset").combine_chunks()
    return Decoded(records, found.controls, found.rejects)


def _decode_any(offsets: pa.Array, keys: pa.Array, values: pa.Array, texts: pa.Array, raw_bytes: int) -> Decoded:
    """Decode JSON of any layout, and say of each bad value what is wrong with it."""
    connection = _connection()
    connection.register("lines", pa.table({"offset": offsets, "text": texts}))
    try:
        found = connection.sql(_DECODE).to_arrow_table()
    finally:
        connection.unregister("lines")
    good = pc.is_null(found["error_class"])
    record = pc.and_kleene(good, pc.equal(found["form"], "record"))
    control = pc.and_not_kleene(good, pc.equal(found["form"], "record"))
    return Decoded(
        records=_chosen(found, record).select(RECORDS.names).cast(RECORDS),
        controls=_controls(_chosen(found, control)),
        rejects=_rejects(found.filter(pc.invert(good)), offsets, keys, values, raw_bytes),
    )


def encode(entries: pa.Table) -> pa.Array:
    """Encode entries (schema ``records.ENTRIES``) as JSON values (binary) that :func:`decode` reads."""
    kinds = entries["kind"].to_numpy()
    others = np.flatnonzero(kinds != Kind.RECORD)
    records = entries.filter(pa.array(kinds == Kind.RECORD)) if len(others) else entries
    plain = canonical.write(records.select(CLICKS.names)) if len(others) * 64 <= len(kinds) else None
    if plain is None:
        return _encode_any(entries)
    if not len(others):
        return plain.cast(pa.binary())
    rest = _encode_any(entries.take(pa.array(others)))
    pieces, start = [], 0
    for number, place in enumerate(others.tolist()):  # few stand between long runs of records
        pieces += [plain.slice(start, place - number - start).cast(pa.binary()), rest.slice(number, 1)]
        start = place - number
    return pa.concat_arrays([*pieces, plain.slice(start).cast(pa.binary())])


def _encode_any(entries: pa.Table) -> pa.Array:
    connection = _connection()
    connection.register("rows", entries)
    try:
        return connection.sql(_ENCODE).to_arrow_table()["value"].cast(pa.binary()).combine_chunks()
    finally:
        connection.unregister("rows")


def _texts(values: pa.Array) -> pa.Array:
    """The values as text, null where they are not UTF-8."""
    try:
        return values.cast(pa.string())
    except pa.ArrowInvalid:
        connection = _connection()
        connection.register("raw", pa.table({"value": values}))
        try:
            return (
                connection.sql("select try(decode(value)) as text from raw").to_arrow_table()["text"].combine_chunks()
            )
        finally:
            connection.unregister("raw")


def _chosen(found: pa.Table, mask: pa.ChunkedArray) -> pa.Table:
    return found if pc.all(mask).as_py() else found.filter(mask)


def _controls(found: pa.Table) -> pa.Table:
    """Heartbeats and replacements; a replacement has neither seq nor times, whatever its value says."""
    beat = pc.equal(found["form"], "heartbeat")
    columns = {
        "kind": pc.if_else(beat, int(Kind.HEARTBEAT), int(Kind.REPLACEMENT)),
        "seq": pc.if_else(beat, found["seq"], -1),
        "event_time": pc.if_else(beat, found["event_time"], None),
        "until": pc.if_else(beat, found["until"], None),
    }
    columns |= {name: found[name] for name in CONTROLS.names if name not in columns}
    return pa.table([columns[name] for name in CONTROLS.names], names=CONTROLS.names).cast(CONTROLS)


def _rejects(found: pa.Table, offsets: pa.Array, keys: pa.Array, values: pa.Array, raw_bytes: int) -> pa.Table:
    if found.num_rows == 0:
        return REJECTS.empty_table()
    places = pc.index_in(found["offset"].combine_chunks(), value_set=offsets)
    raw = values.take(places)
    return pa.table(
        {
            OFFSET.name: found["offset"],
            "key": pc.binary_slice(keys.take(places), 0, MAX_RAW_BYTES),
            "value": pc.binary_slice(raw, 0, raw_bytes),
            "cut": pc.greater(pc.binary_length(raw), raw_bytes),
            "error_class": found["error_class"],
            "reason": found["reason"],
        }
    ).cast(REJECTS)


_local = threading.local()


def _connection() -> duckdb.DuckDBPyConnection:
    """A database in memory for each thread that decodes; it holds nothing between calls."""
    connection: Any = getattr(_local, "connection", None)
    if connection is None:
        connection = _local.connection = duckdb.connect(config={"memory_limit": "2GB", "threads": 2})
    return cast(duckdb.DuckDBPyConnection, connection)
