"""The rules that keep the packaging sound."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = (
    "common", "storage", "preprocessing", "kafka", "batch_processing", "streaming", "webapp", "pipeline", "infra",
)  # fmt: skip
ALLOWED = {
    "common": {"common"},
    "storage": {"common", "storage"},
    "infra": {"common", "infra"},
    **{
        layer: {"common", "storage", layer}
        for layer in ("preprocessing", "kafka", "batch_processing", "streaming", "webapp")
    },
}


def python_files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def listed_packages() -> list[str]:
    for node in ast.walk(ast.parse((ROOT / "setup.py").read_text())):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "PACKAGES":
            return list(ast.literal_eval(node.value))
    raise AssertionError("setup.py has no PACKAGES")


def test_every_folder_of_code_is_a_listed_package() -> None:
    found = {
        str(file.parent.relative_to(ROOT)).replace("/", ".")
        for room in ROOMS
        for file in [*python_files(room), *(ROOT / room).rglob("*.sql")]
    }
    assert found == set(listed_packages())


def test_neither_the_root_nor_kafka_is_a_regular_package() -> None:
    assert not (ROOT / "__init__.py").exists()
    assert not (ROOT / "kafka" / "__init__.py").exists()


def test_the_kafka_folder_says_why_it_has_no_init() -> None:
    assert "__init__.py" in (ROOT / "kafka" / "README.md").read_text()


def test_no_module_is_named_after_a_standard_module_or_a_dependency() -> None:
    setup = (ROOT / "setup.py").read_text()
    dependencies = {name.replace("-", "_") for name in re.findall(r'"([a-z][a-z0-9-]+)(?:[><=]=?[^"]*)?",', setup)}
    taken = (set(sys.stdlib_module_names) | dependencies) - {"kafka"} - set(ROOMS)
    names = {file.stem for room in ROOMS for file in python_files(room)} - {"__init__"}
    assert not names & taken


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_a_room_imports_only_what_it_may(room: str) -> None:
    for file in python_files(room):
        for node in ast.walk(ast.parse(file.read_text())):
            modules = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom) and node.level == 0
                else []
            )
            for module in modules:
                parts = module.split(".")
                if parts[0] == "readerflow" and len(parts) > 1:
                    assert parts[1] in ALLOWED[room], f"{file.relative_to(ROOT)} imports {module}"
            if isinstance(node, ast.ImportFrom) and node.level > 1:
                depth = len(file.relative_to(ROOT).parts) - 1
                assert node.level <= depth, f"{file.relative_to(ROOT)} reaches out of its room"


def test_only_storage_reads_the_profile() -> None:
    for room in ROOMS:
        for file in python_files(room):
            if room in ("storage", "pipeline") or file.name == "settings.py":
                continue
            assert not re.search(r"\.profile\b", file.read_text()), f"{file} asks for the profile"
