"""The API's shapes, for OpenAPI: what requests may say and what answers hold. Unknown parameters are refused."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from .paging import MAX_TOKEN_CHARS

MAX_LIMIT = 1000
DEFAULT_LIMIT = 50

WIKI = Field(description="A wiki's database name, like hrwiki.")
MONTH = Field(description="YYYY-MM, or `latest`: the greatest month with a published generation.")
TITLE = Field(description="An article's title; spaces count as underscores, slashes may be written as they are.")
NEXT = Field(None, max_length=MAX_TOKEN_CHARS, description="The `next` of the page before.")


_schemas: dict[Any, dict[str, Any]] = {}


class Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")

    @classmethod
    def model_json_schema(cls, *options: Any, **more: Any) -> dict[str, Any]:
        """As pydantic's, made once: flask-openapi3 asks for it with every request."""
        key = (cls, options, tuple(sorted(more.items())))
        if key not in _schemas:
            _schemas[key] = super().model_json_schema(*options, **more)
        return _schemas[key]


class Nothing(Asked):
    """No parameters."""


class WikiPath(Asked):
    wiki: str = WIKI


class MonthPath(WikiPath):
    month: str = MONTH


class TitlePath(MonthPath):
    title: str = TITLE


class RankingPath(MonthPath):
    ranking: str = Field(description="in, out, entries, pagerank, reader_rank, link_rank, or a class of entries.")


class ExportPath(MonthPath):
    view: str = Field(description="articles, sources, destinations, rankings, classes, communities or graph.")


class TitleQuery(Asked):
    title: str = TITLE


class PageQuery(Asked):
    limit: int = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="Rows of a page.")
    next: str | None = NEXT


class TitlePageQuery(PageQuery):
    title: str = TITLE


class TrendingQuery(Asked):
    window: Literal["1", "6", "24"] = Field("6", description="Hours.")
    limit: int = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT)


class ExportQuery(Asked):
    format: Literal["csv", "jsonl", "parquet"] = "csv"


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Count(Answer):
    """Clicks and where they come from: clicks = batch + live."""

    clicks: int
    batch: int
    live: int


class Gap(Answer):
    """A part of the month that nobody saw, half open; read ``from`` and ``until``."""

    from_: str = Field(alias="from")
    until: str


class Envelope(Answer):
    """What every answer rests on."""

    wiki: str
    month: str
    lang: str
    source: str | None = Field(description="The replay whose records count.")
    generation: str | None = Field(description="The batch views' generation; null before the first.")
    horizon: str = Field(description="Batch views hold clicks before it, live rows those from it on.")
    incarnation: str | None = Field(description="The stream's incarnation; null without a stream.")
    realtime_batch: int = Field(description="The last micro-batch in it.")
    live_until: str = Field(description="The hour that the stream has passed in every partition.")
    complete: bool = Field(description="About [month's start, live_until): nothing late, no hole, source not replaced.")
    late: int = Field(description="Clicks before the horizon that the generation does not hold.")
    holes: list[Gap]
    replaced: bool
    generated: bool = Field(description="Whether the month is made up, not Wikimedia's.")


class Rank(Answer):
    position: int
    value: float


class Ranks(Answer):
    """Positions among ``of`` linked articles; null outside the link graph. Batch only."""

    pagerank: Rank | None
    reader_rank: Rank | None
    link_rank: Rank | None
    of: int


class Entries(Answer):
    search: Count
    empty: Count
    internal: Count
    external: Count
    other: Count


class Community(Answer):
    """Articles between which readers move, named by the one with most clicks in by links; ``size`` counts them."""

    name: str
    size: int


class Article(Envelope):
    """An article's numbers; in = entries + in_link + in_other."""

    title: str
    display_title: str
    wikipedia: str
    in_: Count = Field(alias="in")
    out: Count
    entries: Entries
    in_link: Count
    in_other: Count
    in_pairs: int
    out_pairs: int
    dead_end_share: float | None = Field(description="max(0, 1 - out/in); null without clicks in.")
    ranks: Ranks
    community: Community | None = Field(description="Null outside the link graph. Batch only.")


