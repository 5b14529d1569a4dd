"""What changed from one month of a wiki to another: movers, pairs that came or went, and both for one article.

Plain dicts as in :mod:`.answers`. Everything here is batch only: it compares two generations, each up to its horizon.
Months differ in length, and a generation may end within its month, so that movers are ordered by clicks *a day covered*
or by share; a generation of less than a day is not compared. The dump holds no pair of fewer than 10 clicks a month: a
pair that a whole month lacks had 0 to 9 there, and what changed is known within these bounds only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from readerflow.common.records import CLASS_OF
from readerflow.common.titles import display
from readerflow.storage.batch_views import Manifest, NoGeneration
from readerflow.storage.changes import mover_list
from readerflow.storage.serving_views import NEIGHBOURS, Reading, ServingViews, Side, Snapshot

from . import answers
from .context import envelope, resolve_month
from .models import DEFAULT_LIMIT
from .months import DAY_HOURS, covered, per_day
from .paging import ComparisonPage
from .problems import BadRequest, Gone, NotComparable, NotFound

#: The dump publishes pairs from so many clicks a month on.
PUBLISHED_FROM = 10
#: Pairs of an article on one side that a request joins.
MAX_PAIRS = 100_000
PAIR_KINDS = ("all", "new", "vanished", "both")
_CLICKS = {Side.SOURCES: "in_clicks", Side.DESTINATIONS: "out_clicks"}
_PAIRS = {Side.SOURCES: "in_pairs", Side.DESTINATIONS: "out_pairs"}


@dataclass(frozen=True)
class TwoMonths:
    """Readings of two months of a wiki, and what each covers; what is not read stays true after they were closed."""

    now: Reading
    before: Reading
    page: ComparisonPage

    @property
    def manifests(self) -> tuple[Manifest, Manifest]:
        return cast(Manifest, self.now.snapshot.manifest), cast(Manifest, self.before.snapshot.manifest)

    @property
    def spans(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return _span(self.now.snapshot), _span(self.before.snapshot)

    def head(self) -> dict[str, Any]:
        """What an answer says of the two generations."""
        now, before = self.now.snapshot, self.before.snapshot
        spans = self.spans
        return {
            **envelope(now),
            "covered": spans[0],
            "against": {**envelope(before), "covered": spans[1]},
            "batch_only": True,
        }


def _span(at: Snapshot) -> dict[str, Any]:
    return covered(at.month, at.horizon)


def other_month(serving: ServingViews, wiki: str, month: str, against: str | None) -> str:
    """The month to compare with: the one asked for, else the one before, else the one after.

    :raises BadRequest: when it is the month itself.
    :raises NotFound: when the wiki has no other.
    """
    if against is not None:
        found = resolve_month(serving, wiki, against)
        if found == month:
            raise BadRequest(f"'against' is {month} itself; name another month")
        return found
    kept = [at.month for at in serving.snapshots() if at.wiki == wiki and at.manifest and at.month != month]
    earlier = [one for one in kept if one < month]
    if not kept:
        raise NotFound(f"{wiki} has no other month with batch views to compare {month} with")
    return max(earlier) if earlier else min(kept)


@contextmanager
def two_months(
    serving: ServingViews, wiki: str, month: str, against: str | None, token: str | None = None
) -> Iterator[TwoMonths]:
    """Read two months, of the generations of ``token`` while they are kept.

    :raises NotFound: when one of them has no batch views.
    :raises NotComparable: when one of them covers less than a day.
    :raises Gone: when a generation of the token is no longer kept.
    """
    month = resolve_month(serving, wiki, month)
    against = other_month(serving, wiki, month, against)
    page = ComparisonPage.parse(token) if token else None
    with ExitStack() as stack:
        if page is None:
            now, before = (stack.enter_context(serving.read(wiki, one)) for one in (month, against))
        else:
            try:
                now = stack.enter_context(serving.read_at(wiki, month, page.generation))
                before = stack.enter_context(serving.read_at(wiki, against, page.against))
            except NoGeneration:
                raise Gone("this list has ended: a generation is no longer kept; begin again without 'next'") from None
        names = []
        for at in (now.snapshot, before.snapshot):
            if at.generation is None:
                raise NotFound(f"{wiki} {at.month} has no batch views yet, and changes are told of those only")
            if _span(at)["hours"] < DAY_HOURS:
                raise NotComparable(
                    f"the batch views of {wiki} {at.month} cover less than a day, which no month compares with"
                )
            names.append(at.generation)
        yield TwoMonths(now, before, page or ComparisonPage(names[0], names[1], 0))


def two_generations(
    serving: ServingViews, wiki: str, month: str, against: str | None, token: str | None = None
) -> TwoMonths:
    """As :func:`two_months`, for what is worked out apart: who waits for it must not hold a place to read."""
    with two_months(serving, wiki, month, against, token) as two:
        return two


def _following(two: TwoMonths, shown: int, kept: int) -> str | None:
    """The token of the next page of a list of ``kept`` rows."""
    end = two.page.position + shown
    return ComparisonPage(two.page.generation, two.page.against, end).token() if end < kept else None


def movers(
    serving: ServingViews, two: TwoMonths, measure: str, order: str, direction: str, *, limit: int = DEFAULT_LIMIT
) -> dict[str, Any]:
    """A page of the articles that rose or fell most in a measure.

    ``order`` is clicks (a day covered) or share (of all clicks of the measure). ``found`` articles did, of which the
    list holds the first ``total``. ``now`` and ``before`` are null where the month lacks the article: no pair of it
    reached 10 clicks; changes count that as 0.

    :raises ChangesPending: while the list is being worked out.
    """
    changes = serving.movers(*two.manifests)
    name = mover_list(measure, order, direction)
    rows = changes.page(name, two.page.position, limit).to_pylist()
    whole = changes.facts["totals"][measure]
    return {
        **two.head(),
        "measure": measure,
        "order": order,
        "direction": direction,
        "clicks": {"now": whole[0], "before": whole[1]},
        "found": changes.facts["found"][name],
        "total": changes.kept(name),
        "items": [
            {
                "position": position,
                "title": row["title"],
                "display_title": display(row["title"]),
                **_compared(row["now"], row["before"], two.spans, whole),
            }
            for position, row in enumerate(rows, two.page.position + 1)
        ],
        "next": _following(two, len(rows), changes.kept(name)),
    }


def _compared(
    now: int | None, before: int | None, spans: tuple[Mapping[str, Any], Mapping[str, Any]], whole: list[int]
) -> dict[str, Any]:
    """Clicks of two months and what makes them comparable; nothing counts as 0."""
    days = [per_day(clicks or 0, span) or 0.0 for clicks, span in zip((now, before), spans, strict=True)]
    shares = [(clicks or 0) / of if of else 0.0 for clicks, of in zip((now, before), whole, strict=True)]
    return {
        "now": now,
        "before": before,
        "now_per_day": days[0],
        "before_per_day": days[1],
        "change_per_day": days[0] - days[1],
        "times": days[0] / days[1] if days[1] else None,
        "now_share": shares[0],
        "before_share": shares[1],
        "change_share": shares[0] - shares[1],
    }


def bounds(
    now: int | None, before: int | None, spans: tuple[Mapping[str, Any], Mapping[str, Any]]
) -> dict[str, int] | None:
    """Between what a pair's clicks changed, as {least, most}; None where the month that lacks it is not whole."""
    if any(clicks is None and not span["whole"] for clicks, span in zip((now, before), spans, strict=True)):
        return None
    (low, high), (least, most) = (
        (0, PUBLISHED_FROM - 1) if clicks is None else (clicks, clicks) for clicks in (now, before)
    )
    return {"least": low - most, "most": high - least}


