"""The page: whole, by itself, readable for all, and safe whatever the names in a model are."""

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

import exporters.reporting
from exporters.reporting import PAGE_MOST_BYTES, to_html
from tests.unit.exporters.reporting.reports import Page, figures, history, make, proof, summary

SCHEMA = Path(exporters.reporting.__file__).with_name("report.schema.json")
HOSTILE = (
    "<script>alert(1)</script>",
    "</style></svg><img src=x onerror=alert(1)>",
    "\"><b onmouseover='alert(1)'>",
    "&#60;b&#62; ]]><!-- --",
    "line\nfeed\ttab\x00\x07\x1b[31m\x7f\N{RIGHT-TO-LEFT OVERRIDE}",
    "long " * 2000,
    "javascript:alert(1) {{7*7}} ${7*7}",
)


def page(**more: Any) -> Page:
    report, picture = make(**more)
    return Page(to_html(report, picture=picture))


def errors(report: Any) -> list[str]:
    validator = jsonschema_rs.Draft202012Validator(json.loads(SCHEMA.read_text()))
    return [str(error) for error in validator.iter_errors(report)]


def test_the_data_are_as_the_schema_says() -> None:
    report, _ = make()
    assert errors(json.loads(json.dumps(report, allow_nan=False))) == []


@pytest.mark.parametrize("part", ["segments", "groups", "model", "hashes", "command", "proof"])
def test_the_schema_misses_what_is_missing_and_refuses_what_is_wrong(part: str) -> None:
    report, _ = make()
    assert errors({key: value for key, value in report.items() if key != part}) != []
    assert errors({**report, part: 7}) != []
    assert errors({**report, "further": 1}) != []


