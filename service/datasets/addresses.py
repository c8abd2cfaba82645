"""Which network addresses are public, in every spelling, and how names become addresses.

``ipaddress`` alone is not enough: it calls some special networks global, and an IPv6 address can
carry a private IPv4 address inside.
"""

import socket
import unicodedata
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Address = IPv4Address | IPv6Address
_SPECIAL = tuple(
    ip_network(text)
    for text in (
        "100.64.0.0/10",  # between providers and their customers
        "168.63.129.16/32",  # a cloud's metadata and DNS service
        "192.0.0.0/24",  # protocol assignments; one cloud's metadata service
        "192.88.99.0/24",  # 6to4 relays
        "198.18.0.0/15",  # benchmarks
        "240.0.0.0/4",  # reserved
        "::/96",  # IPv4-compatible
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/48",  # NAT64, local
        "2001::/23",  # protocol assignments, Teredo
        "2002::/16",  # 6to4
        "5f00::/16",  # segment routing
        "fec0::/10",  # site-local
    )
)
_DOTS = str.maketrans(dict.fromkeys("\u3002\uff0e\uff61", "."))
_PRIVATE_NAMES = ("localhost", "local", "internal", "localdomain", "home.arpa", "lan", "intranet")


def is_public(address: Address) -> bool:
    """Whether an address may be connected to.

    Refused: everything that is not globally reachable, multicast, every IPv6 form that embeds an
    IPv4 address, addresses with a zone, and the special networks above.
    """
    if not address.is_global or address.is_multicast:
        return False
    if isinstance(address, IPv6Address) and (address.ipv4_mapped or address.scope_id):
        return False
    return not any(address in network for network in _SPECIAL)


def resolve_name(host: str, port: int) -> Sequence[str]:
    """All addresses of a host, by the system's resolver.

    Raises:
        OSError: The name is unknown.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def plain_host(host: str) -> str:
    """A host name as the resolver will see it: lower case, ASCII dots and digits, IDNA.

    Raises:
        ValueError: It cannot be a host name.
    """
    folded = unicodedata.normalize("NFKC", host.translate(_DOTS)).lower().rstrip(".")
    if ":" in folded:
        return folded  # an IPv6 address
    try:
        return folded.encode("idna").decode("ascii")
    except UnicodeError as error:
        message = "not a host name"
        raise ValueError(message) from error


def literal_address(host: str) -> Address | None:
    """The address that a host spells, in any of the forms that resolvers accept; None for a name.

    ``127.1``, ``0x7f000001`` and ``2130706433`` are all 127.0.0.1 to the C library.
    """
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def is_private_name(host: str) -> bool:
    """Whether a name is private by convention, or has no dot and so cannot be public."""
    return "." not in host or host.endswith(tuple("." + name for name in _PRIVATE_NAMES))