def absent(spans: tuple[Mapping[str, Any], Mapping[str, Any]]) -> dict[str, Any]:
    """How many clicks a pair may have had in a month that lacks it; None where the month is not whole."""
    known = {"least": 0, "most": PUBLISHED_FROM - 1}
    return {name: known if span["whole"] else None for name, span in zip(("now", "before"), spans, strict=True)}


def month_pairs(serving: ServingViews, two: TwoMonths, which: str, *, limit: int = DEFAULT_LIMIT) -> dict[str, Any]:
    """A page of the pairs that only one of the months has, those with most clicks first.

    ``which``, the answer's ``kind``, is new (in ``month`` only) or vanished (in ``against`` only). ``pairs`` counts all
    pairs of either list and those that ``both`` months have, with their clicks; the list holds the first ``total``.

    :raises ChangesPending: while the lists are being worked out.
    """
    changes = serving.pair_changes(*two.manifests)
    rows = changes.page(which, two.page.position, limit).to_pylist()
    spans = two.spans
    return {
        **two.head(),
        "kind": which,
        "absent": absent(spans),
        "pairs": changes.facts,
        "total": changes.kept(which),
        "items": [
            {
                "position": position,
                "referrer": row["referrer"],
                "article": row["article"],
                "kind": kind_of(row["referrer"]),
                "link_type": row["link_type"],
                "now": now,
                "before": before,
                "change": bounds(now, before, spans),
            }
            for position, row in enumerate(rows, two.page.position + 1)
            for now, before in [(row["clicks"], None) if which == "new" else (None, row["clicks"])]
        ],
        "next": _following(two, len(rows), changes.kept(which)),
    }


