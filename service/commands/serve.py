"""``secateur serve``, ``worker`` and ``migrate``: the service's own processes.

Everything heavy is imported when a command runs, so that ``--help`` is quick.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from service.settings import Settings

Host = Annotated[str | None, typer.Option(help="Address to listen on; default 127.0.0.1.")]
Port = Annotated[int | None, typer.Option(help="Port to listen on; 0 = any free one.")]
Workers = Annotated[int, typer.Option(min=0, max=64, help="Worker processes; 0 = the API only.")]
DataDir = Annotated[Path | None, typer.Option(help="Folder for everything the service keeps.")]
WorkerId = Annotated[str | None, typer.Option("--id", help="The worker's name, unique and stable.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(serve)
    app.command()(worker)
    app.command()(migrate)


def serve(
    host: Host = None, port: Port = None, workers: Workers = 1, data_dir: DataDir = None
) -> None:
    """Run the service: the REST API and its worker, on SQLite and the local disk by default.

    The first start prints an API key, once. Every setting is also a variable SECATEUR_...
    """
    from service.logs import configure_logs
    from service.supervisor import Supervisor, listen, web_child, worker_child

    settings = Settings.from_environment(os.environ, host=host, port=port, data_dir=data_dir)
    configure_logs(process="supervisor")
    _migrate(settings)
    _check_keys(settings)
    with listen(settings) as listener:
        address = listener.getsockname()
        shown = f"[{address[0]}]" if ":" in address[0] else address[0]
        sys.stdout.write(f"listening on http://{shown}:{address[1]}\n")
        sys.stdout.flush()
        children = [web_child(settings, os.environ, listener)]
        children += [worker_child(settings, os.environ, number) for number in range(workers)]
        code = Supervisor(children).run()
    raise typer.Exit(code)


def worker(worker_id: WorkerId = None, data_dir: DataDir = None) -> None:
    """Run one worker: one job at a time. SIGTERM hands the job to the next worker."""
    from service.worker import run_worker

    settings = Settings.from_environment(os.environ, worker_id=worker_id, data_dir=data_dir)
    _migrate(settings)
    run_worker(settings, os.environ)


def migrate(data_dir: DataDir = None) -> None:
    """Create the database, or bring it to this version; repeating it changes nothing."""
    _migrate(Settings.from_environment(os.environ, data_dir=data_dir))


def _migrate(settings: Settings) -> None:
    from service.migrations import migrate as migrate_database

    migrate_database(settings)


def _check_keys(settings: Settings) -> None:
    """Print the first key, or refuse a public address without one."""
    from service.authentication import ensure_first_key, refuse_open_door
    from service.database import create_database
    from service.engine.memory_engine import MemoryEngine
    from service.job_store import JobStore

    database = create_database(settings.database_url)
    try:
        store = JobStore(database, MemoryEngine())  # keys need no queue
        refuse_open_door(settings.host, store)
        token = ensure_first_key(store)
    finally:
        database.dispose()
    if token is not None:
        sys.stdout.write(f"API key, shown only now: {token}\n")
        sys.stdout.flush()
