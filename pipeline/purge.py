"""Remove all data of a home."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from readerflow.common.errors import ReaderFlowError
from readerflow.common.settings import Settings
from readerflow.storage.lease import is_leased

from .console import say

#: What ReaderFlow makes below its home; anything else there belongs to somebody else and stays.
OWNED = ("pairs", "dumps", "replays", "archive", "views", "leases", "tmp")
OWNED_FILES = ("log.db*", "serving.db*")


class StillRunning(ReaderFlowError):
    """A process works on the data that should go."""


def purge_home(settings: Settings, *, ask: bool) -> None:
    """Delete what ReaderFlow made under the home; files that it does not know stay.

    :raises StillRunning: when a replay, archiver, stream or batch runs: those hold leases.
    """
    home = settings.home.absolute()
    if not home.exists():
        say(f"nothing to remove: {home} does not exist")
        return
    for lock in sorted((home / "leases").glob("**/*.lock")):
        if is_leased(lock):
            raise StillRunning(f"'{lock.stem}' is running on {home}; stop it first")
    doomed = _owned(home)
    if ask:
        click.confirm(f"Remove all data in {home}?", abort=True, err=True)
    for path in doomed:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if not any(home.iterdir()):
        home.rmdir()
    say(f"removed {len(doomed)} entries of {home}")


def _owned(home: Path) -> list[Path]:
    folders = [home / name for name in OWNED if (home / name).exists()]
    return folders + [path for pattern in OWNED_FILES for path in sorted(home.glob(pattern))]
