"""The demo: one month through every stage, proved by reconciliation, then served."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

from readerflow.common.errors import ReaderFlowError
from readerflow.common.months import Month, format_time
from readerflow.common.settings import Settings
from readerflow.kafka.plan import ReplayPlan
from readerflow.kafka.replay import Grain
from readerflow.preprocessing.data_preprocess import find_dump
from readerflow.preprocessing.fetch import fetch, latest
from readerflow.preprocessing.synthetic import generate
from readerflow.storage import open_storage

from . import servers, steps
from .console import say
from .reconcile import reconcile_month
from .servers.ready import answers
from .serving import serve_site

#: A small wiki, so that a download takes seconds.
DOWNLOADED_WIKI = "hrwiki"
DOWNLOAD_TIMEOUT = 5.0
GENERATED_ROWS = 200_000


def run_demo(settings: Settings, *, dump: Path | None, grain: str, serve: bool) -> None:
    """Take a month from dump to page; doing it again changes nothing and is quick."""
    if settings.profile == "cluster":
        _start_servers(settings)
    began = time.monotonic()
    dump = _choose_dump(settings, dump)
    with open_storage(settings) as storage:
        with _timed("preprocess"):
            facts = steps.preprocess(settings, storage, dump, None, None)
            note = " of synthetic data" if facts.synthetic else ""
            say(f"  {facts.accepted:,} pairs, {facts.clicks:,} clicks{note}, {facts.rejected:,} lines rejected")
        month = Month.parse(facts.month)
        with _timed(f"replay at grain {grain}"):
            replayed = steps.replay(storage, ReplayPlan(facts.wiki, month, Grain(grain), seed=1))
            say(f"  {replayed.records:,} records appended")
        with _timed("archive"):
            archived = steps.archive(settings, storage)
            say(f"  {archived.records:,} records archived")
        # A home with later generations may hold no live rows of the last day any more.
        horizon = max(_horizon(month, grain), steps.rows_from(storage, facts.wiki, facts.month) or month.start)
        with _timed(f"batch up to {format_time(horizon)}"):
            manifest = steps.batch(settings, storage, facts.wiki, facts.month, horizon)
            say(f"  {manifest.articles:,} articles, ranks over {manifest.linked_articles:,} linked ones")
        with _timed("stream the rest"):
            streamed = steps.stream(settings, storage)
            say(f"  {streamed.records:,} records read")
    with _timed("reconcile"):
        failed = reconcile_month(settings, facts.wiki, facts.month, as_json=False)
    say(f"All stages took {time.monotonic() - began:.1f} s")
    if failed:
        raise ReaderFlowError("the stages do not agree; the lines above say where")
    if serve:
        serve_site(settings)
    else:
        say("Next: readerflow serve")


def _start_servers(settings: Settings) -> None:
    """Start the servers that are to be on this machine and do not answer; others are somebody else's to start."""
    needed = ["kafka", "namenode", "datanode", "cassandra"]
    if settings.spark_master.startswith("spark://"):
        needed += ["spark-master", "spark-worker"]
    with suppress(servers.NotLocal):
        servers.up(settings, [name for name in needed if not answers(settings, name)], say)


def _horizon(month: Month, grain: str) -> datetime:
    """The last day stays live; a replay by months has no hour before its end."""
    return month.end if grain == "month" else month.end - timedelta(days=1)


@contextmanager
def _timed(what: str) -> Iterator[None]:
    say(f"{what} ...")
    began = time.monotonic()
    yield
    say(f"  {time.monotonic() - began:.1f} s")


def _choose_dump(settings: Settings, dump: Path | None) -> Path:
    """The given file, a dump in READERFLOW_DATA or in HOME/dumps, a download, or a generated month; says which."""
    if dump is not None:
        say(f"Using {dump}")
        return dump
    if settings.data is not None and (found := find_dump(settings.data)):
        say(f"Using {found.name} from READERFLOW_DATA")
        return found
    folder = settings.home / "dumps"
    kept = find_dump(folder) if folder.is_dir() else None
    if kept:
        say(f"Using {kept.name}, which is in {folder} already")
        return kept
    try:
        month = latest(DOWNLOADED_WIKI, url=settings.dump_url, timeout=DOWNLOAD_TIMEOUT)
        say(f"Downloading {DOWNLOADED_WIKI} {month} ...")
        return fetch(DOWNLOADED_WIKI, month, folder, url=settings.dump_url, timeout=DOWNLOAD_TIMEOUT)
    except ReaderFlowError as error:
        say(f"No download ({error}); generating a synthetic month instead")
    path = folder / "clickstream-synthwiki-2025-03.synthetic.tsv.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        generate(path, "synthwiki", Month(2025, 3), GENERATED_ROWS, seed=1)
    return path
