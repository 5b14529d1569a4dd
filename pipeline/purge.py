"""Remove all data of a home."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from readerflow.common.errors import ReaderFlowError
from readerflow.common.jars import cache_folder
from readerflow.common.settings import Settings
from readerflow.storage.lease import is_leased

from . import servers
from .console import say

#: What ReaderFlow makes below its home; anything else there belongs to somebody else and stays.
OWNED = ("pairs", "dumps", "replays", "archive", "views", "comparisons", "leases", "cluster", "tmp")
OWNED_FILES = ("log.db*", "serving.db*")


class StillRunning(ReaderFlowError):
    """A process works on the data that should go."""


def purge_home(settings: Settings, *, ask: bool, jars: bool = False) -> None:
    """Delete what ReaderFlow made under the home, and its local servers; files that it does not know stay.

    :param jars: whether the cache of downloaded jars, which all homes share, goes too.
    :raises StillRunning: when a local server runs, or a replay, archiver, stream or batch: those hold leases.
    """
    home = settings.home.absolute()
    for lock in sorted((home / "leases").glob("**/*.lock")):
        if is_leased(lock):
            raise StillRunning(f"'{lock.stem}' is running on {home}; stop it first")
    for name in servers.SERVERS:
        if servers.pid_of(settings, name) is not None:
            raise StillRunning(f"{name} is running in {servers.servers_home(settings)}; 'readerflow down' stops it")
    local = servers.servers_home(settings).exists()
    doomed = _owned(settings, home) + ([cache_folder(settings) / "jars"] if jars else [])
    doomed = [path for path in doomed if path.exists()]
    if not doomed:
        say(f"nothing to remove: {home} holds no data of ReaderFlow")
        return
    if ask:
        click.confirm(f"Remove all data in {home}?", abort=True, err=True)
    for path in doomed:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for folder in (servers.servers_home(settings), home, cache_folder(settings)):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    say(f"removed {len(doomed)} entries of {home}")
    if settings.profile == "cluster" and not local:
        say("what Kafka, HDFS and Cassandra hold elsewhere stays; their owners remove it")


def _owned(settings: Settings, home: Path) -> list[Path]:
    folder = servers.servers_home(settings)
    return [
        *(home / name for name in OWNED),
        *(path for pattern in OWNED_FILES for path in sorted(home.glob(pattern))),
        *(folder / name for name in (*servers.SERVERS, "up.lock")),
    ]
