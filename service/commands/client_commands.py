"""``secateur submit | jobs | show | watch | cancel | download``: a client of the service.

Standard output carries results (or, with ``--json``, one JSON object); progress goes to standard
error. A job that failed ends the command with the exit code that ``compress`` would have had.
"""

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from graph_analysis.errors import InputError
from service.client import DEFAULT_URL, Client
from service.commands.job_texts import describe_job, exit_code_of, job_rows
from service.export_names import SUFFIXES
from service.following import follow
from service.recipe import FLAGS
from service.schemas import Job

Url = Annotated[str, typer.Option("--url", envvar="SECATEUR_URL", help="Address of the service.")]
Key = Annotated[
    str | None,
    typer.Option(
        "--key", envvar="SECATEUR_KEY", help="API key (sct_...).", show_envvar=True, metavar="KEY"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job (job_...).")]
_LISTS = ("kinds", "protect", "exports")  # may be given several times
_SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": True}


class FileName(StrEnum):
    """The files of a job that has succeeded."""

    MODEL = "model"
    REPORT = "report"
    PAGE = "page"
    SOLUTION = "solution"
    SPACE = "space"
    FLOAT16 = "float16"
    INT8 = "int8"
    INT8_WEIGHTS = "int8-weights"
    ORT = "ort"
    BUNDLE = "bundle"


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command(name="submit", context_settings=_SETTINGS)(submit)
    app.command(name="jobs")(jobs)
    app.command(name="show")(show)
    app.command(name="watch")(watch)
    app.command(name="cancel")(cancel)
    app.command(name="download")(download)


def submit(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(help="The ONNX file.")],
    data: Annotated[str, typer.Option("--data", help="Address of the data set.")],
    *,
    metadata: Annotated[
        list[str] | None, typer.Option("--metadata", metavar="NAME=TEXT", help="Kept with the job.")
    ] = None,
    wait: Annotated[bool, typer.Option("--watch", help="Follow the job to its end.")] = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Upload MODEL and start a job.

    All settings of `secateur compress` may follow: --target-macs 0.5 --epochs 10 ...; the service
    checks them.
    """
    settings = parse_settings(context.args)
    with Client(url, key) as client:
        job = client.jobs.create(
            model, dataset=data, settings=settings, metadata=_pairs(metadata or ())
        )
        if wait:
            job = _follow(client, job.id)
    _show(job, as_json=as_json)
    raise typer.Exit(exit_code_of(job) if wait else 0)


def jobs(
    *,
    status: Annotated[str | None, typer.Option(help="Only jobs with this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 20,
    after: Annotated[str | None, typer.Option(help="Id of the last job already seen.")] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with Client(url, key) as client:
        page = client.jobs.list(status=status, after=after, limit=limit)
    if as_json:
        typer.echo(page.model_dump_json())
        return
    columns = ("status", "model", "target", "progress", "created")
    whole = Column("job", no_wrap=True, min_width=30)  # an id that is cut off is of no use
    table = Table(whole, *columns, box=None)
    for row in job_rows(page.data):
        table.add_row(*row)
    Console().print(table)
    if page.has_more:
        typer.echo(f"more: secateur jobs --after {page.last_id}")


def show(
    job_id: JobId, *, url: Url = DEFAULT_URL, key: Key = None, as_json: AsJson = False
) -> None:
    """Show one job."""
    with Client(url, key) as client:
        _show(client.jobs.get(job_id), as_json=as_json)


def watch(
    job_id: JobId, *, url: Url = DEFAULT_URL, key: Key = None, as_json: AsJson = False
) -> None:
    """Follow a job to its end; Ctrl-C stops watching, not the job."""
    with Client(url, key) as client:
        job = _follow(client, job_id)
    _show(job, as_json=as_json)
    raise typer.Exit(exit_code_of(job))


def cancel(
    job_id: JobId, *, url: Url = DEFAULT_URL, key: Key = None, as_json: AsJson = False
) -> None:
    """Ask for a job to be stopped."""
    with Client(url, key) as client:
        _show(client.jobs.cancel(job_id), as_json=as_json)


def download(
    job_id: JobId,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where the file goes.")
    ] = None,
    *,
    what: Annotated[FileName, typer.Option("--what", help="Which file.")] = FileName.MODEL,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Download a file of a job that has succeeded, and check its SHA-256."""
    if what in (FileName.MODEL, FileName.PAGE):
        suffix = f"-{what.value}.{'onnx' if what is FileName.MODEL else 'html'}"
    else:
        suffix = SUFFIXES.get(what.value, f"-{what.value}.json")
    target = output or Path(f"{job_id}{suffix}")
    path = f"exports/{what.value}" if what.value in SUFFIXES else what.value
    with Client(url, key) as client:
        sha256 = client.jobs.download(job_id, target, name=path)
    size = target.stat().st_size
    if as_json:
        typer.echo(json.dumps({"path": str(target), "sha256": sha256, "bytes": size}))
    else:
        typer.echo(f"{target}: {size:,} bytes, sha256 {sha256}")


def parse_settings(arguments: Sequence[str]) -> dict[str, str]:
    """Options that are settings of a job, as form fields.

    Raises:
        InputError: Something is not an option with a value, or one is given twice.

    Example:
        >>> parse_settings(["--target-macs", "0.5", "--protect=a", "--protect", "b"])
        {'target_macs': '0.5', 'protect': 'a,b'}
        >>> parse_settings(["--early-stop", "--epochs", "3"])
        {'early_stop': 'true', 'epochs': '3'}
    """
    settings: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        option = rest.pop(0)
        name, separator, value = option.partition("=")
        key = name[2:].replace("-", "_")
        is_flag = key in FLAGS and not separator and (not rest or rest[0].startswith("--"))
        if not name.startswith("--") or not (separator or rest or is_flag):
            message = f"'{option}' is not of the form --name value; see secateur compress --help"
            raise InputError(message, param=option)
        text = value if separator else "true" if is_flag else rest.pop(0)
        if key in settings and key not in _LISTS:
            message = f"'{name}' is given twice"
            raise InputError(message, param=name)
        settings[key] = f"{settings[key]},{text}" if key in settings else text
    return settings


def _pairs(texts: Sequence[str]) -> Mapping[str, str]:
    for text in texts:
        if "=" not in text:
            message = f"--metadata '{text}' is not of the form NAME=TEXT"
            raise InputError(message, param="metadata")
    return dict(text.split("=", 1) for text in texts)


def _follow(client: Client, job_id: str) -> Job:
    follow(client.jobs.stream_events(job_id), Console(stderr=True))
    return client.jobs.get(job_id)


def _show(job: Job, *, as_json: bool) -> None:
    typer.echo(job.model_dump_json() if as_json else describe_job(job))
