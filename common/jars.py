"""Jars of the engines: fetched by Maven into a cache and held to the checksums of ``infra/servers/jars.lock``.

POMs and lock are data of the package ``readerflow.infra``; no code of it is imported.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path

from .cluster_settings import ClusterSettings
from .errors import ReaderFlowError

GROUPS = ("kafka", "hdfs", "cassandra", "spark")
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.10.0:copy-dependencies"

_log = logging.getLogger(__name__)


class MavenMissing(ReaderFlowError):
    """There is no Maven on this machine."""


class JarsNotFetched(ReaderFlowError):
    """Maven could not fetch the jars."""


class JarsDiffer(ReaderFlowError):
    """The jars that Maven brought are not those of the lock file."""


def templates() -> Traversable:
    """The folder of the servers' POMs, configuration templates and the lock file."""
    return files("readerflow.infra").joinpath("servers")


def cache_folder(settings: ClusterSettings) -> Path:
    """Where jars are kept: one folder for all homes of a user."""
    if settings.servers_cache:
        return settings.servers_cache.absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "readerflow"


def jars_folder(settings: ClusterSettings, group: str) -> Path:
    """Return a folder with exactly the jars of a group (one of ``GROUPS``), fetching them when it must.

    The folder's name carries a digest of what the lock wants, so that servers that run keep theirs when it changes.

    :raises MavenMissing, JarsNotFetched, JarsDiffer: when the jars can't be had, or are not those of the lock.
    """
    wanted = locked()[group]
    digest = hashlib.sha256(repr(sorted(wanted.items())).encode()).hexdigest()[:8]
    folder = cache_folder(settings) / "jars" / f"{group}-{digest}"
    if _differing(folder, wanted) is None:
        return folder
    with _locked_folder(folder.parent):
        if _differing(folder, wanted) is None:  # another process fetched them meanwhile
            return folder
        _log.info("fetching the jars of %s with Maven into %s", group, folder)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{group}-") as aside:
            fetched = Path(aside, "jars")
            fetch(group, fetched)
            if wrong := _differing(fetched, wanted):
                raise JarsDiffer(
                    f"{group}/{wrong} from Maven is not the file that infra/servers/jars.lock names; "
                    "delete it in ~/.m2/repository, see what mirror ~/.m2/settings.xml names, and try again"
                )
            shutil.rmtree(folder, ignore_errors=True)
            fetched.rename(folder)
    return folder


def spark_jars(settings: ClusterSettings) -> list[Path]:
    """Return the jars that a Spark session needs beside pyspark's own (``spark.jars``): the Kafka connector's."""
    return sorted(jars_folder(settings, "spark").glob("*.jar"))


def locked() -> dict[str, dict[str, str]]:
    """The SHA-256 of each jar by group and file name, as the lock file (in sha256sum's format) has it."""
    lock: dict[str, dict[str, str]] = {group: {} for group in GROUPS}
    for line in templates().joinpath("jars.lock").read_text(encoding="ascii").splitlines():
        digest, _, path = line.partition("  ")
        group, _, name = path.partition("/")
        lock[group][name] = digest
    return lock


def find_maven() -> str:
    """The path of Maven.

    :raises MavenMissing: when there is none.
    """
    maven = shutil.which("mvn")
    if maven is None:
        raise MavenMissing("Maven (mvn) is missing; install it (Debian: apt-get install maven) and try again")
    return maven


def fetch(group: str, folder: Path) -> None:
    """Let Maven copy the jars that a group's POM names, and what they depend on, into a folder."""
    maven = find_maven()
    with as_file(templates().joinpath(group, "pom.xml")) as pom:
        command = [maven, "-q", "-B", "-f", str(pom), COPY, "-DincludeScope=runtime", f"-DoutputDirectory={folder}"]
        done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603 our own POM, no shell
    if done.returncode:
        said = re.search(r"^\S*\[\S*ERROR\S*\]\s*(.+)$", done.stdout + done.stderr, re.MULTILINE)
        why = said[1][:300] if said else f"exit status {done.returncode}"
        raise JarsNotFetched(
            f"Maven can't fetch the jars of {group}: {why}; check the network and ~/.m2/settings.xml, then try again"
        )


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file of a folder by name."""
    found = {}
    for path in sorted(folder.glob("*")):
        with path.open("rb") as file:
            found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _differing(folder: Path, wanted: dict[str, str]) -> str | None:
    """A file that is missing, too many or different, or None."""
    different = dict(digests(folder).items() ^ wanted.items())
    return min(different, default=None)


@contextmanager
def _locked_folder(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write_lock(path: Path) -> None:
    """Fetch all groups anew and write what came as the lock file."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for group in GROUPS:
            fetch(group, Path(folder, group))
            lines += [f"{digest}  {group}/{name}" for name, digest in digests(Path(folder, group)).items()]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


if __name__ == "__main__":
    write_lock(Path("infra/servers/jars.lock"))
