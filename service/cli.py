"""The command ``secateur``: registers the commands and turns errors into one line and a code."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from graph_analysis.errors import SecateurError
from service.commands import (
    analyze,
    bench,
    client_commands,
    compress,
    cut,
    export,
    serve,
    solve,
    trainable,
)
from service.many_processes import is_helper

app = typer.Typer(
    name="secateur",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Smaller, faster ONNX models, proved equal to the network they were cut from.",
)
for _command in (
    analyze,
    solve,
    cut,
    compress,
    export,
    trainable,
    bench,
    serve,
    client_commands,
):
    _command.register(app)


def _show_version(value: bool) -> None:  # noqa: FBT001  typer calls it so
    if value:
        typer.echo(version("secateur"))
        raise typer.Exit


@app.callback()
def _root(
    *,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="And exit.")
    ] = False,
) -> None:
    del show_version  # handled by the callback


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code (0, 1, 2, 3, 4, or 130 after Ctrl-C)."""
    try:
        app(args=arguments)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except SecateurError as error:
        if not is_helper():
            sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        where = f" {error.filename!r}" if error.filename else ""
        sys.stderr.write(f"error: cannot use{where}: {error.strerror or error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