class NumbersOrNone(Answer):
    """The numbers of an article among others; null throughout where nobody knows it."""

    in_: Count | None = Field(alias="in")
    out: Count | None
    entries: Entries | None
    in_link: Count | None
    in_other: Count | None
    dead_end_share: float | None
    ranks: Ranks | None


class NeighbourItem(Answer):
    position: int
    title: str
    display_title: str
    kind: Literal["article", "search", "empty", "internal", "external", "other"]
    link_type: str
    clicks: Count
    share: float | None


class Before(Answer):
    rows: int
    clicks: Count


class Rest(Before):
    share: float | None


class Neighbours(Envelope):
    """A page of sources or destinations: before + items + rest = clicks, in rows and in clicks."""

    title: str
    display_title: str
    wikipedia: str
    side: Literal["sources", "destinations"]
    total: int
    clicks: Count
    before: Before
    items: list[NeighbourItem]
    rest: Rest
    next: str | None


class RankingItem(Answer):
    position: int
    title: str
    display_title: str
    value: int | float


class RankFacts(Answer):
    iterations: int
    residual: float
    converged: bool
    uniform_teleport: bool


class Ranking(Envelope):
    ranking: str
    unit: Literal["clicks", "share", "ratio"]
    batch_only: bool
    total: int
    iterations: RankFacts | None
    items: list[RankingItem]
    next: str | None


class ClassItem(Answer):
    class_: str = Field(alias="class")
    kind: str
    clicks: Count
    pairs: int
    share: float | None


class Overview(Envelope):
    clicks: Count
    articles: int
    linked_articles: int
    pairs: int
    items: list[ClassItem]


class TrendItem(Answer):
    position: int
    title: str
    display_title: str
    clicks: int
    expected: float
    times: float | None
    score: float
    trending: bool = Field(description="Whether the score is the threshold or more; the others came nearest.")
    hourly: list[int | None]


class Trending(Envelope):
    """Articles with a score above 0, the highest first; those from ``threshold`` on count as trending."""

    window: int
    windows: list[int]
    threshold: float = Field(description="The score from which an article counts as trending.")
    min_clicks: int = Field(description="Clicks in the window that each item has at least.")
    formula: str
    start: str | None
    end: str | None
    hourly_from: str
    synthetic_times: str
    items: list[TrendItem]


class GenerationFacts(Answer):
    generation: str
    state: Literal["serving", "kept"]
    source: str
    horizon: str
    started: str
    finished: str
    seconds: float
    engine: str
    version: str
    articles: int
    linked_articles: int
    pairs: int
    clicks: int
    rows: dict[str, int]
    ranks: dict[str, RankFacts]


class StreamPartition(Answer):
    partition: int
    offset: int
    end_offset: int | None
    lag: int | None
    passed: str | None
    covered: int | None


class StreamFacts(Answer):
    incarnation: str | None
    batch_id: int
    records: int
    rejects: int
    duplicates: int
    partitions: list[StreamPartition]


class Status(Envelope):
    generations: list[GenerationFacts]
    stream: StreamFacts | None
    synthetic_times: str


class WikiFacts(Answer):
    wiki: str
    lang: str
    latest: str | None
    latest_live: str | None
    months: list[Envelope]


class Exports(Answer):
    views: list[str]
    formats: list[str]


class Limits(Answer):
    limit: int
    default_limit: int
    titles: int = Field(description="Of one list of articles.")
    trail: int = Field(description="Articles of a trail.")
    neighbours: int = Field(description="On each side of a trail's last article.")
    live_clients: int


class Trends(Answer):
    threshold: float
    min_clicks: int
    formula: str


class Meta(Answer):
    name: str
    version: str
    wikis: list[WikiFacts]
    rankings: list[str]
    windows: list[int]
    exports: Exports
    limits: Limits
    trends: Trends
    synthetic_times: str
    licence: str


class Health(Answer):
    status: Literal["ok"]


class Ready(Answer):
    status: Literal["ready"]
    months: int


class ProblemDetails(BaseModel):
    """An error, as RFC 9457 has it; some have more members, such as ``near``: titles like the one asked for."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
