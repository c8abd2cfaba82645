"""Einsum equations: explicit, implicit, with spaces, an ellipsis, and those that do not fit."""

import pytest

from graph_analysis.equation import parse


@pytest.mark.parametrize(
    ("text", "ranks", "operands", "output"),
    [
        ("bij,bjk->bik", (3, 3), ("bij", "bjk"), "bik"),
        (" b i j , j k -> b i k ", (3, 2), ("bij", "jk"), "bik"),
        ("btc,cd", (3, 2), ("btc", "cd"), "bdt"),
        ("ii->i", (2,), ("ii",), "i"),
        ("ij->", (2,), ("ij",), ""),
    ],
)
def test_letters(text: str, ranks: tuple[int, ...], operands: tuple[str, ...], output: str) -> None:
    equation = parse(text, ranks)
    assert equation is not None
    assert equation.operands == tuple(tuple(operand) for operand in operands)
    assert equation.output == tuple(output)


def test_an_ellipsis_is_aligned_at_its_end() -> None:
    equation = parse("...i,...j->...ij", (3, 2))
    assert equation is not None
    assert equation.operands == (("...2", "...1", "i"), ("...1", "j"))
    assert equation.output == ("...2", "...1", "i", "j")


def test_an_implicit_output_starts_with_the_ellipsis() -> None:
    equation = parse("...ij,jk", (4, 2))
    assert equation is not None
    assert equation.output == ("...2", "...1", "i", "k")


def test_a_diagonal_is_seen() -> None:
    diagonal, plain = parse("bii->bi", (3,)), parse("bij->bi", (3,))
    assert diagonal is not None
    assert plain is not None
    assert diagonal.has_diagonal
    assert not plain.has_diagonal


@pytest.mark.parametrize(
    ("text", "ranks"),
    [("ij,jk->ik", (2,)), ("ij->k", (2,)), ("ij->ii", (2,)), ("ij", (3,)), ("ijk", (2,))],
)
def test_what_does_not_fit_is_not_understood(text: str, ranks: tuple[int, ...]) -> None:
    assert parse(text, ranks) is None
