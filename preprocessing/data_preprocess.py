"""The preprocessing job: a dump in any dialect -> clean pairs and a file of rejected lines, published whole or not.

``python preprocessing/data_preprocess.py FILE`` runs it; :func:`preprocess` is the function.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click
import pyarrow.parquet as pq
from pydantic import ValidationError

from readerflow.common.errors import ReaderFlowError
from readerflow.common.facts import from_json
from readerflow.common.months import Month
from readerflow.common.progress import Progress, silent
from readerflow.common.settings import load
from readerflow.common.titles import check_wiki
from readerflow.preprocessing.drafts import Draft, Source, draft_month, month_checksum
from readerflow.preprocessing.month_files import publish, work_folder
from readerflow.preprocessing.names import find_dump, identify, is_synthetic
from readerflow.preprocessing.reader import BadDump, DumpReader
from readerflow.storage.lease import lease
from readerflow.storage.pairs import FOOTER_KEY, PairsFacts, PairStore

__all__ = ["BadDump", "NotWritten", "TooManyRejects", "find_dump", "identify", "preprocess", "refused_rejects_path"]

logger = logging.getLogger(__name__)


class TooManyRejects(ReaderFlowError):
    """More lines are rejected than the ceiling allows."""


class NotWritten(ReaderFlowError):
    """The store of pairs can't be written."""


def refused_rejects_path(store: PairStore, wiki: str, month: Month) -> Path:
    """Where the rejects of a dump lie that was refused: beside those of the published month, which stay."""
    return store.rejects_path(wiki, f"{month}.refused")


def preprocess(
    dump: Path,
    wiki: str,
    month: Month,
    store: PairStore,
    *,
    min_clicks: int,
    max_rejects: float,
    synthetic: bool = False,
    progress: Progress = silent,
) -> PairsFacts:
    """Turn a dump into the pairs and rejects of a month, in place of what the store has of it.

    The same dump again changes nothing. A dump is synthetic, too, when its name declares it so.

    :param min_clicks: lines with fewer clicks are rejected.
    :param max_rejects: share of rejected lines, 0 to 1, above which nothing is published.
    :raises BadDump: when the file as a whole is not a dump, or broken.
    :raises TooManyRejects: telling where the rejects are kept.
    :raises NotWritten: for instance on a full disk.
    """
    source = Source(dump, check_wiki(wiki), month, min_clicks, synthetic or is_synthetic(dump))
    try:
        return _preprocess(source, store, max_rejects, progress)
    except OSError as error:
        raise NotWritten(f"{store.path(wiki, str(month))} can't be written: {error.strerror or error}") from None


def _preprocess(source: Source, store: PairStore, max_rejects: float, progress: Progress) -> PairsFacts:
    wiki, month = source.wiki, source.month
    target, rejects = store.path(wiki, str(month)), store.rejects_path(wiki, str(month))
    with (
        lease(target.with_name(f".{month}.lock"), f"preprocessing of {wiki} {month}"),
        work_folder(target.with_name(f".{month}.work")) as work,
    ):
        if (facts := _published(store, source)) is not None:
            _check_rejects(facts, max_rejects, rejects)
            logger.info("%s %s is preprocessed from %s already: nothing changed", wiki, month, source.dump.name)
            return facts
        draft = draft_month(source, work, progress)
        refused = refused_rejects_path(store, wiki, month)
        _check_draft(draft, source, max_rejects, refused)
        publish(draft.rejects, rejects)
        publish(draft.pairs, target)
        refused.unlink(missing_ok=True)
        return draft.facts


def _published(store: PairStore, source: Source) -> PairsFacts | None:
    """The facts of the month if it was made from this very content under the same rules."""
    paths = [place(source.wiki, str(source.month)) for place in (store.path, store.rejects_path)]
    if not all(path.exists() for path in paths):
        return None
    try:
        facts, of_rejects = (from_json(PairsFacts, pq.read_metadata(path).metadata[FOOTER_KEY]) for path in paths)
    except (KeyError, TypeError, OSError, ValueError, ValidationError):
        return None
    if facts != of_rejects or facts.synthetic != source.synthetic:
        return None
    checksum = month_checksum(DumpReader(source.dump).read_checksum(), source.min_clicks)
    return facts if facts.checksum == checksum else None


def _check_draft(draft: Draft, source: Source, max_rejects: float, refused: Path) -> None:
    """Refuse a draft over the ceiling, but keep its rejects for whoever mends the dump."""
    facts = draft.facts
    if facts.rejected > max_rejects * facts.read or not facts.accepted:
        publish(draft.rejects, refused)
    _check_rejects(facts, max_rejects, refused)
    if not facts.accepted:
        raise BadDump(f"{source.dump} has no line that is a pair; nothing was published, the rejects are in {refused}")


def _check_rejects(facts: PairsFacts, max_rejects: float, rejects: Path) -> None:
    if facts.rejected <= max_rejects * facts.read:
        return
    most = sorted(facts.rejects.items(), key=lambda item: (-item[1], item[0]))[:3]
    raise TooManyRejects(
        f"{facts.dump}: {facts.rejected:,} of {facts.read:,} lines ({facts.rejected / facts.read:.2%}) are rejected,"
        f" more than {max_rejects:.2%}; mostly {', '.join(f'{name} ({count:,})' for name, count in most)}."
        f" Nothing was published; the rejects are in {rejects}. Mend the dump, or allow more with --max-rejects"
    )


@click.command()
@click.argument("dumps", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--wiki", help="Name of the wiki, when the file's name does not tell.")
@click.option("--month", help="Month, YYYY-MM, when the file's name does not tell.")
@click.option("--min-clicks", type=click.IntRange(1), help="Pairs with fewer clicks are rejected.")
@click.option("--max-rejects", type=click.FloatRange(0, 1), help="Share of rejects above which nothing is published.")
def main(
    dumps: tuple[Path, ...], wiki: str | None, month: str | None, min_clicks: int | None, max_rejects: float | None
) -> None:
    """Turn each dump FILE into clean pairs and a file of rejected lines, below READERFLOW_HOME."""
    try:
        settings = load(min_clicks=min_clicks, max_rejects=max_rejects)
        store = PairStore(settings.home / "pairs")
        for dump in dumps:
            known_wiki, known_month = (wiki, Month.parse(month)) if wiki and month else identify(dump)
            facts = preprocess(
                dump,
                wiki or known_wiki,
                Month.parse(month) if month else known_month,
                store,
                min_clicks=settings.min_clicks,
                max_rejects=settings.max_rejects,
            )
            click.echo(f"{store.path(facts.wiki, facts.month)}: {facts.accepted:,} pairs, {facts.rejected:,} rejected")
    except ReaderFlowError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
