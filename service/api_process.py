"""The web process: ``python -m service.api_process --socket FD --parent PID``.

A child of the supervisor, which made the listening socket and keeps it: while this process is
restarted, clients wait instead of being refused. It reads its settings from the environment.
"""

import argparse
import os
import signal
import socket
import sys
from collections.abc import Sequence

import uvicorn

from service.app import create_app
from service.database import create_database
from service.engine.dbos_engine import DbosEngine
from service.faults import arm
from service.http_protocol import DeadlineProtocol
from service.job_store import JobStore
from service.logs import configure_logs
from service.parent_death import die_with_parent
from service.settings import Settings
from service.storage import ArtifactStore
from service.worker_registry import open_registry

_SHUTDOWN_SECONDS = 30  # requests that are running may end
_CONNECTIONS = 1000


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m service.api_process")
    parser.add_argument("--socket", required=True, type=int)
    parser.add_argument("--parent", required=True, type=int)
    options = parser.parse_args(arguments)
    die_with_parent(options.parent, signal.SIGTERM)
    configure_logs(process="api")
    settings = Settings.from_environment(os.environ)
    arm(settings.fault)
    with socket.socket(fileno=options.socket) as listener:
        build_server(settings).run(sockets=[listener])
    return 0


def build_server(settings: Settings) -> uvicorn.Server:
    """The server with the application on the real database and store."""
    database = create_database(settings.database_url)
    store = JobStore(database, DbosEngine(database, poll_interval=settings.poll_interval))
    app = create_app(
        settings,
        store,
        ArtifactStore(settings.store_url),
        open_registry(database, settings.locks_dir),
    )
    config = uvicorn.Config(
        app,
        http=DeadlineProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )
    return uvicorn.Server(config)


if __name__ == "__main__":
    sys.exit(main())
