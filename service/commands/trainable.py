"""``secateur trainable``: whether a model imports, equals ONNX Runtime, and trains.

What was found goes to standard output whatever it is; the exit code is 2 with one line on standard
error if the model cannot be trained.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from service.commands.options import InputShapes, Json, input_shapes_of

if TYPE_CHECKING:
    from service.trainability import Trainability

Model = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The ONNX file.")]
Batch = Annotated[int, typer.Option("--batch-size", min=1, help="Samples per training step.")]
Seed = Annotated[int, typer.Option("--seed", help="Of the random inputs.")]
_MISSED_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(name="trainable")(trainable)


def trainable(
    model: Model,
    *,
    input_shape: InputShapes = None,
    batch_size: Batch = 4,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Import MODEL into torch, compare it with ONNX Runtime on random input, train some steps."""
    from service.trainability import examine

    shapes = input_shapes_of(input_shape or ())
    found = examine(model, input_shapes=shapes, batch_size=batch_size, seed=seed)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=1))
    else:
        show(found, Console())
    if found.error is not None:
        raise found.error


def show(found: "Trainability", console: Console) -> None:
    """Print it for people."""
    console.print(_operators(found))
    if found.unsupported:
        console.print(_unsupported(found))
        return
    for name, difference in found.differences.items():
        console.print(f"difference to ONNX Runtime  {difference:9.2e}  {name}", markup=False)
    reached = found.weights - len(found.missed)
    console.print(
        f"weights                     {found.weights} with {found.parameters:,} parameters; "
        f"a finite gradient reaches {reached}"
    )
    for name, reason in list(found.missed.items())[:_MISSED_SHOWN]:
        console.print(f"  without                   {name}: {reason}", markup=False)
    if len(found.missed) > _MISSED_SHOWN:
        console.print(f"  without                   {len(found.missed) - _MISSED_SHOWN} more")
    if found.zero:
        console.print(f"  0 on these inputs         {', '.join(found.zero)}", markup=False)
    if found.constants:
        shown = ", ".join(found.constants[:_MISSED_SHOWN])
        more = len(found.constants) - _MISSED_SHOWN
        tail = f" and {more} more" if more > 0 else ""
        console.print(f"left as they are            {shown}{tail}", markup=False)
    if found.step_ms is not None:
        console.print(
            f"training step               {found.step_ms:.1f} ms, batch of {found.batch_size}"
        )
    for note in found.notes:
        console.print(f"note                        {note}", markup=False)


def _operators(found: "Trainability") -> Table:
    table = Table(title=f"{sum(found.operators.values()):,} nodes")
    table.add_column("operator")
    table.add_column("nodes", justify="right")
    table.add_column("of them import", justify="right")
    supported = found.supported
    for name, count in sorted(found.operators.items(), key=lambda item: (-item[1], item[0])):
        table.add_row(name, f"{count:,}", f"{supported.get(name, 0):,}")
    return table


def _unsupported(found: "Trainability") -> Table:
    table = Table(title="not supported")
    for title in ("operator", "domain", "opset", "reason", "nodes"):
        table.add_column(title, overflow="fold")
    for item in found.unsupported:
        domain, nodes = item.domain or "ai.onnx", ", ".join(item.nodes)
        table.add_row(item.op_type, domain, str(item.opset), item.reason, nodes)
    return table
