"""Local servers: what they are told, what is said when they can't start. Here without any real one."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from readerflow.common import jars
from readerflow.common.errors import ReaderFlowError
from readerflow.common.jars import JarsDiffer, JarsNotFetched, MavenMissing
from readerflow.common.settings import Settings
from readerflow.pipeline import servers
from readerflow.pipeline.servers import commands, machine, processes, render
from readerflow.storage.lease import Leased, lease
from tests.own_servers import as_variables, on_free_ports

#: A java that knows its version, and otherwise does what the test says.
FAKE_JAVA = """#!/bin/sh
case "$1" in -version) echo 'openjdk version "{version}"' >&2; exit ;; esac
{body}
"""


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    mine = on_free_ports(tmp_path / "home", servers_cache=tmp_path / "cache", servers_timeout=30)
    yield mine
    servers.down(mine, seconds=0)


def program(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return path


def java(monkeypatch: pytest.MonkeyPatch, home: Path, body: str = "", version: str = "17.0.9") -> None:
    program(home / "bin", "java", FAKE_JAVA.format(version=version, body=body))
    monkeypatch.setenv("JAVA_HOME", str(home))


def maven(monkeypatch: pytest.MonkeyPatch, folder: Path, body: str) -> None:
    program(folder, "mvn", f"#!/bin/sh\nfor last; do :; done\nout=${{last#-DoutputDirectory=}}\n{body}\n")
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def one_line(error: pytest.ExceptionInfo[ReaderFlowError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def no_jars(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(render, "jars_folder", lambda settings, group: tmp_path / "jars" / group)


# What servers are told.


@pytest.mark.usefixtures("no_jars")
@pytest.mark.parametrize("name", servers.SERVERS)
def test_a_servers_configuration_names_its_ports_and_no_foreign_address(settings: Settings, name: str) -> None:
    render.render(settings, name)
    written = {path.name: path.read_text() for path in servers.folder(settings, name).rglob("*") if path.is_file()}
    everything = "\n".join(written.values())
    assert "$" not in everything
    assert set(re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", everything)) <= {"127.0.0.1"}
    if not name.startswith("spark"):  # those get their ports as arguments
        for port in servers.ports_of(settings, name):
            assert str(port.number) in everything
    assert f"-Xmx{getattr(settings, servers.SERVERS[name].heap)}\n" in written["java.args"].replace(" -Xss256k", "")


@pytest.mark.usefixtures("no_jars")
def test_a_heap_is_a_setting(settings: Settings) -> None:
    render.render(settings.model_copy(update={"kafka_heap": "1g"}), "kafka")
    assert "-Xmx1g" in (servers.folder(settings, "kafka") / "java.args").read_text()


def test_every_jar_of_the_lock_has_its_checksum_once() -> None:
    lines = jars.templates().joinpath("jars.lock").read_text().splitlines()
    assert all(re.fullmatch(r"[0-9a-f]{64}  (kafka|hdfs|cassandra|spark)/[\w.+-]+\.jar", line) for line in lines)
    assert sum(map(len, jars.locked().values())) == len(lines) > 200


# What is said when they can't start.


def test_a_port_that_is_taken_is_named_with_its_setting(settings: Settings, tmp_path: Path) -> None:
    for name in servers.SERVERS:
        for port in servers.ports_of(settings, name):
            with socket.socket() as taken:
                taken.bind(("127.0.0.1", port.number))
                taken.listen()
                with pytest.raises(machine.PortTaken) as error:
                    machine.check_ports(settings, servers.SERVERS, seconds=0)
            assert f"port {port.number} of {servers.SERVERS[name].title} is taken" in one_line(error)
            assert port.setting in str(error.value)


def test_up_refuses_a_taken_port_before_it_starts_anything(settings: Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", settings.cassandra_port))
        taken.listen()
        with pytest.raises(machine.PortTaken):
            servers.up(settings)
    assert all(servers.pid_of(settings, name) is None for name in servers.SERVERS)


def test_missing_java_is_said_with_how_to_get_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(machine.JavaMissing, match="no bin/java; install Java 17"):
        servers.up(settings)
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(machine.JavaMissing, match="Java is missing; install Java 17"):
        servers.up(settings)


@pytest.mark.parametrize(("version", "major"), [("11.0.2", 11), ("1.8.0_292", 8)])
def test_old_java_is_said_with_what_is_needed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str, major: int
) -> None:
    java(monkeypatch, tmp_path / "jdk", version=version)
    with pytest.raises(machine.JavaMissing, match=f"is Java {major}, but the servers need 17; install") as error:
        servers.up(settings)
    one_line(error)


def test_missing_maven_is_said_with_how_to_get_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    java(monkeypatch, tmp_path / "jdk")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MavenMissing, match="apt-get install maven"):
        servers.up(settings)


def test_what_maven_complains_about_is_said(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    maven(monkeypatch, tmp_path / "bin", "echo '[ERROR] Unknown host nowhere.example'; echo '[ERROR] more'; exit 1")
    with pytest.raises(JarsNotFetched, match=r"jars of kafka: Unknown host nowhere\.example; check") as error:
        jars.jars_folder(settings, "kafka")
    one_line(error)
    assert not list((tmp_path / "cache" / "jars").glob("kafka*"))


def test_a_jar_that_is_not_the_locked_one_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = " ".join(jars.locked()["spark"])
    maven(monkeypatch, tmp_path / "bin", f'mkdir -p "$out"; cd "$out"; for jar in {names}; do echo evil > $jar; done')
    with pytest.raises(JarsDiffer, match=min(jars.locked()["spark"])) as error:
        jars.spark_jars(settings)
    one_line(error)
    assert not list((tmp_path / "cache" / "jars").glob("spark*"))


def test_a_damaged_cache_is_fetched_again(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    good = {"one.jar": "1" * 10, "two.jar": "2" * 10}
    make = "; ".join(f"printf {text} > {name}" for name, text in good.items())
    maven(monkeypatch, tmp_path / "bin", f'mkdir -p "$out"; cd "$out"; {make}')
    (tmp_path / "model").mkdir()
    for name, text in good.items():
        (tmp_path / "model" / name).write_text(text)
    monkeypatch.setattr(jars, "locked", lambda: {"spark": jars.digests(tmp_path / "model")})
    first, second = jars.spark_jars(settings)
    first.write_text("damaged")
    second.unlink()
    assert [path.read_text() for path in jars.spark_jars(settings)] == list(good.values())


def test_little_memory_and_little_disk_are_said_with_what_to_lower(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(machine, "available_mib", lambda: 1000)
        with pytest.raises(machine.TooLittle, match=r"need \d+ MiB of memory, 1000 MiB are available") as error:
            servers.up(settings)
        assert "cassandra_heap" in one_line(error)
    monkeypatch.setattr(machine, "free_mib", lambda folder: 100)
    with pytest.raises(machine.TooLittle, match=r"MiB of disk, 100 MiB are free .* servers_home"):
        servers.up(settings)


def test_a_server_that_dies_is_said_with_the_telling_line_of_its_log(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    java(monkeypatch, tmp_path / "jdk", "echo starting; echo 'ERROR the stars are wrong'; echo bye; exit 3")
    with pytest.raises(servers.ServerDied, match="spark-master ended at its start: ERROR the stars are wrong") as error:
        servers.start(settings, "spark-master")
    assert str(commands.log_file(settings, "spark-master")) in one_line(error)


@pytest.mark.usefixtures("no_jars")
def test_storage_that_can_not_be_formatted_is_said_and_tried_again_next_time(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    java(monkeypatch, tmp_path / "jdk", "echo 'no space left'; exit 1")
    for _ in range(2):
        with pytest.raises(servers.ServerDied, match="kafka can't be formatted: no space left"):
            servers.start(settings, "kafka")


def test_a_server_that_never_answers_is_said_and_ended_by_down(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    java(monkeypatch, tmp_path / "jdk", "trap '' TERM; echo deaf; sleep 100 & while :; do sleep 0.1; done")
    hasty = settings.model_copy(update={"servers_timeout": 0.5})
    with pytest.raises(servers.ServerNotReady, match=r"spark-master runs but is not ready after 0\.5 s: deaf"):
        servers.start(hasty, "spark-master")
    pid = servers.pid_of(settings, "spark-master")
    assert pid is not None
    assert servers.down(settings, seconds=0.3) == ["spark-master"]
    assert servers.pid_of(settings, "spark-master") is None
    assert not processes.members({pid}), "what a server started ends with it"


def test_two_ups_at_once_do_not_meet(settings: Settings) -> None:
    with lease(servers.servers_home(settings) / "up.lock", "a test"), pytest.raises(Leased, match="'readerflow up'"):
        servers.up(settings)


def test_a_folder_that_hdfs_can_not_work_in_is_refused(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(machine.BadFolder, match="servers_home"):
        servers.up(settings.model_copy(update={"servers_home": tmp_path / "my servers"}))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("kafka_bootstrap", "broker.example:9092"),
        ("kafka_bootstrap", "127.0.0.1:9092,127.0.0.1:9093"),
        ("kafka_security", "SASL_SSL"),
        ("hdfs_rpc", "hdfs://127.0.0.1"),
        ("hdfs_web", "https://127.0.0.1:9871"),
        ("cassandra_hosts", "10.0.0.1"),
        ("cassandra_ca_file", Path("ca.pem")),
    ],
)
def test_servers_elsewhere_are_not_ours_to_start(settings: Settings, setting: str, value: object) -> None:
    with pytest.raises(servers.NotLocal, match=setting) as error:
        servers.up(settings.model_copy(update={setting: value}))
    one_line(error)


# How they are told apart.


def test_a_process_is_a_server_only_by_its_whole_folder(tmp_path: Path) -> None:
    mark = processes.mark(tmp_path / "kafka")
    program = "print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program, mark + "2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()  # before it runs, it may have no arguments yet
        assert processes.find([mark]) == {}
        assert processes.find([mark + "2"]) == {mark + "2": other.pid}
        other.kill()
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        assert processes.find([mark + "2"]) == {}, "a zombie does not live"


def test_a_server_holds_no_file_of_the_one_who_started_it(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    mark = processes.mark(tmp_path)
    handle = os.open(lock, os.O_RDWR | os.O_CREAT)
    os.set_inheritable(handle, True)
    try:
        pid = processes.launch(
            [sys.executable, "-c", "import time; time.sleep(60)", mark], tmp_path, tmp_path / "log", os.environ
        )
    finally:
        os.close(handle)
    try:
        assert processes.lives(pid, mark)
        assert lock not in [Path(os.readlink(file)) for file in Path(f"/proc/{pid}/fd").iterdir()]
    finally:
        processes.end({mark: pid}, 0)


# The commands.


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "readerflow.pipeline.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, **environment})


def test_names_stand_for_servers_in_the_order_of_their_start() -> None:
    assert commands.expand(["spark-worker", "hdfs", "kafka"]) == ["kafka", "namenode", "datanode", "spark-worker"]
    assert commands.expand([]) == list(servers.SERVERS)


def test_without_servers_down_is_harmless_and_logs_say_how_to_start(settings: Settings) -> None:
    done = run("down", **as_variables(settings))
    assert (done.returncode, done.stderr) == (0, "no server runs\n")
    done = run("logs", "kafka", **as_variables(settings))
    assert (done.returncode, "'readerflow up' starts them" in done.stderr) == (1, True)


def test_logs_end_with_the_last_lines(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("kafka", "cassandra"):
        servers.folder(settings, name).mkdir(parents=True)
        commands.log_file(settings, name).write_text(f"old\n{name} is up")
    commands.show_logs(settings, ["kafka"], lines=1, follow=False)
    assert capsys.readouterr().out == "kafka is up\n"
    commands.show_logs(settings, [], lines=1, follow=False)
    assert capsys.readouterr().out == "kafka     | kafka is up\ncassandra | cassandra is up\n"


def test_purge_refuses_while_a_server_runs_and_then_removes_all_of_them(settings: Settings) -> None:
    home = servers.folder(settings, "kafka")
    home.mkdir(parents=True)
    (servers.servers_home(settings) / "notes.txt").write_text("mine")
    command = [sys.executable, "-c", "input()", processes.mark(home)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as server:
        done = run("purge", "--yes", **as_variables(settings))
        assert (done.returncode, "kafka is running" in done.stderr) == (1, True)
        server.kill()
    assert run("purge", "--yes", "--jars", **as_variables(settings)).returncode == 0
    assert [path.name for path in servers.servers_home(settings).iterdir()] == ["notes.txt"]


def test_doctor_says_what_the_servers_lack(settings: Settings, tmp_path: Path) -> None:
    program(tmp_path / "bin", "python", "")
    done = run("doctor", **{**as_variables(settings), "PATH": str(tmp_path / "bin"), "JAVA_HOME": str(tmp_path)})
    assert done.returncode == 1, "the cluster profile needs them"
    assert re.search(r"^missing  Java: .*openjdk-17", done.stdout, re.MULTILINE)
    assert re.search(r"^missing  Maven: .*apt-get install maven", done.stdout, re.MULTILINE)
    variables = {**as_variables(settings), "READERFLOW_PROFILE": "embedded", "PATH": str(tmp_path / "bin")}
    done = run("doctor", **variables)
    assert (done.returncode, "warning  Maven" in done.stdout) == (0, True), done.stdout


def test_maven_is_where_the_shell_finds_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    maven(monkeypatch, tmp_path / "bin", "")
    assert jars.find_maven() == shutil.which("mvn") == str(tmp_path / "bin" / "mvn")
