"""Tell what is loaded, how far each stage is, and what to do next."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from readerflow.common.months import format_time
from readerflow.common.settings import Settings
from readerflow.storage import Storage, open_storage

from .console import print_json, table
from .servers.commands import servers_status, servers_table


@dataclass(frozen=True)
class MonthStatus:
    """How far one month has come; None where a stage has not seen it."""

    wiki: str
    month: str
    pairs: int | None
    rejected: int | None
    source: str | None  # the active replay at the log's end
    archived_source: str | None
    generation: str | None
    horizon: str | None
    live_until: str | None
    complete: bool | None

    def next_step(self) -> str | None:
        """The command that brings the month further."""
        name = f"{self.wiki} {self.month}"
        if self.source is None:
            return f"readerflow replay {name}"
        if self.archived_source != self.source:
            return "readerflow archive"
        if self.generation is None:
            return f"readerflow batch {name}"
        if self.live_until is None:
            return "readerflow stream"
        return None if self.complete else f"readerflow batch {name}"


def show_status(settings: Settings, *, as_json: bool) -> None:
    """Print months, lags and the next steps."""
    home = settings.home.absolute()
    servers = servers_status(settings)
    if servers and not as_json:
        print(servers_table(servers) + "\n")
    if not home.exists():
        if as_json:
            nothing: dict[str, Any] = {"home": str(home), "servers": servers, "months": [], "partitions": []}
            print_json({**nothing, "next": ["readerflow demo"]})
        else:
            print(f"{home} holds no data yet. Begin with 'readerflow demo', or 'readerflow preprocess FILE'.")
        return
    with open_storage(settings) as storage:
        months = [_month(storage, wiki, month) for wiki, month in _known_months(storage)]
        partitions = _partitions(storage)
        dead_letters = storage.dead_letters.end_offset(0)
    steps = [step for step in dict.fromkeys(month.next_step() for month in months) if step]
    if months and all(lag["stream_lag"] == 0 for lag in partitions):
        steps = [step for step in steps if step != "readerflow stream"]
    steps = steps or (["readerflow serve"] if months else ["readerflow demo"])
    if as_json:
        print_json(
            {
                "home": str(home),
                "servers": servers,
                "months": [asdict(month) for month in months],
                "partitions": partitions,
                "dead_letters": dead_letters,
                "next": steps,
            }
        )
        return
    head = ["wiki", "month", "pairs", "rejected", "source", "generation", "horizon", "live until", "complete"]
    rows = [
        [
            m.wiki,
            m.month,
            m.pairs,
            m.rejected,
            m.source or "-",
            m.generation or "-",
            m.horizon or "-",
            m.live_until or "-",
            "-" if m.complete is None else m.complete,
        ]
        for m in months
    ]
    print(table(head, rows))
    print()
    print(table(["partition", "log end", "archive lag", "stream lag"], [list(lag.values()) for lag in partitions]))
    if dead_letters:
        print(f"\n{dead_letters:,} bad records are in the topic clicks.dlq")
    print("\nNext: " + "\n      ".join(steps))


def _known_months(storage: Storage) -> list[tuple[str, str]]:
    archived = {(facts.wiki, facts.month) for part in storage.archive.segments() for facts in part.sources.values()}
    return sorted({*storage.pairs.months(), *archived, *storage.serving_views.months()})


def _month(storage: Storage, wiki: str, month: str) -> MonthStatus:
    facts = storage.pairs.facts(wiki, month) if (wiki, month) in storage.pairs.months() else None
    active = storage.log.active_source(wiki, month)
    archived = storage.archive.active_source(wiki, month)
    snapshot = None
    if (wiki, month) in storage.serving_views.months():
        with storage.serving_views.read(wiki, month) as reading:
            snapshot = reading.snapshot
    return MonthStatus(
        wiki=wiki,
        month=month,
        pairs=facts.accepted if facts else None,
        rejected=facts.rejected if facts else None,
        source=active.source if active else None,
        archived_source=archived.source if archived else None,
        generation=snapshot.generation if snapshot else None,
        horizon=format_time(snapshot.horizon) if snapshot and snapshot.manifest else None,
        live_until=format_time(snapshot.live_until) if snapshot and snapshot.incarnation else None,
        complete=snapshot.complete if snapshot else None,
    )


def _partitions(storage: Storage) -> list[dict[str, Any]]:
    progress = storage.serving_views.stream()
    lags = []
    for partition in range(storage.log.partitions):
        end = storage.log.end_offset(partition)
        streamed = progress.offsets.get(partition, 0) if progress else None
        lags.append(
            {
                "partition": partition,
                "log_end": end,
                "archive_lag": end - storage.archive.next_offset(partition),
                "stream_lag": None if streamed is None else end - streamed,
            }
        )
    return lags
