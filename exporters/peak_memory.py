"""How much memory a model file needs to load and run, measured in a process of its own.

What the process and ONNX Runtime take without a model is not counted. Only Linux tells the peak of
a process; elsewhere, and where no process may be started, nothing is measured.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic

import numpy as np
import onnx
from onnx import TensorProto, helper

from exporters.samples import bound_shapes, input_specs, random_feeds

_SECONDS = 120.0
_PATIENCE = 1.0  # between two signs of life
# a script, because it has to begin with as little as can be: nothing but ONNX Runtime and the feeds
_SCRIPT = """
import sys
import numpy, onnxruntime

def status(name):
    for line in open("/proc/self/status"):
        if line.startswith(name):
            return int(line.split()[1]) * 1024

def use(path, feeds):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for _ in range(2):
        session.run(None, feeds)

feeds = dict(numpy.load(sys.argv[2]))
use(sys.argv[3], {"x": numpy.zeros(1, "float32")})  # brings in the library's own code
open("/proc/self/clear_refs", "w").write("5")  # the peak starts from what is used now
base = status("VmRSS:")
use(sys.argv[1], feeds)
print(max(0, status("VmHWM:") - base))
"""


def peak_memory(
    path: Path,
    *,
    batch: int = 1,
    shapes: Mapping[str, Sequence[int]] | None = None,
    seconds: float = _SECONDS,
    alive: Callable[[], None] | None = None,
) -> int | None:
    """Bytes that loading a model file and running it twice takes at most; one thread.

    Args:
        path: The file; weights in other files beside it.
        batch: Samples per run; a model with a fixed batch axis runs at that.
        shapes: Shapes per input that are known to work.
        seconds: After so long it is given up.
        alive: Called about once a second.

    Returns:
        None where it cannot be measured.
    """
    if not sys.platform.startswith("linux"):
        return None
    specs = input_specs(onnx.load(path, load_external_data=False))
    feeds = random_feeds(
        specs, bound_shapes(specs, batch=batch, known=shapes), np.random.default_rng(0)
    )
    with tempfile.TemporaryDirectory(prefix="secateur-") as folder:
        arrays = Path(folder) / "feeds.npz"
        np.savez(arrays, **dict(feeds))  # type: ignore[arg-type]
        smallest = Path(folder) / "smallest.onnx"
        onnx.save(_smallest_model(), smallest)
        text = _output_of(
            [sys.executable, "-P", "-c", _SCRIPT, *map(str, (path, arrays, smallest))],
            deadline=monotonic() + seconds,
            alive=alive,
        )
    return int(text) if text is not None and text.strip().isdigit() else None


def _smallest_model() -> onnx.ModelProto:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def _output_of(
    command: Sequence[str], *, deadline: float, alive: Callable[[], None] | None
) -> str | None:
    """What a command prints; None if it fails, takes too long or may not be started."""
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip
    except OSError:
        return None
    with process:
        try:
            while monotonic() < deadline:
                try:
                    text, _ = process.communicate(timeout=_PATIENCE)
                except subprocess.TimeoutExpired:
                    if alive is not None:
                        alive()
                    continue
                return text if process.returncode == 0 else None
        finally:
            if process.poll() is None:
                process.kill()
    return None
