"""``report.html``: one file that opens from disk, without scripts and without a network.

Its size is bounded whatever the model: long tables end early and say so, ``report.json`` is whole.
"""

from collections.abc import Mapping
from typing import Any

from exporters.reporting.evidence import again, proof, verdict
from exporters.reporting.formats import formats
from exporters.reporting.headline import headline
from exporters.reporting.markup import share, text
from exporters.reporting.structure import frozen, groups, segments
from exporters.reporting.style import STYLE
from exporters.reporting.training import training

PAGE_MOST_BYTES = 8_000_000
_PARTS = (
    ("headline", "before and after"),
    ("training", "training"),
    ("groups", "groups"),
    ("graph", "segment graph"),
    ("stays", "what stays"),
    ("proof", "proof"),
    ("formats", "further formats"),
    ("again", "doing it again"),
)
# nothing may be fetched or run, not even if a name in the model were to slip through as markup
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def to_html(report: Mapping[str, Any], *, picture: str | None = None) -> str:
    """The report as a page of at most ``PAGE_MOST_BYTES`` bytes in UTF-8.

    Args:
        report: Of schema ``secateur/report/2``.
        picture: The segment graph as SVG text from ``graph_analysis.svg``, if it was drawn.
    """
    title = report["about"].get("graph") or "model"
    parts = [part for part in _PARTS if part[0] != "formats" or report.get("exports")]
    links = "".join(f'<li><a href="#{key}">{words}</a></li>' for key, words in parts)
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Compression report: {text(title, 100)}</title>",
            f"<style>{STYLE}</style></head><body>",
            f"<header><h1>Compression report: {text(title, 100)}</h1>",
            f"<p>{verdict(report)} {text(_goal(report['configuration']))}</p>",
            f'<nav aria-label="parts of this page"><ul>{links}</ul></nav></header>',
            "<main>",
            headline(report),
            training(report),
            groups(report),
            segments(report, picture),
            frozen(report),
            proof(report),
            formats(report),
            again(report),
            "</main>",
            f"<footer><p>Secateur, schema {text(report['schema'])}. report.json beside this page "
            "holds every figure.</p></footer>",
            "</body></html>",
            "",
        ]
    )


def _goal(settings: Mapping[str, Any]) -> str:
    names = {"macs": "MACs", "params": "parameters", "bytes": "bytes", "latency": "latency"}
    for key, words in names.items():
        target = settings.get(f"target_{key}")
        if target is not None:
            return f"Asked for: {share(float(target))} of the {words}."
    return ""
