"""Shapes of the API about months side by side; see :mod:`.models`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .models import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    NEXT,
    TITLE,
    Answer,
    Asked,
    Count,
    Envelope,
    NumbersOrNone,
    WikiPath,
)

Direction = Literal["rise", "fall"]
OneMonthKind = Literal["new", "vanished"]
SideName = Literal["sources", "destinations"]
AGAINST = Field(None, description="YYYY-MM or `latest`; without it the month before, else the one after.")


class MonthsQuery(Asked):
    wiki: str | None = Field(None, description="Only this wiki's months.")
    month: str | None = Field(None, description="Only this month, YYYY-MM.")


class HistoryPath(WikiPath):
    title: str = TITLE


class TwoMonthsQuery(Asked):
    against: str | None = AGAINST
    next: str | None = NEXT


class LimitQuery(Asked):
    limit: int = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="Rows of a page.")


class MoversOf(TwoMonthsQuery):
    by: Literal["in", "out", "entries", "search", "empty", "internal", "external", "other"] = Field(
        "in", description="What is compared."
    )
    order: Literal["clicks", "share"] = Field(
        "clicks", description="By change in clicks a day covered, or in share of the month's clicks."
    )


class MoversQuery(MoversOf, LimitQuery):
    direction: Direction = "rise"


class ChangedPairsQuery(TwoMonthsQuery, LimitQuery):
    kind: OneMonthKind = Field("new", description="Pairs of this month only, or of the other only.")


class ChangesOf(TwoMonthsQuery):
    kind: Literal["all", "new", "vanished", "both"] = Field("all", description="Pairs of which months.")


class ChangesQuery(ChangesOf, LimitQuery):
    side: SideName = "sources"
    order: Literal["change", "clicks"] = Field("change", description="By change in clicks a day, or by clicks a day.")


class ChangesTitleQuery(ChangesQuery):
    title: str = TITLE


class Covered(Answer):
    """How much of a month is counted."""

    hours: int
    days: float
    whole: bool


class ClassClicks(Answer):
    class_: str = Field(alias="class")
    kind: str
    clicks: Count
    share: float | None


class MonthTotals(Envelope):
    covered: Covered = Field(description="Up to `live_until`.")
    clicks: Count
    clicks_per_day: float | None
    articles: int = Field(description="Batch only, as are the next two.")
    linked_articles: int
    pairs: int
    classes: list[ClassClicks]


class Months(Answer):
    """Each month with an envelope of its own, by wiki and month."""

    total: int
    items: list[MonthTotals]


class HistoryMonth(Envelope, NumbersOrNone):
    """An article in a month; null throughout where the month lacks it: no pair of it reached 10 clicks."""

    covered: Covered = Field(description="Up to `live_until`.")
    in_per_day: float | None
    out_per_day: float | None


class History(Answer):
    wiki: str
    title: str
    display_title: str
    total: int
    items: list[HistoryMonth]


class ComparedMonth(Envelope):
    covered: Covered = Field(description="Up to `horizon`.")


class _Comparison(Envelope):
    """Two generations of a wiki; ``now`` is the month of the path, ``before`` the one of ``against``."""

    covered: Covered = Field(description="Up to `horizon`.")
    against: ComparedMonth
    batch_only: bool


class Two(Answer):
    now: int
    before: int


class TwoOrNone(Answer):
    now: int | None
    before: int | None


class Mover(Answer):
    position: int
    title: str
    display_title: str
    now: int | None = Field(description="Null where the month lacks the article; changes count that as 0.")
    before: int | None
    now_per_day: float
    before_per_day: float
    change_per_day: float
    times: float | None
    now_share: float
    before_share: float
    change_share: float


class Movers(_Comparison):
    measure: str
    order: str
    direction: str
    clicks: Two = Field(description="All clicks of the measure.")
    found: int = Field(description="Articles that moved so; the list holds the first `total`.")
    total: int
    items: list[Mover]
    next: str | None


class Bounds(Answer):
    least: int
    most: int


class Absent(Answer):
    """Clicks that a pair may have had in a month that lacks it; null where the month is not whole."""

    now: Bounds | None
    before: Bounds | None


class PairSums(Answer):
    pairs: int
    now: int
    before: int


class FoldedPairs(PairSums):
    now_pairs: int
    before_pairs: int


class PairsByKind(Answer):
    new: PairSums
    vanished: PairSums
    both: PairSums


class ChangedPair(Answer):
    position: int
    referrer: str
    article: str
    kind: str
    link_type: str
    now: int | None
    before: int | None
    change: Bounds | None = Field(description="Null where the month that lacks the pair is not whole.")


class ChangedPairs(_Comparison):
    kind: str
    absent: Absent
    pairs: PairsByKind
    total: int
    items: list[ChangedPair]
    next: str | None


class ArticlePair(Mover):
    kind: str
    link_type: str
    change: Bounds | None


class Changes(_Comparison):
    """earlier + items + rest = all pairs of the kind."""

    title: str
    display_title: str
    side: str
    kind: str
    order: str
    absent: Absent
    clicks: TwoOrNone
    pairs: PairsByKind
    total: int
    earlier: FoldedPairs
    items: list[ArticlePair]
    rest: FoldedPairs
    next: str | None
