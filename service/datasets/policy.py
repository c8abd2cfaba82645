"""What may be read, how much of it, and how long that may take: one frozen value.

The defaults are the product's. Tests hand in their own resolver and address rule; there is no user
setting that opens private addresses.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from service.datasets.addresses import is_public, resolve_name


@dataclass(frozen=True, kw_only=True)
class NetworkPolicy:
    """Where connections may go.

    Attributes:
        ports: Allowed ports.
        permits: Whether an address may be connected to.
        resolve: Host name and port -> addresses; raises OSError if there are none.
    """

    ports: frozenset[int] = frozenset({80, 443})
    permits: Callable[[IPv4Address | IPv6Address], bool] = is_public
    resolve: Callable[[str, int], Sequence[str]] = resolve_name


@dataclass(frozen=True, kw_only=True)
class DatasetLimits:
    """Sizes in bytes, times in seconds.

    Attributes:
        file_bytes: The file as fetched.
        unpacked_bytes: All arrays together.
        ratio: Unpacked / packed bytes of one array, where it is larger than ``small_bytes``.
        small_bytes: Arrays up to this size may compress as well as they like.
        arrays: Arrays in one file.
        header_bytes: Description of one array.
        total_seconds: Fetching, retries included.
        stall_seconds: Without a byte, before one attempt is given up.
        attempts: Tries, the first included.
        backoff_seconds: Before the second try; doubles from then on.
        redirects: Followed per try.
    """

    file_bytes: int = 4 * 1024**3
    unpacked_bytes: int = 8 * 1024**3
    ratio: int = 200
    small_bytes: int = 64 * 1024**2
    arrays: int = 256
    header_bytes: int = 10_000
    total_seconds: float = 600.0
    stall_seconds: float = 60.0
    attempts: int = 4
    backoff_seconds: float = 1.0
    redirects: int = 3


@dataclass(frozen=True, kw_only=True)
class DatasetPolicy:
    """Everything that reading a data set needs to know about permissions.

    Attributes:
        roots: Folders below which ``file://`` may read; none by default. The command line, which
            runs with its user's own rights, passes ``(Path("/"),)``.
        network: Where http and https may go.
        limits: Sizes and times.
    """

    roots: tuple[Path, ...] = ()
    network: NetworkPolicy = field(default_factory=NetworkPolicy)
    limits: DatasetLimits = field(default_factory=DatasetLimits)
