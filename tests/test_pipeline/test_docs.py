"""Commands in the docs do what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)#:]+)(?:#[^)]*)?\)")
#: Commands of the docs that tests of their own run: they set up a machine, fetch from the net, serve for ever or name
#: the default ports.
ELSEWHERE = (
    "make ", "source ", "git ", "readerflow fetch", "readerflow serve", "readerflow demo", "spark-submit ",
    "python -m benchmarks.",
)  # fmt: skip
#: Commands that never end by themselves are asked to end after this time.
FOLLOW_SECONDS, ASKED_TO_END = 20, 124
#: Its commands are run by test_running_servers.py, on ports of its own.
SERVERS_PAGE = "run-the-cluster.md"


def pages() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def commands(page: Path) -> list[str]:
    lines = [line.split("#")[0].strip() for block in BLOCK.findall(page.read_text()) for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith(ELSEWHERE)]


@pytest.mark.parametrize(
    "page",
    [page for page in pages() if commands(page) and page.name != SERVERS_PAGE],
    ids=lambda page: str(page.name),
)
def test_the_commands_of_a_page_run_in_their_order(page: Path, tmp_path: Path) -> None:
    run_commands(page, tmp_path)


def run_commands(page: Path, folder: Path, **variables: str) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for command in commands(page):
        follow = f"timeout --signal=INT {FOLLOW_SECONDS} " if "--follow" in command else ""
        done = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", follow + command],
            cwd=folder,
            env={**os.environ, "PATH": path, **variables},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == (ASKED_TO_END if follow else 0), f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"
