"""Entity tags in conditional requests (RFC 9110, section 13)."""


def matches(header: str | None, etag: str) -> bool:
    """Whether an If-None-Match header names ``etag``; weak and strong ones compare equal.

    Example:
        >>> matches('W/"a", "b"', '"a"'), matches("*", '"a"'), matches(None, '"a"')
        (True, True, False)
    """
    if header is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return "*" in tags or etag in tags
