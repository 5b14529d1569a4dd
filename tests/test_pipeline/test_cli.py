"""The command line: help, usage, exit codes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = (
    "demo", "fetch", "generate", "preprocess", "replay", "archive", "batch", "stream", "serve", "reconcile", "status",
    "export", "rebuild", "doctor", "purge",
)  # fmt: skip


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "readerflow.pipeline.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )


def test_help_lists_the_commands_in_the_order_of_a_months_way() -> None:
    text = run("--help").stdout.split("Commands:")[1]
    places = [text.index(f"\n  {name} ") for name in COMMANDS]
    assert places == sorted(places)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_text(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    assert "Usage: readerflow" in done.stdout


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from readerflow.pipeline import cli\n"
        "try: cli.cli(['--help'], standalone_mode=False)\n"
        "finally: print([m for m in ('pyarrow', 'duckdb', 'flask', 'numpy', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith("[]\n"), done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("replay", "hrwiki"),
        ("replay", "hrwiki", "2025-03", "--grain", "week"),
        ("export", "nothing", "hrwiki", "2025-03"),
        ("batch", "hrwiki", "2025-03", "--roll-back", "--until", "2025-03-02T00Z"),
        ("generate", "--rows", "0"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("replay", "hrwiki", "2025-13"),
        ("replay", "Hrwiki!", "2025-03"),
        ("replay", "hrwiki", "2025-03"),
        ("replay", "hrwiki", "2025-03", "--from", "yesterday"),
        ("replay", "hrwiki", "2025-03", "--speed", "fast"),
        ("batch", "hrwiki", "2025-03"),
        ("batch", "hrwiki", "2025-03", "--until", "2025-03-02T00:30Z"),
        ("batch", "hrwiki", "2025-03", "--roll-back"),
        ("export", "articles", "hrwiki", "2025-03"),
        ("reconcile", "hrwiki", "2025-03"),
        ("preprocess", __file__),
        ("--home", "/dev/null/home", "archive"),
        ("generate", "/dev/null/folder/dump.tsv.gz", "--rows", "5"),
        ("preprocess", __file__, "--wiki", "hrwiki", "--month", "2025-03", "--max-rejects", "many"),
    ],
)
def test_a_known_failure_is_one_line_and_exit_1(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 1, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("readerflow: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr


def test_a_damaged_file_is_one_line_and_exit_1() -> None:
    Path("damaged").mkdir()
    Path("damaged", "serving.db").write_text("no database " * 10)
    done = run("--home", "damaged", "stream")
    assert (done.returncode, done.stderr.startswith("readerflow: "), "Traceback" in done.stderr) == (1, True, False)


def test_an_unknown_variable_is_refused_by_name() -> None:
    done = run("status", READERFLOW_HOMME="x")
    assert (done.returncode, "READERFLOW_HOMME" in done.stderr) == (1, True)


def test_doctor_finds_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run("doctor", READERFLOW_PORT=str(taken.getsockname()[1]))
    assert "port" in done.stdout
    assert "--port" in done.stdout
    assert done.returncode == 0, done.stdout


def test_status_of_an_empty_home_says_how_to_begin() -> None:
    done = run("status")
    assert done.returncode == 0, done.stderr
    assert "readerflow demo" in done.stdout


def test_purge_asks_and_keeps_what_it_does_not_know() -> None:
    home = Path(".readerflow")
    (home / "pairs").mkdir(parents=True)
    (home / "notes.txt").write_text("mine")
    assert run("purge").returncode == 1
    assert (home / "pairs").exists()
    assert run("purge", "--yes").returncode == 0
    assert [path.name for path in home.iterdir()] == ["notes.txt"]


def test_generated_pages_of_the_reference_match_the_code() -> None:
    from readerflow.pipeline.reference import pages

    for name, text in pages().items():
        assert (ROOT / "docs" / "reference" / name).read_text() == text, name
