"""How a translator says that it does not know this form of its operator."""


class UnsupportedVariant(Exception):  # noqa: N818 - control flow: the importer collects these
    """A translator meets an attribute or input that it does not cover; the text is the reason."""
