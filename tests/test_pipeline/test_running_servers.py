"""Local servers, real ones: ready, alive after the command, started once, started again, gone without a trace.

The tests go one after the other through the life of one set of servers.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from readerflow.common.settings import Settings
from readerflow.pipeline import servers
from readerflow.pipeline.servers import machine, processes
from tests.own_servers import as_variables, on_free_ports
from tests.test_pipeline.test_docs import ROOT, SERVERS_PAGE, run_commands

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

#: Promised on cores that do nothing else; the test allows for what others do.
WARM_SECONDS = 30


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Servers of this module; those of the session are not ours to kill. They are up when the first test begins."""
    settings = on_free_ports(tmp_path_factory.mktemp("own"))
    try:
        command(settings, "up")
        yield settings
    finally:
        servers.down(settings)


def command(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("READERFLOW_")}
    done = subprocess.run(
        [sys.executable, "-m", "readerflow.pipeline.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=180,
        env={**environment, **as_variables(settings)},
    )
    assert done.returncode == 0, done.stderr
    return done


def pids(settings: Settings) -> dict[str, int | None]:
    return {name: servers.pid_of(settings, name) for name in servers.SERVERS}


def wait_until(true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_servers_outlive_the_command_and_status_tells_their_state(own: Settings) -> None:
    states = json.loads(command(own, "status", "--json").stdout)["servers"]
    assert {state["name"]: state["pid"] for state in states} == pids(own)
    assert all(state["ready"] and 50 < state["memory_mib"] < 2000 for state in states)
    assert [state["ports"] for state in states] == [
        [port.number for port in servers.ports_of(own, name)] for name in servers.SERVERS
    ]


def test_a_second_up_is_harmless(own: Settings) -> None:
    before = pids(own)
    done = command(own, "up")
    assert done.stderr.count("runs already") == len(servers.SERVERS)
    assert pids(own) == before


def test_only_sockets_on_127_0_0_1_listen(own: Settings) -> None:
    running = pids(own)
    for name, pid in running.items():
        sockets = [one for one in psutil.Process(pid).net_connections() if one.status == psutil.CONN_LISTEN]
        assert {one.laddr.ip for one in sockets} <= {"127.0.0.1", "::ffff:127.0.0.1"}, name
        assert {port.number for port in servers.ports_of(own, name)} <= {one.laddr.port for one in sockets}, name


def test_logs_show_each_servers_own(own: Settings) -> None:
    assert "NORMAL" in command(own, "logs", "cassandra", "--lines", "500").stdout
    assert "spark-worker | " in command(own, "logs", "spark").stdout


def test_killed_servers_are_noticed_and_only_they_start_again(own: Settings) -> None:
    before = pids(own)
    killed = ("kafka", "datanode", "cassandra", "spark-worker")
    for name in killed:
        pid = before[name]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: all(servers.pid_of(own, name) is None for name in killed))
    dead = {state.name for state in servers.states(own) if not state.ready}
    assert dead == set(killed)
    assert servers.up(own) == [name for name in servers.SERVERS if name in killed]
    after = pids(own)
    assert all((after[name] != before[name]) == (name in killed) for name in servers.SERVERS)
    assert all(state.ready for state in servers.states(own))


def test_a_warm_start_takes_half_a_minute_at_most(own: Settings) -> None:
    servers.down(own)
    others = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    began = time.monotonic()
    command(own, "up")
    assert time.monotonic() - began <= WARM_SECONDS * others
    assert all(servers.is_ready(own, name) for name in servers.SERVERS)


def test_down_leaves_no_process_and_no_port(own: Settings) -> None:
    sessions = {pid for pid in pids(own).values() if pid}
    assert len(sessions) == len(servers.SERVERS)
    command(own, "down")
    assert not processes.members(sessions)
    assert set(pids(own).values()) == {None}
    assert not [port for name in servers.SERVERS for port in machine.taken(servers.ports_of(own, name))]


def test_a_killed_up_leaves_servers_that_the_next_one_finds(own: Settings) -> None:
    environment = {**os.environ, **as_variables(own)}
    hasty = [sys.executable, "-m", "readerflow.pipeline.cli", "up", "kafka"]
    with subprocess.Popen(hasty, env=environment, stderr=subprocess.DEVNULL) as starting:
        wait_until(lambda: servers.pid_of(own, "kafka") is not None)
        starting.kill()
    found = servers.pid_of(own, "kafka")
    assert servers.up(own, ["kafka"]) == []
    assert servers.pid_of(own, "kafka") == found
    servers.stop(own, "kafka")


def test_the_commands_of_the_how_to_run_and_purge_leaves_no_file(own: Settings, tmp_path: Path) -> None:
    run_commands(ROOT / "docs" / "how-to" / SERVERS_PAGE, tmp_path, **as_variables(own))
    assert set(pids(own).values()) == {None}
    assert not Path(own.home).exists()
