"""Who sent a request: bearer keys, their scopes, and the key that is printed once.

How keys are stored (id and SHA-256, never the secret) is the business of the store.
"""

from service.errors import ForbiddenError, RequestError, UnauthenticatedError
from service.job_store import JobStore
from service.jobs import Principal

READ = "read"
WRITE = "write"
ADMIN = "admin"  # includes the other two
SCOPES = frozenset({READ, WRITE, ADMIN})
FIRST_OWNER = "own_local"  # who owns everything until there are more keys
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
_REFUSAL = "send a valid key: Authorization: Bearer sct_..."  # one text for all causes


def authenticate(store: JobStore, authorization: str | None) -> Principal:
    """The sender of a request with this Authorization header.

    Raises:
        UnauthenticatedError: The header is missing or malformed, or the key is not valid.
    """
    scheme, _, token = (authorization or "").partition(" ")
    principal = store.authenticate(token.strip()) if scheme.lower() == "bearer" else None
    if principal is None:
        raise UnauthenticatedError(_REFUSAL)
    return principal


def require_scope(principal: Principal, scope: str) -> None:
    """Check that the key allows ``scope``.

    Raises:
        ForbiddenError: It does not.
    """
    if not principal.scopes & {scope, ADMIN}:
        message = f"the key lacks the scope '{scope}'"
        raise ForbiddenError(message)


def ensure_first_key(store: JobStore) -> str | None:
    """Make the first key of an installation; None if there is a key already.

    Returns:
        The token, to be shown once: it cannot be read back.
    """
    return None if store.has_keys() else store.create_key(FIRST_OWNER, SCOPES).token


def refuse_open_door(host: str, store: JobStore) -> None:
    """Do not listen on a public address before there is a key that somebody has written down.

    Raises:
        RequestError: There is no key and ``host`` can be reached from other machines.
    """
    if not is_loopback(host) and not store.has_keys():
        message = (
            f"'{host}' can be reached from other machines, and there is no key yet; "
            "start once with --host 127.0.0.1 and keep the key that is printed"
        )
        raise RequestError(message, param="SECATEUR_HOST")


def is_loopback(host: str) -> bool:
    """Whether a server bound to ``host`` is reachable from this machine only."""
    return host.strip("[]") in LOOPBACK_HOSTS
