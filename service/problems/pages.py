"""The pages behind a problem's ``type``: what a code means and what to do about it.

Plain HTML without scripts, so that they open from a terminal's link as well as in the web page.
"""

from html import escape

from service.problems.document import KINDS
from service.problems.kinds import ProblemKind

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:3rem auto;padding:0 1rem;"
    "color:#1b1f24;background:#fff}code{background:#eef1f4;padding:.1em .3em;border-radius:3px}"
    "dt{font-weight:600;margin-top:1rem}dd{margin:0}a{color:#0b57d0}"
    "@media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#16181b}"
    "code{background:#2a2e33}a{color:#8ab4f8}}"
)


def render_index() -> str:
    """All codes with their titles, in the order of the alphabet."""
    items = "".join(
        f'<dt><a href="/problems/{code}"><code>{code}</code></a></dt><dd>{escape(entry.title)}</dd>'
        for code, entry in sorted(KINDS.items())
    )
    return page("Problem codes", f"<dl>{items}</dl>")


def render_kind(entry: ProblemKind) -> str:
    """The page of one code."""
    where = f"HTTP status {entry.status}" if entry.status else "found while the job runs"
    again = "yes, later and unchanged" if entry.retryable else "no, something must change first"
    rows = {
        "Code": f"<code>{entry.code}</code> ({where})",
        "What happened": _prose(entry.meaning),
        "What to do": _prose(entry.advice),
        "Worth retrying": again,
    }
    body = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in rows.items())
    return page(entry.title, f'<dl>{body}</dl><p><a href="/problems">All codes</a></p>')


def _prose(text: str) -> str:
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if odd % 2 else part for odd, part in enumerate(parts))


def page(title: str, body: str) -> str:
    """A whole HTML page in the style of all plain pages; ``body`` is HTML."""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<h1>{escape(title)}</h1>{body}</html>"
    )
