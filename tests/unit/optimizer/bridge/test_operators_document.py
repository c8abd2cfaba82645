"""`optimizer/OPERATORS.md` says what the registry says.

`python -m tests.operator_table` writes it.
"""

import re

import onnx
import pytest

from optimizer.bridge.registry import find, supported_operators
from tests.operator_table import DOCUMENT, versions

TEXT = DOCUMENT.read_text(encoding="utf-8")
STANDARD, OTHERS = TEXT.partition("## Standard domain")[2].split("## Other domains")
WRITTEN_WITH = re.search(r"with onnx ([\d.]+\d)", TEXT)
same_onnx = pytest.mark.skipif(
    WRITTEN_WITH is None or WRITTEN_WITH.group(1) != onnx.__version__,
    reason="another onnx knows other operators than the table was written with",
)


def rows(part: str) -> list[list[str]]:
    lines = [line for line in part.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def forms(cell: str) -> dict[int, str]:
    """`7: 3/3, 13: yes` as a mapping."""
    pairs = (form.split(": ") for form in cell.split(", "))
    return {int(version): outcome for version, outcome in pairs}


@same_onnx
def test_every_operator_has_a_row_with_all_its_versions() -> None:
    assert {row[0]: sorted(forms(row[2])) for row in rows(STANDARD)} == versions()


def test_the_table_imports_what_the_registry_imports() -> None:
    table = {("", row[0]) for row in rows(STANDARD) if row[1] == "yes"}
    table |= {(row[1], row[0]) for row in rows(OTHERS) if row[2] == "yes"}
    known = {
        (domain, name) for domain, name in supported_operators() if domain or name in versions()
    }
    assert table == known


def test_a_form_is_missing_where_no_translator_serves_it() -> None:
    for name, own, cell, _ in rows(STANDARD):
        for version, outcome in forms(cell).items():
            if own != "by its body":
                assert (outcome == "-") == (find("", name, version) is None), (name, version)


def test_figures_add_up() -> None:
    found = re.search(r"^- (\d+) of (\d+) cases at all versions", TEXT, flags=re.MULTILINE)
    assert found is not None
    pairs = [
        tuple(map(int, outcome.split("/")))
        for row in rows(STANDARD)
        for outcome in forms(row[2]).values()
        if "/" in outcome
    ]
    passed, tried = (sum(pair[place] for pair in pairs) for place in (0, 1))
    assert passed == int(found.group(1))
    assert tried <= int(found.group(2))  # cases of operators that do not import have no figures
