"""Graphs of real exporters: outputs, batch sizes, gradients, writing back. Skips without them."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from graph_analysis import analyze, load_model
from graph_analysis.masking import MASK_DOC
from optimizer.bridge.module import ImportedModule, import_model
from tests.unit.optimizer.bridge.onnx_models import run_imported, run_ort

FOLDER = Path(__file__).parents[5] / "shared" / "corpus"
NAMES = sorted(path.name for path in FOLDER.glob("*.onnx.xz"))
QUICK = {
    "c_conv3d__dynamo20.onnx.xz",
    "c_unet__legacy17dyn.onnx.xz",
    "hf_bert__dynamo20.onnx.xz",
    "hf_bert__legacy17dyn.onnx.xz",
    "hf_gpt2__dynamo20.onnx.xz",
    "hf_vit__dynamo20.onnx.xz",
    "keras_cnn__op17.onnx.xz",
    "tv_mobilenet_v2__dynamo20.onnx.xz",
}

if not NAMES:
    pytest.skip("the corpus is not beside this checkout", allow_module_level=True)


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    sys.modules.pop("load", None)


def _feeds(model: onnx.ModelProto, batch: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(batch)
    feeds = {}
    constants = {proto.name for proto in model.graph.initializer}
    for info in model.graph.input:
        if info.name in constants:
            continue
        sizes = [dim.dim_value or 16 for dim in info.type.tensor_type.shape.dim]
        kind = onnx.helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
        if kind == np.float32:
            feeds[info.name] = rng.standard_normal((batch, *sizes[1:])).astype(np.float32)
        else:
            feeds[info.name] = rng.integers(0, 2, (batch, *sizes[1:])).astype(kind)
    return feeds


def _relative_difference(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    return max(
        float(np.abs(ours - theirs).max() / max(1.0, np.abs(theirs).max()))
        for ours, theirs in zip(found, expected, strict=True)
    )


def _rows(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Run sample by sample, for files whose batch is fixed at 1."""
    count = len(next(iter(feeds.values())))
    runs = [
        run_ort(model, {name: array[row : row + 1] for name, array in feeds.items()})
        for row in range(count)
    ]
    return [np.concatenate(parts) for parts in zip(*runs, strict=True)]


def _check_gradients(imported: ImportedModule, feeds: dict[str, np.ndarray]) -> None:
    inputs = [torch.from_numpy(feeds[name]) for name in imported.input_names]
    result = imported.module.train()(*inputs)
    results = result if isinstance(result, tuple) else (result,)
    torch.stack([item.float().square().mean() for item in results]).sum().backward()
    for name, tensor in imported.tensors.items():
        if isinstance(tensor, torch.nn.Parameter):
            assert tensor.grad is not None, name
            assert torch.isfinite(tensor.grad).all(), name


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in NAMES],
)
def test_a_graph_of_the_corpus(name: str) -> None:
    from load import load

    model = load(FOLDER / name)
    imported = import_model(model)
    assert imported.batch_is_free
    feeds = _feeds(model, 1)
    assert _relative_difference(run_imported(imported, feeds), run_ort(model, feeds)) < 1e-5
    several = _feeds(model, 3)
    assert _relative_difference(run_imported(imported, several), _rows(model, several)) < 1e-5
    weights = imported.weights()
    for proto in model.graph.initializer:
        if proto.name in weights:
            original = onnx.numpy_helper.to_array(proto)
            assert original.tobytes() == weights[proto.name].tobytes()
            assert original.dtype == weights[proto.name].dtype
    _check_gradients(imported, several)


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize("name", sorted(QUICK))
def test_a_graph_of_the_corpus_compiles_whole(name: str) -> None:
    from load import load

    model = load(FOLDER / name)
    imported = import_model(model)
    inputs = [torch.from_numpy(array) for array in _feeds(model, 2).values()]
    expected = _tensors(imported.module.eval()(*inputs))
    torch.compiler.reset()
    compiled = torch.compile(imported.module, backend="aot_eager", fullgraph=True)
    found = _tensors(compiled(*inputs))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    sum(item.float().square().mean() for item in found).backward()
    assert all(parameter.grad is not None for parameter in imported.module.parameters())


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", sorted(QUICK))
def test_a_graph_of_the_corpus_in_mixed_precision(name: str, kind: torch.dtype) -> None:
    from load import load

    model = load(FOLDER / name)
    imported = import_model(model)
    inputs = [torch.from_numpy(array) for array in _feeds(model, 2).values()]
    expected = _tensors(imported.module.eval()(*inputs))
    with torch.autocast("cpu", dtype=kind):
        found = _tensors(imported.module(*inputs))
    rounding = 8 * torch.finfo(kind).eps
    for ours, theirs in zip(found, expected, strict=True):
        scale = max(1.0, float(theirs.detach().abs().max()))
        torch.testing.assert_close(ours.float(), theirs, rtol=0, atol=rounding * scale)
    sum(item.float().square().mean() for item in found).backward()
    for path, parameter in imported.module.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.isfinite().all(), path


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize("name", sorted(QUICK))
def test_a_step_reads_nothing_back_from_the_device(name: str) -> None:
    from load import load

    model = load(FOLDER / name)
    imported = import_model(model)
    inputs = [torch.from_numpy(array).to("meta") for array in _feeds(model, 2).values()]
    results = _tensors(
        imported.module.train().to("meta")(*inputs)
    )  # where there is nothing to read
    sum(item.float().square().mean() for item in results).backward()


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", sorted(QUICK))
def test_the_masked_form_with_units_gone(name: str, seed: int) -> None:
    from load import load

    model = analyze(load_model(load(FOLDER / name).SerializeToString())).maskable()
    rng, masks = np.random.default_rng(seed), 0
    for proto in model.graph.initializer:
        if proto.doc_string == MASK_DOC:
            ones = onnx.numpy_helper.to_array(proto)
            gone = (rng.random(ones.shape) < 0.3) & (np.arange(ones.size).reshape(ones.shape) > 0)
            masked = onnx.numpy_helper.from_array(np.where(gone, 0, ones).astype(ones.dtype))
            proto.raw_data, masks = masked.raw_data, masks + 1
    assert masks or "LayerNormalization" not in {node.op_type for node in model.graph.node}
    feeds = _feeds(model, 1)
    expected = run_ort(model, feeds)
    for fuse in (True, False):
        found = run_imported(import_model(model, fuse=fuse), feeds)
        assert _relative_difference(found, expected) < 1e-5


def _tensors(result: torch.Tensor | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)
