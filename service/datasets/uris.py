"""Checks a data set's address as far as that goes without touching the network.

Done when a job is submitted, again for each redirect, and again when the job runs. Names are not
resolved here: what they resolve to is checked when the connection is made.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from service.datasets.addresses import is_private_name, literal_address, plain_host
from service.datasets.policy import NetworkPolicy
from service.errors import DatasetError

_MAX_LENGTH = 8 * 1024
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_DEFAULT_PORTS = {"http": 80, "https": 443}
FORBIDDEN = (
    "the data set's address may not be read: only files below the allowed folders "
    "(SECATEUR_DATASET_ROOTS) and public internet addresses are"
)


@dataclass(frozen=True, kw_only=True)
class DatasetUri:
    """A checked address.

    Attributes:
        scheme: ``file``, ``http`` or ``https``.
        text: What to request (http, https) or the path (file).
        host: Host name in ASCII; empty for files.
        port: Port; 0 for files.
    """

    scheme: str
    text: str
    host: str = ""
    port: int = 0


def check_uri(
    uri: str, *, roots: Sequence[Path] = (), network: NetworkPolicy | None = None
) -> DatasetUri:
    """Parse a data set's address and refuse what can be refused without reading anything.

    Args:
        uri: ``file:///folder/data.npz``, ``http://...`` or ``https://...``.
        roots: Folders below which files may be read.
        network: Which ports and literal addresses are allowed; the product's policy if None.

    Raises:
        DatasetError: ``dataset-scheme``, ``dataset-uri-credentials`` or ``dataset-uri-forbidden``.
    """
    if len(uri) > _MAX_LENGTH or not uri.isprintable() or uri != uri.strip():
        message = "the data set's address must be one printable line of at most 8 KB"
        raise DatasetError(message, code="dataset-scheme", param="dataset")
    scheme = _scheme(uri)
    try:
        parts = urlsplit(uri)
        port = parts.port or _DEFAULT_PORTS.get(scheme, 0)
    except ValueError as error:
        raise forbidden() from error
    if "@" in parts.netloc:
        message = (
            "the data set's address contains a user or password, which would end up in logs; "
            "use a signed address without one"
        )
        raise DatasetError(message, code="dataset-uri-credentials", param="dataset")
    if scheme == "file":
        return DatasetUri(scheme="file", text=str(_checked_path(parts, roots)))
    return _checked_url(parts, scheme, port, network or NetworkPolicy())


def forbidden() -> DatasetError:
    """The one error for all addresses that may not be read, whatever the reason."""
    return DatasetError(FORBIDDEN, code="dataset-uri-forbidden", param="dataset")


def _scheme(uri: str) -> str:
    found = _SCHEME.match(uri)
    scheme = found[1].lower() if found else ""
    if scheme not in ("file", *_DEFAULT_PORTS) or uri[len(scheme) + 1 :][:2] != "//":
        given = f"'{scheme[:40]}:'" if scheme else "an address without a scheme"
        message = f"{given} is not supported; use file:///path, https://host/path or http://"
        raise DatasetError(message, code="dataset-scheme", param="dataset")
    return scheme


def _checked_path(parts: SplitResult, roots: Sequence[Path]) -> Path:
    """The path, with links resolved, if it is below a root."""
    text = unquote(parts.path)
    is_plain = parts.netloc in ("", "localhost") and not parts.query and not parts.fragment
    if not is_plain or "\x00" in text or not text.startswith("/"):
        raise forbidden()
    real = Path(os.path.realpath(text))
    if not any(real.is_relative_to(os.path.realpath(root)) for root in roots):
        raise forbidden()
    return real


def _checked_url(parts: SplitResult, scheme: str, port: int, network: NetworkPolicy) -> DatasetUri:
    """The address with its host in ASCII, if port and host may be connected to."""
    try:
        host = plain_host(parts.hostname or "")
    except ValueError as error:
        raise forbidden() from error
    address = literal_address(host)
    if port not in network.ports or not host or "%" in host:
        raise forbidden()
    if address is not None and not network.permits(address):
        raise forbidden()
    if address is None and is_private_name(host):
        raise forbidden()
    shown_host = f"[{host}]" if ":" in host else host
    netloc = shown_host if port == _DEFAULT_PORTS[scheme] else f"{shown_host}:{port}"
    text = parts._replace(
        scheme=scheme, netloc=netloc, fragment="", path=parts.path or "/"
    ).geturl()
    return DatasetUri(scheme=scheme, text=_ascii(text), host=host, port=port)


def _ascii(text: str) -> str:
    """Percent-encode what is not ASCII or is a space, as browsers do."""
    return "".join(
        char
        if char.isascii() and char != " "
        else "".join(f"%{byte:02X}" for byte in char.encode())
        for char in text
    )
