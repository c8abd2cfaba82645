"""API keys: made once, shown once, stored as a digest."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from datetime import datetime

import sqlalchemy as sa

from service.database import reading, writing
from service.job_rows import now
from service.jobs import NewKey, Principal
from service.tables import api_keys

_PREFIX = "sct_"
_ID_LENGTH = 8
_TOKEN = re.compile(rf"{_PREFIX}([0-9a-z]{{{_ID_LENGTH}}})_([A-Za-z0-9_-]{{43}})")
_ID_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


class KeyStore:
    """Keys in the database; a key looks like ``sct_<8 characters>_<43 characters>``."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def create(
        self, owner: str, scopes: Iterable[str], *, expires_at: datetime | None = None
    ) -> NewKey:
        """Make a key; its token cannot be read again."""
        key_id = "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_LENGTH))
        secret = secrets.token_urlsafe(32)
        row = {
            "id": key_id,
            "owner": owner,
            "secret_sha256": _digest(secret),
            "scopes": sorted(scopes),
            "created_at": now(),
            "expires_at": expires_at,
        }
        with writing(self._engine) as connection:
            connection.execute(sa.insert(api_keys).values(**row))
        return NewKey(id=key_id, token=f"{_PREFIX}{key_id}_{secret}")

    def is_empty(self) -> bool:
        """Whether there is no key at all: the first start."""
        with reading(self._engine) as connection:
            return connection.execute(sa.select(api_keys.c.id).limit(1)).first() is None

    def authenticate(self, token: str) -> Principal | None:
        """Who the token belongs to; None if it is malformed, unknown, wrong or expired."""
        match = _TOKEN.fullmatch(token)
        if match is None:
            return None
        key_id, secret = match.groups()
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(api_keys).where(api_keys.c.id == key_id)).first()
        expected = row.secret_sha256 if row is not None else _digest("")
        is_right = hmac.compare_digest(expected, _digest(secret))
        if row is None or not is_right:
            return None
        if row.expires_at is not None and row.expires_at <= now():
            return None
        return Principal(owner=row.owner, key_id=row.id, scopes=frozenset(row.scopes))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
