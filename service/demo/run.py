"""``make demo``: start a service, and compress a trained network with it as a user would.

Uploads the network and the address of the data, follows the job, downloads model and report, and
prints what it brought. Leaves ``demo-output/`` behind; the service and its data folder are gone.
"""

import json
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from graph_analysis.errors import SecateurError
from service.client import Client
from service.demo import MODEL_PATH
from service.demo.digits import digits, write_digits
from service.demo.local_service import LocalService, local_service
from service.demo.outcome import TARGET_MACS_RATIO, Outcome, assess, table
from service.following import follow

OUTPUT = Path("demo-output")
# Widths that are no multiple of 8 fall out of ONNX Runtime's blocked convolutions: fewer MACs, but
# more milliseconds.
# The default comparison finds channels enough in so small a network; this one also shows that whole
# operators go, which is what the demo promises.
SETTINGS: Mapping[str, object] = {
    "target_macs": TARGET_MACS_RATIO,
    "multiple": 8,
    "seed": 0,
    "comparison": "relative",
}


class JobDidNotSucceedError(SecateurError):
    """The demo's job ended otherwise than it should."""


def compress(service: LocalService, folder: Path, console: Console) -> Mapping[str, Any]:
    """One job over HTTP: ``original.onnx`` and ``digits.npz`` in, two files more in ``folder``.

    Returns:
        The job's report, whose digest of the model is that of ``compressed.onnx``.

    Raises:
        JobDidNotSucceedError: The job failed, or its report is about another file.
        SecateurError: The service refused or could not be reached.
    """
    dataset = (folder / "digits.npz").resolve().as_uri()
    with Client(service.url, service.key) as client:
        job = client.jobs.create(folder / "original.onnx", dataset=dataset, settings=SETTINGS)
        console.print(f"uploaded as {job.id}", highlight=False)
        follow(client.jobs.stream_events(job.id), console)
        job = client.jobs.wait(job.id, timeout=60)
        if job.status != "succeeded":
            reason = job.error.detail if job.error else "no reason given"
            message = f"{job.id} ended as {job.status}: {reason}"
            raise JobDidNotSucceedError(message)
        sha256 = client.jobs.download(job.id, folder / "compressed.onnx")
        client.jobs.download(job.id, folder / "report.json", name="report")
        client.jobs.download(job.id, folder / "report.html", name="page")
    report: Mapping[str, Any] = json.loads((folder / "report.json").read_text())
    reported = report["model"]["after"]["sha256"]
    if sha256 != reported:
        message = f"the report is about a model {reported[:12]}, downloaded was {sha256[:12]}"
        raise JobDidNotSucceedError(message)
    console.print(
        f"downloaded compressed.onnx, sha256 {sha256} as published", highlight=False, soft_wrap=True
    )
    return report


def prepare(folder: Path) -> None:
    """Put the original model and the data into ``folder``, and nothing else of an earlier run."""
    folder.mkdir(exist_ok=True)
    for name in ("compressed.onnx", "report.json", "report.html", "result.json"):
        (folder / name).unlink(missing_ok=True)
    shutil.copyfile(MODEL_PATH, folder / "original.onnx")
    write_digits(folder / "digits.npz")


def demonstrate(folder: Path, console: Console) -> Outcome:
    """Do the whole demo in ``folder`` and leave its result there as ``result.json``."""
    prepare(folder)
    with local_service(folder) as service:
        console.print(f"service at {service.url}", highlight=False)
        report = compress(service, folder, console)
    outcome = assess(folder / "original.onnx", folder / "compressed.onnx", report, digits())
    (folder / "result.json").write_text(json.dumps(outcome.to_dict(), indent=2) + "\n")
    return outcome


def main() -> int:
    """Run the demo; 0 if everything it promises was kept, else 1 with a line per miss."""
    console, errors = Console(), Console(stderr=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the service is stopped too
    began = time.monotonic()
    try:
        outcome = demonstrate(OUTPUT, errors)
    except SecateurError as error:
        errors.print(f"demo: {error}", style="red", markup=False, highlight=False)
        return 1
    except KeyboardInterrupt:
        errors.print("demo: interrupted, the service is stopped", highlight=False)
        return 130
    console.print(table(outcome))
    console.print(f"{time.monotonic() - began:.0f} s; files in {OUTPUT}/", highlight=False)
    missed = outcome.missed_targets()
    for message in missed:
        errors.print(f"demo: target missed: {message}", style="red", highlight=False)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
