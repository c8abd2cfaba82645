"""The last stage of a job: its files go to the artifact store, under the digest of their content.

Repeating it is harmless: what is already there has the same key and the same bytes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.export_names import BUNDLE, FORMATS, beside
from service.faults import fault
from service.jobs import StoredArtifact
from service.storage import ArtifactStore, content_key, sha256_of


@dataclass(frozen=True, kw_only=True)
class Product:
    """A file that a job hands out."""

    name: str
    file: str
    media_type: str
    is_required: bool = True


PRODUCTS = (
    Product(name="model", file="compressed.onnx", media_type="application/octet-stream"),
    Product(name="report", file="report.json", media_type="application/json"),
    Product(name="page", file="report.html", media_type="text/html", is_required=False),
    Product(name="solution", file="solution.json", media_type="application/json"),
    Product(name="space", file="space.json", media_type="application/json"),
    Product(name="proof", file="proof.json", media_type="application/json", is_required=False),
    *(
        Product(
            name=form,
            file=path.name,
            media_type="application/zip" if form == BUNDLE else "application/octet-stream",
            is_required=False,
        )
        for form, path in beside(Path("compressed.onnx"), FORMATS).items()
    ),
)
_FIGURES = ("model", "ratios", "removed")  # parts of the report that fit into a job's answer


def publish(run: Path, owner: str, store: ArtifactStore) -> tuple[StoredArtifact, ...]:
    """Put the files of a finished run folder into the store.

    Raises:
        FileNotFoundError: A stage has not left a file that it had to leave.
        StorageError: The store is not available.
        OSError: The disk is full.
    """
    stored = []
    for product in PRODUCTS:
        path = run / product.file
        if not product.is_required and not path.exists():
            continue
        file = store.put_file(path, content_key(owner, sha256_of(path)))
        stored.append(
            StoredArtifact(
                name=product.name,
                key=file.key,
                sha256=file.sha256,
                bytes=file.size,
                media_type=product.media_type,
            )
        )
        fault("put.mid")
    fault("put.done")
    return tuple(stored)


def figures(run: Path) -> Mapping[str, Any]:
    """The job's ``result``: what the report says about before and after, in short."""
    report = json.loads((run / "report.json").read_text())
    return {name: report[name] for name in _FIGURES if name in report}