def kind_of(title: str) -> str:
    """What a referrer is."""
    return answers.KINDS[CLASS_OF[title]] if title in CLASS_OF else "article"


def article_pairs(
    two: TwoMonths, side: Side, title: str, *, kind: str = "all", order: str = "change", limit: int = DEFAULT_LIMIT
) -> dict[str, Any]:
    """A page of an article's sources or destinations in two months.

    ``kind`` is all, new, vanished or both; ``order`` is change (a day covered, either way) or clicks (a day, in the
    month with more). ``clicks`` are the article's on that side, null in a month that lacks it; ``pairs`` counts the
    pairs of each kind. ``earlier`` + items + ``rest`` = all of that kind.

    :raises NotFound: when neither month has heard of the article.
    :raises NotComparable: when it has more than MAX_PAIRS pairs.
    """
    rows = [reading.article(title)[0] for reading in (two.now, two.before)]
    if rows == [None, None]:
        near = answers.near_titles(two.now, title)
        months = f"{two.now.snapshot.month} and {two.before.snapshot.month}"
        raise NotFound(f"no article '{display(title)}' in the batch views of {months}", near=near)
    joined = _joined(two, side, title, [(row[_PAIRS[side]] or 0) if row else 0 for row in rows], order)
    kinds = {
        "new": pc.is_null(joined["before"]),
        "vanished": pc.is_null(joined["now"]),
        "both": pc.and_(pc.is_valid(joined["now"]), pc.is_valid(joined["before"])),
    }
    chosen = joined if kind == "all" else joined.filter(kinds[kind])
    start, end = two.page.position, two.page.position + limit
    whole = [row[_CLICKS[side]] if row else None for row in rows]
    shown = chosen.slice(start, limit).to_pylist()
    return {
        **two.head(),
        "title": title,
        "display_title": display(title),
        "side": side.value,
        "kind": kind,
        "order": order,
        "absent": absent(two.spans),
        "clicks": {"now": whole[0], "before": whole[1]},
        "pairs": {name: _sums(joined.filter(mask)) for name, mask in kinds.items()},
        "total": chosen.num_rows,
        "earlier": _folded(chosen.slice(0, start)),
        "items": [
            {
                "position": position,
                "title": row["title"],
                "display_title": display(row["title"]) if row["title"] not in CLASS_OF else row["title"],
                "kind": kind_of(row["title"]),
                "link_type": row["link_type"],
                **_compared(row["now"], row["before"], two.spans, [clicks or 0 for clicks in whole]),
                "change": bounds(row["now"], row["before"], two.spans),
            }
            for position, row in enumerate(shown, start + 1)
        ],
        "rest": _folded(chosen.slice(end)),
        "next": _following(two, len(shown), chosen.num_rows),
    }


def _joined(two: TwoMonths, side: Side, title: str, pairs: list[int], order: str) -> pa.Table:
    """An article's pairs of both months in the order asked for: title, link_type, now, before."""
    if max(pairs) > MAX_PAIRS:
        raise NotComparable(
            f"'{display(title)}' has {max(pairs):,} {side.value}; changes of one article are told up to {MAX_PAIRS:,}"
        )
    now, before = (
        reading.neighbours(side, title, None, count)[0] if count else NEIGHBOURS.empty_table()
        for reading, count in zip((two.now, two.before), pairs, strict=True)
    )
    both = now.rename_columns(["title", "link_type", "now"]).join(
        before.rename_columns(["title", "link_type", "before"]), ["title", "link_type"], join_type="full outer"
    )
    # Clicks a day compare as clicks times the hours of the other month do, which are whole numbers.
    hours = [span["hours"] for span in two.spans]
    rates = [
        pc.multiply(pc.fill_null(both[name], 0), other) for name, other in (("now", hours[1]), ("before", hours[0]))
    ]
    size = pc.abs(pc.subtract(*rates)) if order == "change" else pc.max_element_wise(*rates)
    ordered = both.append_column("size", size).sort_by(
        [("size", "descending"), ("title", "ascending"), ("link_type", "ascending")]
    )
    return ordered.select(["title", "link_type", "now", "before"]).combine_chunks()


def _sums(rows: pa.Table) -> dict[str, int]:
    """How many pairs, and their clicks in each month."""
    return {
        "pairs": rows.num_rows,
        "now": pc.sum(rows["now"]).as_py() or 0,
        "before": pc.sum(rows["before"]).as_py() or 0,
    }


def _folded(rows: pa.Table) -> dict[str, int]:
    """The same, and how many of the pairs each month has."""
    have = {f"{name}_pairs": rows.num_rows - rows[name].null_count for name in ("now", "before")}
    return {**_sums(rows), **have}
