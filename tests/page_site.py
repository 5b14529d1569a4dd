"""A site for the tests of pages: two wikis, odd titles, long lists, live rows and trends, all made up here."""

from __future__ import annotations

from pathlib import Path

from readerflow.common.months import HOUR
from readerflow.storage.realtime_views import StreamProgress
from readerflow.storage.sqlite_realtime import SQLiteRealtime
from tests.serving_store import LIVE_TOTALS, MONTH, SOURCE, START, WIKI, Click, Store, micro_batch, numbered

OTHER_WIKI, OTHER_SOURCE = "arwiki", "e5f6a7b8"
HORIZON_HOUR, END_HOUR = 720, 744
HUB, PLAIN, QUIET, SENDER, BUSY = "Zagreb", "Petar_IV._Zrinski", "Samo_tražilica", "Samo_odlazi", "Više_odlazi"
NEARLY = "Članak_1"  # below the threshold of trends

#: Legal titles that addresses, markup or charts could break on.
ODD_TITLES = (
    "NaN", "-", ".", "..", "a/b", "/a", "a/", "a//b", "//a", "a/../b", "./a", "a/.", "a+b", "100%", "%2F", "%2e%2e",
    '"', '"Quoted"', "it's", "\\", "back\\slash", "<script>alert(1)</script>", "<b>bold</b>", "a&b=c", "?", "#",
    "a?b#c",
    "</script><script>alert(2)</script>", ";", "a;b", "{a|b}", "日本国憲法第9条", "المملكة_العربية_السعودية", "😀",
    "\u202eevil", "x" * 255, "null", "_", "a_", "latest", "C:",
)  # fmt: skip


def clicks() -> list[Click]:
    """The month of WIKI; a tenth of each pair's clicks lies in the hours after the horizon."""
    pairs: list[tuple[str, str, str, int]] = [
        ("other-search", HUB, "external", 9_000),
        ("other-empty", HUB, "external", 2_000),
        ("other-internal", HUB, "external", 400),
        ("other-external", HUB, "external", 60),
        ("other-other", HUB, "external", 20),
        ("other-search", PLAIN, "external", 2_950),
        ("other-empty", PLAIN, "external", 274),
        (HUB, PLAIN, "link", 685),
        ("Nepročitano_pismo", PLAIN, "link", 345),
        ("Nepročitano_pismo", PLAIN, "other", 12),
        (PLAIN, HUB, "link", 433),
        (PLAIN, "Nikola_Šubić_Zrinski", "link", 206),
        (PLAIN, "Dan_pogibije_Zrinskog_i_Frankopana", "other", 44),
        ("other-search", QUIET, "external", 14),
        (SENDER, HUB, "link", 31),
        ("other-search", BUSY, "external", 10),
        (BUSY, PLAIN, "link", 90),
    ]
    pairs += [(f"Članak_{number}", HUB, "link", 10 + number) for number in range(150)]
    pairs += [(HUB, f"Članak_{number}", "link", 10 + number % 40) for number in range(150)]
    for place, title in enumerate(ODD_TITLES):
        pairs.append(("other-search", title, "external", 10 + place))
        pairs.append((PLAIN, title, "link", 20))
        pairs.append((title, HUB, "link", 15))
    return numbered(_spread(pairs))


def _spread(pairs: list[tuple[str, str, str, int]]) -> list[Click]:
    found = []
    for place, (referrer, article, link_type, n) in enumerate(pairs):
        live = n // 10
        found.append(Click(place % HORIZON_HOUR, referrer, article, link_type, n - live))
        if live:
            found.append(Click(HORIZON_HOUR + place % 24, referrer, article, link_type, live))
    return found


def trends(scale: int = 1) -> list[tuple[object, ...]]:
    """Rows of TRENDING after the source, for each window; the clicks grow with ``scale``."""
    end = START + END_HOUR * HOUR
    found = ((PLAIN, 95, 60.0), (HUB, 1284, 30.0), ("<b>bold</b>", 40, 20.0), (NEARLY, 25, 2.1))
    return [
        (window, position, title, clicks * scale, clicks / (9 - position), score, end - window * HOUR, end)
        for window in (1, 6, 24)
        for position, (title, clicks, score) in enumerate(found, 1)
    ]


class LiveSite:
    """The filled stores of a home, to which micro-batches can be added.

    :param missing_hours: hours after the horizon that the stream has not seen.
    """

    def __init__(self, home: Path, missing_hours: int = 0) -> None:
        self.store = Store(home, months={SOURCE: (WIKI, MONTH), OTHER_SOURCE: (OTHER_WIKI, MONTH)})
        self.clicks = clicks()
        self.rows_from = HORIZON_HOUR + missing_hours if missing_hours else 0
        self.batch_id = 0

    def fill(self) -> None:
        self.store.publish(self.clicks, HORIZON_HOUR)
        other = [Click(1, "other-search", "المملكة_العربية_السعودية", "external", 50)]
        self.store.publish(numbered(other), END_HOUR, source=OTHER_SOURCE)
        with SQLiteRealtime(self.store.serving_db) as realtime:
            realtime.begin("i1", StreamProgress(), LIVE_TOTALS.empty_table())
        self.commit(self.clicks)
        with SQLiteRealtime(self.store.serving_db) as realtime:
            realtime.adopt("i1", None)

    def commit(self, clicks: list[Click], scale: int = 1) -> None:
        """Let the stream see more clicks and find new trends."""
        self.batch_id += 1
        ends = {partition: 10_000 + self.batch_id for partition in (0, 1)}
        batch = micro_batch(
            clicks, self.batch_id, END_HOUR, trends=trends(scale), ends=ends, rows_from_hour=self.rows_from
        )
        with SQLiteRealtime(self.store.serving_db) as realtime:
            realtime.commit("i1", batch)
