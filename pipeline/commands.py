"""What the commands do between their arguments and their output: check, open, run a step, tell the result."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from readerflow.common.errors import BadInput, ReaderFlowError
from readerflow.common.facts import to_dict
from readerflow.common.months import Month, format_time, parse_hour, parse_time
from readerflow.common.settings import Settings
from readerflow.common.titles import check_wiki
from readerflow.kafka.noise import Burst
from readerflow.kafka.plan import ReplayPlan
from readerflow.kafka.replay import Grain
from readerflow.preprocessing.fetch import available_months, fetch, latest
from readerflow.preprocessing.synthetic import generate
from readerflow.storage import open_storage
from readerflow.storage.batch_views import Manifest

from . import steps
from .console import print_json, say, stage

_SHARE = re.compile(r"(\d+(?:\.\d+)?)(%?)")


class NothingToRebuild(ReaderFlowError):
    """The master dataset is empty."""


def share(text: str | None) -> float | None:
    """Read a share such as ``0.05`` or ``5%``.

    :raises BadInput: for anything else.
    """
    if text is None:
        return None
    match = _SHARE.fullmatch(text.strip())
    value = float(match[1]) / (100 if match[2] else 1) if match else -1.0
    if not 0 <= value <= 1:
        raise BadInput(f"'{text}' is not a share; write it like 0.05 or 5%")
    return value


def fetch_month(settings: Settings, wiki: str, month: str, folder: Path | None, *, only_list: bool) -> None:
    """Download a dump, or list the months that can be had; the path or the months go to standard output."""
    wiki = check_wiki(wiki)
    url, timeout = settings.dump_url, settings.http_timeout
    if only_list:
        for known in available_months(url=url, timeout=timeout):
            print(known)
        return
    chosen = latest(wiki, url=url, timeout=timeout) if month == "latest" else Month.parse(month)
    with stage("fetch", "bytes") as progress:
        print(fetch(wiki, chosen, folder or settings.home / "dumps", url=url, timeout=timeout, progress=progress))


def generate_month(settings: Settings, path: Path | None, wiki: str, month: str, rows: int, seed: int) -> None:
    """Make a synthetic dump; its path goes to standard output."""
    wiki, chosen = check_wiki(wiki), Month.parse(month)
    path = path or settings.home / "dumps" / f"clickstream-{wiki}-{chosen}.synthetic.tsv.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    with stage("generate", "rows") as progress:
        generate(path, wiki, chosen, rows, seed, progress=progress)
    print(path)


def preprocess(settings: Settings, dump: Path, wiki: str | None, month: str | None, *, as_json: bool) -> None:
    """Turn a dump into pairs and tell the counts."""
    with open_storage(settings) as storage:
        facts = steps.preprocess(settings, storage, dump, wiki, month)
        rejects = storage.pairs.rejects_path(facts.wiki, facts.month)
    if as_json:
        print_json(to_dict(facts))
        return
    name = f"{facts.wiki} {facts.month}"
    say(f"{name}: {facts.accepted:,} pairs, {facts.clicks:,} clicks, {facts.rejected:,} of {facts.read:,} rejected")
    for error_class, count in sorted(facts.rejects.items()):
        say(f"  {error_class}: {count:,}")
    if facts.rejected:
        say(f"Rejected lines are in {rejects}")
    say(f"Next: readerflow replay {name}")


def replay(
    settings: Settings,
    wiki: str,
    month: str,
    *,
    grain: str,
    seed: int,
    start: str | None,
    end: str | None,
    speed: str,
    duration: float | None,
    bursts: Sequence[str],
    noise: bool,
    replace: bool,
    as_json: bool,
) -> None:
    """Replay a month into the log and tell the counts."""
    plan = ReplayPlan(
        check_wiki(wiki), Month.parse(month), Grain(grain), seed, tuple(Burst.parse(text) for text in bursts), noise
    )
    with open_storage(settings) as storage:
        result = steps.replay(
            storage,
            plan,
            start=_time(start),
            end=_time(end),
            speed=_speed(speed),
            duration=duration,
            replace=replace,
        )
    if as_json:
        print_json(to_dict(result))
    elif result.records == 0 and result.heartbeats == 0:
        say("Nothing to append: the log holds this replay already")
    else:
        say(f"Appended {result.records:,} records, {result.clicks:,} clicks, source {result.source}")
        say("Next: readerflow archive")


def _time(text: str | None) -> datetime | None:
    return None if text is None else parse_time(text)


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        return float(text)
    except ValueError:
        raise BadInput(f"'{text}' is not a speed; write a number (event time over wall time) or max") from None


def archive(settings: Settings, *, follow: bool, as_json: bool) -> None:
    """Copy the log into the master dataset and tell the counts."""
    with open_storage(settings) as storage:
        result = steps.archive(settings, storage, follow=follow)
    if as_json:
        print_json(to_dict(result))
    else:
        say(f"Archived {result.records:,} records; {result.rejects:,} rejected, {result.duplicates:,} duplicates")
        say("Next: readerflow status")


def batch(
    settings: Settings, wiki: str, month: str, *, until: str | None, iterations: int | None, as_json: bool
) -> None:
    """Compute and publish a generation and tell what it covers."""
    wiki, month = check_wiki(wiki), str(Month.parse(month))
    horizon = None if until is None else parse_hour(until)
    with open_storage(settings) as storage:
        _tell_generation(steps.batch(settings, storage, wiki, month, horizon, iterations), as_json)


def roll_back(settings: Settings, wiki: str, month: str, *, as_json: bool) -> None:
    """Point to the generation before the current one."""
    wiki, month = check_wiki(wiki), str(Month.parse(month))
    with open_storage(settings) as storage:
        _tell_generation(storage.batch_views.roll_back(wiki, month), as_json)


def rebuild(settings: Settings, *, as_json: bool) -> None:
    """Compute the batch views of all months anew from the master dataset alone.

    :raises NothingToRebuild: when the master dataset is empty.
    """
    with open_storage(settings) as storage:
        months = list(steps.rebuild(settings, storage))
    if not months:
        raise NothingToRebuild(f"the master dataset in {settings.home} is empty; run 'readerflow archive' first")
    for wiki, month, manifest in months:
        if manifest is None:
            say(f"{wiki} {month}: no hour has been passed in every partition yet")
        elif not as_json:
            _say_generation(manifest)
    if as_json:
        print_json([to_dict(manifest) for _, _, manifest in months if manifest is not None])


def _tell_generation(manifest: Manifest, as_json: bool) -> None:
    if as_json:
        print_json(to_dict(manifest))
    else:
        _say_generation(manifest)


def _say_generation(manifest: Manifest) -> None:
    clicks = sum(sum(types.values()) for types in manifest.totals.values())
    say(
        f"{manifest.wiki} {manifest.month}: generation {manifest.generation} up to {format_time(manifest.horizon)},"
        f" {clicks:,} clicks, {manifest.articles:,} articles, {manifest.linked_articles:,} of them linked"
    )


def stream(settings: Settings, *, follow: bool, fresh: bool, as_json: bool) -> None:
    """Keep the realtime views up with the log and tell the counts."""
    with open_storage(settings) as storage:
        result = steps.stream(settings, storage, follow=follow, fresh=fresh)
    if as_json:
        print_json(to_dict(result))
    else:
        say(f"Read {result.records:,} records in {result.batches:,} micro-batches")
