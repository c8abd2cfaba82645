"""Charts: round numbers at the axes, points where they belong."""

import re

from hypothesis import given
from hypothesis import strategies as st

from exporters.reporting.charts import Bar, Line, LineChart, bar_chart, line_chart, nice
from exporters.reporting.markup import count, name, share, shortened, size, text


@given(low=st.floats(-1e9, 1e9), span=st.floats(1e-6, 1e9))
def test_ticks_are_few_round_and_around_the_range(low: float, span: float) -> None:
    high = low + span
    ticks = nice(low, high)
    assert 2 <= len(ticks) <= 8
    assert ticks == sorted(set(ticks))
    assert ticks[0] <= low + 1e-6 * (abs(low) + span)
    assert ticks[-1] >= high - 1e-6 * (abs(high) + span)


def test_ticks_of_a_single_value() -> None:
    assert len(nice(0.0, 0.0)) >= 2
    assert len(nice(0.5, 0.5)) >= 2


def chart(**more: object) -> LineChart:
    settings = {"lines": [Line(title="loss", points=[(0.0, 1.0), (10.0, 0.0)])], "unit": "loss"}
    return LineChart(**{"title": "loss", **settings, **more})  # type: ignore[arg-type]


def test_a_line_goes_from_corner_to_corner() -> None:
    found = re.search(r'points="([^"]+)"', line_chart(chart()))
    assert found is not None
    assert found.group(1) == "50.0,36.0 350.0,200.0"


def test_axes_have_units_and_a_legend() -> None:
    html = line_chart(chart(mark=("original", 0.5), best=(10.0, 0.0), phases=[("search", 0, 10)]))
    for words in ("training step", ">loss<", ">search<", "original;", "circled", "step 10"):
        assert words in html, words
    assert html.count('class="mark"') == 1
    assert 'role="img"' in html


def test_a_phase_too_short_for_its_name_has_none() -> None:
    html = line_chart(chart(phases=[("search", 0, 1), ("converged", 1, 10)]))
    assert ">search<" not in html
    assert ">converged<" in html


def test_no_points_no_chart() -> None:
    assert line_chart(chart(lines=[])) == ""
    assert line_chart(chart(lines=[Line(title="loss", points=[])])) == ""


def test_one_point_is_a_chart() -> None:
    html = line_chart(chart(lines=[Line(title="loss", points=[(5.0, 2.0)])]))
    assert html.count("<circle") == 1
    assert "nan" not in html


def test_bars_are_as_high_as_the_groups_are_wide() -> None:
    bars = [Bar(title="a", before=100, after=50), Bar(title="<b>", before=100, after=0)]
    html = bar_chart(bars, title="widths", unit="units", across="group")
    heights = [
        float(height)
        for height in re.findall(r'class="(?:before|after)"[^>]*height="([0-9.]+)"', html)
    ]
    assert heights[1] == heights[0] / 2
    assert heights[3] == 0
    assert "<b>" not in html
    assert all(words in html for words in (">units<", ">group<", "before", "after"))


def test_figures_read_well() -> None:
    assert [count(n) for n in (0, 9_999, 10_000, 208_506, 999_900, 6_683_264, 3 * 10**9)] == [
        "0", "9,999", "10 k", "209 k", "1,000 k", "6.68 M", "3 G",
    ]  # fmt: skip
    assert [size(n) for n in (5, 1023, 882_495, 1 << 20, 3 << 30)] == [
        "5 bytes", "1023 bytes", "862 KiB", "1.00 MiB", "3.00 GiB",
    ]  # fmt: skip
    assert share(None) == "\N{EN DASH}"


def test_long_names_keep_both_ends() -> None:
    words = shortened("a" * 100 + "b" * 100, 21)
    assert words == "a" * 9 + "..." + "b" * 9
    assert name("<") == "<code>&lt;</code>"
    assert text("\ud800\ufffe\x07\n") == "\N{REPLACEMENT CHARACTER}" * 3 + "\n"
