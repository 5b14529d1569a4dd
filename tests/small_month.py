"""A small preprocessed month for tests of all rooms: odd titles, all classes and link types, few and many clicks.

Import it with ``from tests.small_month import ...`` or load it by path; it needs nothing but the pair store.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from readerflow.common.facts import to_json
from readerflow.common.records import CLASS_OF, CLASSES, PAIRS
from readerflow.storage.pairs import FOOTER_KEY, REJECTED_LINES, PairsFacts, PairStore

WIKI, MONTH = "testwiki", "2025-02"

#: Legal titles that naive code breaks on.
ODD_TITLES = (
    "NaN", "-", ".", "..", "/", "//", "/a", "a/", "A/B", "C++", "100%", "%2F", "%00", '"', '"Quoted"', 'X_"Y"', "\\",
    "back\\slash", "'", "it's", "<b>bold</b>", "<script>alert(1)</script>", "a&b", "=1+1", "@here", "null", "true", "0",
    "1e6", "Zagreb", "Čovjek_koji_nije_mogao_šutjeti_(2024.)", "東京", "العربية", "😀", "\u202ebidi", "a\u0301", "á",
    "other-", "other-thing", "Talk:Other:Thing", "x" * 255, "š" * 127, "Main_Page", "?", "#", "a?b=c#d", ";DROP_TABLE",
)  # fmt: skip


def rows() -> list[tuple[str, str, str, int]]:
    """(referrer, article, link_type, clicks), unique by the first three, in a dump's order (clicks descending)."""
    found: dict[tuple[str, str, str], int] = {}

    def add(referrer: str, article: str, link_type: str, clicks: int) -> None:
        found.setdefault((referrer, article, link_type), clicks)

    titles = [*ODD_TITLES, *(f"Article_{number}" for number in range(20))]
    for place, title in enumerate(titles):
        add(CLASSES[place % len(CLASSES)], title, "external", 10 + place * place % 97)
        add(titles[place - 1], title, "link", 10 + place * 7 % 31)
        add(titles[place - 3], title, "other" if place % 3 else "link", 10 + place * 5 % 23)
    add("other-search", "Main_Page", "external", 20_000)
    add("other-empty", "Zagreb", "external", 3_001)
    add("Main_Page", "Zagreb", "link", 1_234)
    add("Zagreb", "Zagreb", "link", 12)
    return sorted(((*key, clicks) for key, clicks in found.items()), key=lambda row: -row[3])


def pairs_table(wiki: str = WIKI, month: str = MONTH, pairs: list[tuple[str, str, str, int]] | None = None) -> pa.Table:
    pairs = rows() if pairs is None else pairs
    columns: list[list[object]] = [list(column) for column in zip(*pairs, strict=True)] if pairs else [[], [], [], []]
    referrers, articles, link_types, clicks = columns
    return pa.table(
        [[wiki] * len(pairs), [month] * len(pairs), referrers, articles, link_types, clicks],
        schema=PAIRS,
    )


def write_month(
    root: Path,
    wiki: str = WIKI,
    month: str = MONTH,
    pairs: list[tuple[str, str, str, int]] | None = None,
) -> PairStore:
    """Write a month below ``root`` (a home's ``pairs`` folder) as ``preprocess`` does and return the store."""
    store = PairStore(root)
    table = pairs_table(wiki, month, pairs)
    facts = facts_of(table, wiki, month)
    path = store.path(wiki, month)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({FOOTER_KEY: to_json(facts).encode()}), path)
    pq.write_table(REJECTED_LINES.empty_table(), store.rejects_path(wiki, month))
    return store


def facts_of(table: pa.Table, wiki: str, month: str) -> PairsFacts:
    by_type: Counter[str] = Counter()
    by_class: Counter[str] = Counter()
    for row in table.to_pylist():
        by_type[row["link_type"]] += row["clicks"]
        entry = CLASS_OF.get(row["referrer"])
        by_class[entry or ("link" if row["link_type"] == "link" else "other")] += row["clicks"]
    text = "\n".join("\t".join(map(str, row.values())) for row in table.to_pylist())
    clicks = sum(by_type.values())
    return PairsFacts(
        wiki=wiki,
        month=month,
        dump=f"clickstream-{wiki}-{month}.tsv",
        dialect="quoted",
        synthetic=False,
        read=table.num_rows,
        accepted=table.num_rows,
        rejected=0,
        clicks=clicks,
        checksum=hashlib.sha256(text.encode()).hexdigest(),
        clicks_by_type=dict(by_type),
        clicks_by_class=dict(by_class),
        dump_clicks=clicks,
    )
