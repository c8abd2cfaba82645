"""A worker that dies with its supervisor: ``python -m service.worker_process``."""

import argparse
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

from service.parent_death import die_with_parent
from service.settings import Settings
from service.worker import run_worker


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Work until SIGTERM, or until the supervisor is gone."""
    parser = argparse.ArgumentParser(prog="python -m service.worker_process")
    parser.add_argument("--id", required=True)
    parser.add_argument("--parent", required=True, type=int)
    options = parser.parse_args(arguments)
    die_with_parent(options.parent, signal.SIGTERM)
    settings = Settings.from_environment(os.environ)
    run_worker(replace(settings, worker_id=options.id), os.environ)


if __name__ == "__main__":
    main()
