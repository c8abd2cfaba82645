"""The product's own tables. The job engine keeps its tables beside them, with names of its own.

The public status of a job is a column here, so that the engine can be replaced. Changing anything
below needs a new file in ``migrations/versions``; a test compares the two.
"""

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Dialect


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """A moment in UTC; SQLite would otherwise drop the time zone."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Store UTC without a zone."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Give the zone back."""
        return None if value is None else value.replace(tzinfo=UTC)


metadata = sa.MetaData()

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("number", sa.Integer, nullable=False, unique=True),  # order of creation, for pages
    sa.Column("owner", sa.String(80), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("wanted", sa.String(8), nullable=False),
    sa.Column("spec", sa.JSON, nullable=False),
    sa.Column("model_key", sa.String(200), nullable=False, index=True),
    sa.Column("tag", sa.Integer, nullable=False),  # start tag: owners take turns
    sa.Column("fence", sa.Integer, nullable=False),  # grows at every start
    sa.Column("attempt", sa.Integer, nullable=False),  # starts that were charged
    sa.Column("handed_back", sa.Boolean, nullable=False),  # the next start is free of charge
    sa.Column("faults", sa.JSON, nullable=False),  # codes of the attempts that failed
    sa.Column("executor", sa.String(80)),  # who begun it last
    sa.Column("stages", sa.JSON, nullable=False),  # finished stage -> {file: sha256}
    sa.Column("last_seq", sa.Integer, nullable=False),  # number of the last event
    sa.Column("resumed_from_step", sa.Integer),
    sa.Column("progress", sa.JSON),
    sa.Column("result", sa.JSON),
    sa.Column("error", sa.JSON),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("started_at", UtcDateTime),
    sa.Column("finished_at", UtcDateTime),
    sa.Index("jobs_by_owner", "owner", "number"),
    sa.Index("jobs_by_status", "status"),
)

job_events = sa.Table(
    "job_events",
    metadata,
    sa.Column(
        "job_id", sa.String(40), sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True
    ),
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("data", sa.JSON, nullable=False),
)

artifacts = sa.Table(
    "artifacts",
    metadata,
    sa.Column(
        "job_id", sa.String(40), sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True
    ),
    sa.Column("name", sa.String(40), primary_key=True),
    sa.Column("key", sa.String(200), nullable=False, index=True),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("media_type", sa.String(80), nullable=False),
)

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("id", sa.String(80), primary_key=True),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("process_start", sa.String(40), nullable=False),
    sa.Column("beat", sa.Integer, nullable=False),  # a counter: clocks of hosts differ
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.String(8), primary_key=True),
    sa.Column("owner", sa.String(80), nullable=False),
    sa.Column("secret_sha256", sa.String(64), nullable=False),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime),
)

idempotency = sa.Table(
    "idempotency",
    metadata,
    sa.Column("owner", sa.String(80), primary_key=True),
    sa.Column("key", sa.String(255), primary_key=True),
    sa.Column("body_sha256", sa.String(64), nullable=False),
    sa.Column(
        "job_id", sa.String(40), sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False
    ),
    sa.Column("created_at", UtcDateTime, nullable=False),
)
