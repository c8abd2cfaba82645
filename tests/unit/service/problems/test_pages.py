"""The pages of the codes."""

from service.problems import KINDS, ProblemKind, render_index, render_kind


def test_the_index_links_every_code() -> None:
    page = render_index()
    assert all(f'href="/problems/{code}"' in page for code in KINDS)


def test_a_page_says_what_happened_and_what_to_do() -> None:
    page = render_kind(KINDS["rate-limited"])
    assert "HTTP status 429" in page
    assert "Retry-After" in page
    assert "yes, later and unchanged" in page
    assert "found while the job runs" in render_kind(KINDS["worker-lost"])


def test_texts_are_escaped_and_backticks_are_code() -> None:
    entry = ProblemKind(
        code="x", status=400, title="<b>", meaning="a `b` <c>", advice="d.", retryable=False
    )
    page = render_kind(entry)
    assert "<code>b</code> &lt;c&gt;" in page
    assert "<b>" not in page
