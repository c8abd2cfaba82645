"""Every further format of models that were cut to half their MACs: size, latency, difference.

Each file is solved at half the MACs (widths in multiples of 8, magnitude), cut and proved, then
exported. Latencies are medians of runs that take turns, one thread, one sample; the best of three
sets of sessions, because where the memory of a session falls can slow it down for good. Files of a
corpus come without data: INT8 is calibrated on 64 random samples and compared on others, so its
differences say that it works, not how accurate it is. The demo's network, as it is shipped, is
calibrated on and judged by its real images::

    python -m benchmarks.exports FOLDER --out benchmarks/results/exports.json
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from exporters.formats import check_format, to_float16, to_int8, to_int8_weights, to_ort
from exporters.samples import bound_shapes, has_free_batch, input_specs, random_feeds
from exporters.sessions import Feeds, open_session
from graph_analysis.errors import SecateurError
from graph_analysis.loading import load_model
from graph_analysis.pipeline import USUAL_MULTIPLE, AnalysisOptions, analyze
from graph_analysis.solving import solve
from service.commands.cut import cut_and_prove
from service.demo import MODEL_PATH
from service.demo.digits import digits

FILES = (
    "tv_resnet18__dynamo20",
    "tv_mobilenet_v2__legacy17dyn",
    "tv_shufflenet_v2_x1_0__dynamo20",
    "tv_densenet121__legacy17dyn",
    "tv_efficientnet_b0__legacy17dyn",
    "timm_convnextv2_atto__dynamo20",
    "hf_vit__dynamo20",
    "hf_bert__legacy17dyn",
    "c_unet__dynamo20",
    "c_yolo__legacy17dyn",
    "c_gru__dynamo20",
    "keras_mobilenetv2__op13",
    "keras_lstm__op17",
    "paddle_mobilenetv3__op14",
    "paddle_resnet18__op14",
)
TARGET = 0.5
BATCH, CALIBRATED, COMPARED = 8, 64, 64
SETS, SECONDS, MOST_ROUNDS = 3, 4.0, 60


def cut_model(path: Path) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """The file cut to half its MACs, and what the proof found; as it is where that is refused."""
    options = AnalysisOptions(multiple=USUAL_MULTIPLE)
    try:
        solution = solve(analyze(load_model(path), options=options), target_ratio=TARGET)
        found = cut_and_prove(path, solution.to_json(), options)
    except SecateurError as error:
        return onnx.load(path), {"cut": False, "why": str(error)[:300]}
    difference = found.proof.max_difference
    return found.cut, {"cut": True, "proof_difference": difference}


def batches(model: onnx.ModelProto, seed: int, count: int) -> Iterator[Feeds]:
    """Random samples in batches."""
    specs, rng = input_specs(model), np.random.default_rng(seed)
    step = BATCH if has_free_batch(specs) else 1
    for _ in range(count // step):
        yield random_feeds(specs, bound_shapes(specs, batch=step), rng)


def together(parts: Iterator[Feeds]) -> dict[str, Any]:
    """Batches as one."""
    whole = list(parts)
    return {name: np.concatenate([part[name] for part in whole]) for name in whole[0]}


def formats(
    model: onnx.ModelProto, calibration: Iterator[Feeds]
) -> dict[str, bytes | dict[str, Any]]:
    """Each format's file, or why there is none."""
    ways = {
        "float16": lambda: to_float16(model).SerializeToString(),
        "int8": lambda: to_int8(model, calibration).SerializeToString(),
        "int8-weights": lambda: to_int8_weights(model).SerializeToString(),
        "ort": lambda: to_ort(model),
    }
    found: dict[str, bytes | dict[str, Any]] = {}
    for name, way in ways.items():
        began = time.perf_counter()
        try:
            found[name] = way()
        except SecateurError as error:
            found[name] = {"refused": str(error)[:300]}
        print(f"    {name} {time.perf_counter() - began:.1f} s", flush=True)
    return found


