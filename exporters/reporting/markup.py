"""Pieces of HTML, and how figures read. All text goes through ``text``: strangers wrote names."""

from collections.abc import Iterable, Sequence
from html import escape

ARROW, TIMES, MINUS = "\N{RIGHTWARDS ARROW}", "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}"
NONE = "\N{EN DASH}"
_NAME_MAX = 120


def text(words: object, most: int = 4000) -> str:
    """Text that can be no markup.

    Control characters, and those that turn the direction of what follows, show as replacement
    characters.
    """
    shown = shortened(str(words), most)
    return escape("".join(c if _is_allowed(c) else "\N{REPLACEMENT CHARACTER}" for c in shown))


def name(words: object) -> str:
    """A name of a tensor, node or group."""
    return f"<code>{text(words, _NAME_MAX)}</code>"


def shortened(words: str, most: int = _NAME_MAX) -> str:
    """Text as it is; of a long one its beginning and its end, which tells more."""
    half = (most - 3) // 2
    return words if len(words) <= most else f"{words[:half]}...{words[-half:]}"


def _is_allowed(character: str) -> bool:
    code = ord(character)
    if code < 32 or 127 <= code < 160:
        return code in (9, 10)
    turns_text = 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069
    return not (turns_text or 0xD800 <= code <= 0xDFFF or code & 0xFFFE == 0xFFFE)


def count(number: float) -> str:
    """A count in full below ten thousand, else in three digits with a unit.

    Example:
        >>> count(9802), count(6_683_264)
        ('9,802', '6.68 M')
    """
    for unit, letter in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= max(unit, 10_000):
            return f"{number / unit:.3g} {letter}" if number < 999.5 * unit else f"1,000 {letter}"
    return f"{number:,.0f}"


def size(number: float) -> str:
    """Bytes in three digits, in units of 1024.

    Example:
        >>> size(900), size(361_412)
        ('900 bytes', '353 KiB')
    """
    for unit, word in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if number >= unit:
            digits = f"{number / unit:#.3g}" if number < 999.5 * unit else f"{number / unit:.0f}"
            return f"{digits.rstrip('.')} {word}"
    return f"{number:.0f} bytes"


def milliseconds(number: float) -> str:
    """Milliseconds in three digits."""
    return f"{number:.3f} ms" if number < 10 else f"{number:.4g} ms"


def share(ratio: float | None) -> str:
    """A share in per cent.

    Example:
        >>> share(0.3902)
        '39.0 %'
    """
    return NONE if ratio is None else f"{100 * ratio:.1f} %"


def row(cells: Sequence[str], *, right: Iterable[int] = (), kind: str = "") -> str:
    """A table row of HTML; the first cell heads it, those in ``right`` hold numbers."""
    numbers = set(right)
    shapes = [_class("num") if place in numbers else "" for place in range(len(cells))]
    first = f'<th scope="row"{shapes[0]}>{cells[0]}</th>'
    others = zip(shapes[1:], cells[1:], strict=True)
    rest = "".join(f"<td{shape}>{cell}</td>" for shape, cell in others)
    return f"<tr{_class(kind)}>{first}{rest}</tr>"


def table(
    caption: str, titles: Sequence[str], rows: Iterable[str], right: Iterable[int] = ()
) -> str:
    """A table that scrolls by itself where it is wider than the page.

    Args:
        caption: HTML; what the table is.
        titles: Of the columns.
        rows: As ``row`` makes them.
        right: Columns of numbers.
    """
    numbers = set(right)
    head = "".join(
        f'<th scope="col"{_class("num" if place in numbers else "")}>{text(title)}</th>'
        for place, title in enumerate(titles)
    )
    return (
        f'<div class="scroll" tabindex="0"><table>'
        f"<caption><span>{caption}</span></caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _class(words: str) -> str:
    return f' class="{words}"' if words else ""


def folded(summary: str, content: str, *, is_open: bool = False) -> str:
    """Content that is shown when asked for."""
    state = " open" if is_open else ""
    return f"<details{state}><summary>{text(summary)}</summary>{content}</details>"


def section(key: str, title: str, *content: str) -> str:
    """A part of the page, with a heading that links can point to."""
    return f'<section id="{key}"><h2>{text(title)}</h2>\n' + "\n".join(content) + "\n</section>"