def test_nothing_is_fetched_and_nothing_runs() -> None:
    report, picture = make()
    html = to_html(report, picture=picture)
    found = Page(html)
    assert {"script", "img", "link", "iframe", "object", "base", "form"} & set(found.tags) == set()
    for tag, key, value in found.attributes:
        assert not key.startswith("on"), tag
        assert key not in ("src", "srcset", "action"), tag
        assert key != "href" or str(value).startswith("#")
        assert "url(" not in str(value)
    assert "url(" not in html
    assert "@import" not in html
    assert set(re.findall(r"https?://[^\"' <]+", html)) <= {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in html


def test_it_has_headings_in_order_and_links_that_lead_somewhere() -> None:
    found = page()
    assert found.tags.count("h1") == 1
    levels = [int(tag[1]) for tag in found.tags if re.fullmatch("h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = [value for _, key, value in found.attributes if key == "id"]
    assert len(ids) == len(set(ids))
    links = [str(value)[1:] for tag, key, value in found.attributes if (tag, key) == ("a", "href")]
    assert set(links) == set(ids)
    assert ("html", "lang", "en") in found.attributes
    assert any(key == "name" and value == "viewport" for _, key, value in found.attributes)


def test_pictures_have_words_and_tables_have_captions() -> None:
    report, picture = make()
    html = to_html(report, picture=picture)
    for tag in re.findall(r"<svg [^>]*>", html):
        assert "aria-label=" in tag or "aria-hidden=" in tag or 'role="img"' in tag, tag
    assert html.count("<table>") == html.count("<caption>") > 5
    assert re.search(r'aria-label="loss over training steps: loss from 1 to 0\.1\d*"', html)


def test_people_find_what_they_look_for() -> None:
    text = page().text
    for words in (
        "4,000 \N{RIGHTWARDS ARROW} 1,000 25.0 % left, 4.00 times fewer",
        "Accuracy (test samples) 94.0 % \N{RIGHTWARDS ARROW} 91.0 %",
        "\N{MINUS SIGN}3.00 points",
        "4.00 MiB \N{RIGHTWARDS ARROW} 1.00 MiB",
        "4.000 ms \N{RIGHTWARDS ARROW} 1.000 ms 25.0 % left, 4.00 times faster",
        "proof passed",
        "Asked for: 40.0 % of the MACs",
        "Removed: 1 operator, 8 channels",
        "graph inputs keep their shape",
        "secateur compress --protect x",
        "circled: the weights that were kept (step 50)",
        "rise of the loss per share of the budget saved",
        "a" * 64,
    ):
        assert words in text, words


def test_what_was_erased_is_marked_in_the_picture_and_the_tables() -> None:
    report, picture = make()
    html = to_html(report, picture=picture)
    assert picture.strip() in html
    assert '<tr class="erased">' in html
    states = [entry["state"] for entry in report["segments"]]
    assert f"{states.count('erased')} erased" in Page(html).text
    assert "picture was not drawn" not in html


def test_without_a_picture_it_says_so() -> None:
    report, _ = make()
    assert "picture was not drawn" in to_html(report)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_name_can_be_markup(hostile: str) -> None:
    calm, danger = page(), page(name=lambda name: f"{hostile}{name}")
    assert danger.tags == calm.tags
    assert [a[:2] for a in danger.attributes] == [a[:2] for a in calm.attributes]
    assert "alert(1)" not in "".join(str(v) for t, k, v in danger.attributes if k != "aria-label")


def test_names_do_not_turn_what_follows_them() -> None:
    report, picture = make(name=lambda name: f"\N{RIGHT-TO-LEFT OVERRIDE}\x1b{name}")
    html = to_html(report, picture=picture)
    html = html.replace(picture.strip(), "")
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in html
    assert "\x1b" not in html


def test_a_job_with_nothing_measured_has_a_page_too() -> None:
    bare = {"accuracy": None, "measure": None, "value": None, "latency": (), "peak_memory": None}
    found = page(
        before=figures(4, **bare), after=figures(1, **bare), history=[], training={},
        evaluated_on=None, surroundings=None,
    )  # fmt: skip
    assert "not measured" in found.text
    assert "Latency was not measured" in found.text
    assert "Nothing was recorded while training" in found.text


def test_errors_are_better_when_they_are_smaller() -> None:
    def of(value: float) -> dict[str, Any]:
        return {"accuracy": None, "measure": "rmse", "value": value}

    report, _ = make(before=figures(4, **of(0.5)), after=figures(1, **of(0.25)))
    html = to_html(report)
    assert "0.5" in html
    assert re.search(r'note good">\N{MINUS SIGN}0\.25', html)
    worse, _ = make(before=figures(4, **of(0.5)), after=figures(1, **of(0.75)))
    assert re.search(r'note bad">\+0\.25', to_html(worse))


def test_a_budget_of_latency_says_what_was_measured() -> None:
    of = {"target": 0.5, "median": 0.48, "low": 0.46, "high": 0.49, "rounds": 70}
    found = page(training={**summary(), "latency_share": {**of, "batch": 1, "threads": 2}})
    words = "measured 48.0 %, between 46.0 % and 49.0 % in 70 rounds"
    assert words in found.text
    assert "measured 48.0" not in page().text


def test_times_of_a_busy_machine_are_called_uncertain() -> None:
    report, _ = make()
    report["machine"]["load"] = 9.5
    assert "9.5 processes wanted 4 cores" in Page(to_html(report)).text
    report["machine"]["load"] = 5.9
    assert "uncertain" not in to_html(report)


def test_phases_are_named() -> None:
    assert "Phases: search to step 20, hybrid to step 30, converged to step 60." in page().text


def test_slower_is_not_called_faster() -> None:
    found = page(before=figures(1), after=figures(2))
    assert "2.00 times slower" in found.text
    assert "2.00 times more" in found.text


def test_a_failed_proof_is_not_overlooked() -> None:
    figure = proof().figures[0].__class__
    bad = figure(**{**vars(proof().figures[0]), "passed": False, "max_difference": float("inf")})
    found = page(proof=proof(passed=False, figures=(bad,)))
    assert "proof FAILED" in found.text
    assert "not finite" in found.text
    assert "proof passed" not in found.text


def large(number: int, name: str) -> dict[str, Any]:
    """A report of a model with so many of everything, and names as they are worst."""
    report, _ = make(history=history(), training=summary())
    group = {**report["groups"][0], "erased_with": name}
    segment = {**report["segments"][0], "vertices": [name] * 50}
    return {
        **report,
        "groups": [{**group, "id": f"{name}{place}", "kind": "channel"} for place in range(number)],
        "segments": [{**segment, "id": f"{name}{place}"} for place in range(number)],
        "frozen": [
            {"name": name, "reason": f"{place % 500} {name}"} for place in range(4 * number)
        ],
        "erased": [{"id": name, "nodes": [name] * 9, "parameters": 1}] * number,
        "training": [{**report["training"][-1], "step": place} for place in range(number)],
        "proof": {**report["proof"], "figures": report["proof"]["figures"] * number},
    }


def test_the_page_of_any_model_is_bounded_and_says_what_it_leaves_out() -> None:
    html = to_html(large(5000, '"' * 10_000), picture="<svg>" + "x" * 3_000_000 + "</svg>")
    assert len(html.encode()) < PAGE_MOST_BYTES
    text = Page(html).text
    assert "of 5,000; report.json holds all" in text
    assert "The picture is too large for this page" in text


def test_long_tables_are_folded() -> None:
    found = page()
    assert ("details", "open", None) in found.attributes
    html = to_html(large(500, "node"))
    assert "<details open" not in html
    assert "all 500 groups" in html
    assert len(html.encode()) < 1_500_000


EXPORTS = [
    {
        "format": "int8",
        "bytes": {"before": 4000, "after": 1000},
        "differences": [{"relative": 0.25}, {"relative": None}],
        "compared_on": "test",
        "quality": {"measure": "accuracy", "before": 0.9, "after": 0.85, "drop": 0.05},
        "file": "compressed.int8.onnx",
    },
    {"format": "float16", "refused": "node '<b>x</b>' is quantised already"},
]


def test_further_formats_are_listed_with_what_they_lose_or_why_they_are_not_there() -> None:
    report, picture = make()
    whole = {**report, "exports": EXPORTS}
    assert errors(whole) == []
    found = Page(to_html(whole, picture=picture))
    for words in ("25.0 %", "0.25", "0.9000", "0.8500", "not made: node '<b>x</b>' is quantised"):
        assert words in found.text
    assert "b" not in found.tags
    assert "Further formats" not in Page(to_html(report, picture=picture)).text
    assert errors({**report, "exports": [{"format": "int8"}]}) != []
