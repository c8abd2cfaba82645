"""What holds for every file: where packages come from, and what a module must start with."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("graph_analysis", "optimizer", "exporters", "service")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MAX_LINES = 500
FORBIDDEN_STEMS = {"utils", "helpers", "misc", "common", "logging", "types", "queue", "operator"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("package", PACKAGES)
def test_package_resolves_inside_this_checkout(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__file__ is not None
    assert Path(module.__file__).resolve() == ROOT / package / "__init__.py"


@pytest.mark.parametrize("package", PACKAGES)
def test_package_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


def test_the_sources_were_found() -> None:
    assert len(SOURCES) > 50


def test_every_module_says_what_belongs_in_it() -> None:
    silent = [
        name_of(path) for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_no_file_has_outgrown_one_topic() -> None:
    long = {
        name_of(path): n
        for path in SOURCES
        if (n := len(path.read_text().splitlines())) > MAX_LINES
    }
    assert long == {}


def test_no_file_is_named_after_nothing_or_after_the_standard_library() -> None:
    assert [name_of(path) for path in SOURCES if path.stem in FORBIDDEN_STEMS] == []


def test_every_folder_with_sources_is_a_package() -> None:
    folders = {path.parent for path in SOURCES}
    assert [name_of(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []
