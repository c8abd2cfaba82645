"""The models that are imported by the sweep: name and builder of each."""

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

import onnx
import onnx.backend.test

from graph_analysis.testing import HARD_CASES
from tests.sweep.disguises import disguised
from tests.sweep.exports import EXPORTS, exported
from tests.sweep.float_kinds import FLOAT_KINDS, in_float_kind

Source: TypeAlias = Callable[[], onnx.ModelProto]
CORPUS = Path(__file__).parents[3] / "shared" / "corpus"
_DATA = Path(onnx.backend.test.__file__).parent / "data"
_IN_KINDS = ("residual_add", "flatten_fc", "layernorm_mlp", "fused_qkv", "groupnorm", "lstm_1layer",
             "gru", "swin_window_partition", "interpolate_static_sizes")  # fmt: skip


def sources(folders: Sequence[Path] = ()) -> Iterator[tuple[str, Source]]:
    """Name and builder of every model; those of ``folders`` last."""
    for name, build in HARD_CASES.items():
        yield f"hard/{name}", build
    yield from package_files()
    for name in EXPORTS:
        yield f"torch/{name}", partial(exported, name)
    for name in _IN_KINDS:
        for kind in FLOAT_KINDS:
            yield f"{kind}/{name}", partial(_in_kind, HARD_CASES[name], kind)
    for name in HARD_CASES:
        yield f"disguised/{name}", partial(_disguised, HARD_CASES[name])
    yield from corpus_files()
    for folder in folders:
        for path in sorted(folder.glob("*.onnx"), key=lambda path: path.stat().st_size):
            yield f"{folder.name}/{path.stem}", partial(onnx.load, path)


def package_files() -> Iterator[tuple[str, Source]]:
    """The files of the onnx package; light models have their weights made up."""
    for path in sorted(_DATA.rglob("*.onnx")):
        name = path.parent.name if path.name == "model.onnx" else path.stem
        yield f"onnx/{path.relative_to(_DATA).parts[0]}/{name}", partial(onnx.load, path)


def corpus_files() -> Iterator[tuple[str, Source]]:
    """The corpus beside the checkout, small files first."""
    packed = sorted(CORPUS.glob("*.onnx.xz"), key=lambda path: path.stat().st_size)
    if not packed:
        return
    spec = importlib.util.spec_from_file_location("corpus_load", CORPUS / "load.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for path in packed:
        yield f"corpus/{path.name.removesuffix('.onnx.xz')}", partial(module.load, path)


def _in_kind(build: Source, kind: str) -> onnx.ModelProto:
    return in_float_kind(build(), FLOAT_KINDS[kind])


def _disguised(build: Source) -> onnx.ModelProto:
    return disguised(build())