def latencies(files: Mapping[str, bytes], feeds: Feeds) -> dict[str, float]:
    """Median milliseconds of each: the best of several sets of sessions."""
    found = [_medians(files, feeds) for _ in range(SETS)]
    return {name: min(entry[name] for entry in found) for name in files}


def _medians(files: Mapping[str, bytes], feeds: Feeds) -> dict[str, float]:
    """Median milliseconds of each, runs in turns; who goes first moves on."""
    sessions = {name: open_session(data) for name, data in files.items()}
    for session in sessions.values():
        session.run(None, dict(feeds))
        session.run(None, dict(feeds))
    times: dict[str, list[float]] = {name: [] for name in files}
    order, began = list(files), time.perf_counter()
    while time.perf_counter() - began < SECONDS and len(times[order[-1]]) < MOST_ROUNDS:
        for name in order:
            start = time.perf_counter()
            sessions[name].run(None, dict(feeds))
            times[name].append((time.perf_counter() - start) * 1e3)
        order = order[1:] + order[:1]
    return {name: statistics.median(values) for name, values in times.items()}


def row(
    name: str, model: onnx.ModelProto, calibration: Iterator[Feeds], real: Mapping[str, Any]
) -> dict[str, Any]:
    """All figures of one model."""
    float_file = model.SerializeToString()
    made = formats(model, calibration)
    files = {key: data for key, data in made.items() if isinstance(data, bytes)}
    one = {key: values[:1] for key, values in real.items()}
    if not has_free_batch(input_specs(model)):
        fixed = next(s.shape[0] for s in input_specs(model) if s.shape)
        one = {key: values[:fixed] for key, values in real.items()}
    times = latencies({"float32": float_file, **files}, one)
    entry: dict[str, Any] = {
        "model": name,
        "float32": {"bytes": len(float_file), "ms": round(times["float32"], 4)},
    }
    for key, data in made.items():
        if not isinstance(data, bytes):
            entry[key] = data
            continue
        try:
            figures = check_format(model, data, inputs=real)[-1]
        except SecateurError as error:
            entry[key] = {"refused": str(error)[:300]}
            continue
        entry[key] = {
            "bytes": len(data),
            "bytes_share": round(len(data) / len(float_file), 4),
            "ms": round(times[key], 4),
            "time_share": round(times[key] / times["float32"], 4),
            "max_difference": figures.max_difference,
            "relative": figures.relative,
            "rms": figures.rms,
            "top1": figures.top1,
        }
    return entry


def demo() -> dict[str, Any]:
    """The demo's network on its real images, with the accuracy of every format."""
    model, arrays = onnx.load(MODEL_PATH), digits()
    train = ({"image": arrays["x_train"][n : n + BATCH]} for n in range(0, 512, BATCH))
    entry = row("demo digits_net (real images)", model, train, {"image": arrays["x_test"]})
    calibration = ({"image": arrays["x_train"][n : n + BATCH]} for n in range(0, 512, BATCH))
    files = {"float32": model.SerializeToString(), **formats(model, calibration)}
    for key, data in files.items():
        if isinstance(data, bytes):
            (scores,) = open_session(data).run(None, {"image": arrays["x_test"]})
            entry[key]["accuracy"] = float(np.mean(scores.argmax(axis=1) == arrays["y_test"]))
    return entry


def main() -> None:
    """Measure, print a table, write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", default=FILES)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = [demo()]
    for name in options.only:
        print(name, flush=True)
        model, said = cut_model(options.folder / f"{name}.onnx")
        calibration, real = batches(model, 0, CALIBRATED), together(batches(model, 1, COMPARED))
        rows.append(row(name, model, calibration, real) | said)
    for entry in rows:
        print(entry["model"])
        for key in ("float16", "int8", "int8-weights", "ort"):
            print(f"  {key:<13}", entry[key])
    if options.out is not None:
        where = {
            "machine": platform.processor() or platform.machine(),
            "onnxruntime": onnxruntime.__version__,
            "threads": 1,
            "target_macs": TARGET,
        }
        options.out.write_text(json.dumps({**where, "models": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
