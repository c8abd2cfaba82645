"""The README names what exists: every command, the two commands of the Makefile, real paths."""

import re
from pathlib import Path

import pytest
import typer
from typer.main import get_command

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")


def command_names() -> list[str]:
    from service import cli

    group = get_command(cli.app) if isinstance(cli.app, typer.Typer) else cli.app
    return sorted(group.list_commands(None))


def test_readme_names_every_command() -> None:
    missing = [name for name in command_names() if not re.search(rf"`(secateur )?{name}\b", README)]
    assert missing == []


def test_readme_starts_with_the_two_commands() -> None:
    assert README.index("make demo") < README.index("make test") < README.index("secateur serve")


def test_readme_shows_the_three_calls() -> None:
    calls = re.findall(r"^curl .*$", README, flags=re.MULTILINE)
    assert len(calls) == 3
    assert "-F model=@" in calls[0]
    assert "-F dataset=" in calls[0]
    assert calls[2].endswith("/model")


def sample() -> str:
    """What `secateur analyze` says about the README's example: an attention block and an MLP."""
    from graph_analysis import AnalysisOptions, analyze, load_model
    from graph_analysis.explain import explain
    from graph_analysis.pipeline import USUAL_MULTIPLE
    from graph_analysis.testing import HARD_CASES

    loaded = load_model(HARD_CASES["fused_qkv"]().SerializeToString())
    return explain(analyze(loaded, options=AnalysisOptions(multiple=USUAL_MULTIPLE)))


def test_readme_shows_what_analyze_says() -> None:
    assert f"```\n{sample()}\n```" in README


@pytest.mark.parametrize("document", DOCUMENTS)
def test_folders_that_documents_name_exist(document: str) -> None:
    named = set(re.findall(r"`([a-z_]+(?:/[a-z_]+)*/)`", (ROOT / document).read_text()))
    assert [path for path in named if path != "demo-output/" and not (ROOT / path).is_dir()] == []


def test_every_make_target_explains_itself() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)
    assert phony is not None
    for target in phony.group(1).split():
        assert re.search(rf"^{target}:.*## ", makefile, flags=re.MULTILINE), target


def test_every_code_that_is_raised_has_a_page() -> None:
    from service.problems import KINDS

    pattern = re.compile(r"""(?:code|default_code[^=]*)\s*=\s*["']([a-z]+(?:-[a-z]+)+)["']""")
    raised = {
        code
        for package in ("graph_analysis", "optimizer", "exporters", "service")
        for path in (ROOT / package).rglob("*.py")
        for code in pattern.findall(path.read_text())
    }
    of_commands = {"output-not-writable", "solution-invalid", "model-unreadable"}
    of_the_client = {"service-unreachable"}
    of_events = {"schedule-compressed", "training-restarted", "training-resumed"}
    of_events |= {
        "cutting-skipped",
        "from-scratch",
        "batch-halved",
        "training-ended-early",
        "accuracy-drop-exceeded",
    }
    assert raised - set(KINDS) - of_commands - of_the_client - of_events == set()
