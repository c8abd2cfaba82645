"""How long the analysis takes: by size of the graph, by memory, and beside Torch-Pruning.

    python -m benchmarks.analysis
    python -m benchmarks.analysis --peer-python PEER/bin/python --out FILE.json

``PEER`` is an environment of its own with torch, torchvision, torch-pruning, onnx and onnxscript.
There the networks are built with random weights, exported to ONNX, and Torch-Pruning's dependency
graph is built on the module; here the exported file is analysed. Both are timed in the same run, in
seconds of processor time on one thread, the best of several repetitions. What they do differs:
Torch-Pruning runs the module once and follows autograd to a graph of layers, from which it then
lists channel groups with their indices; we find channel groups, heads and removal structures with
their indices, price each, and give a reason for all else. Loading the file
is shown apart.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx

from benchmarks.analysis_graphs import FAMILIES, heavy
from graph_analysis import analyze, load_model

NETWORKS = ("resnet50", "densenet121", "mobilenet_v2", "vit_b_16", "swin_t")
SIZES = (1_000, 10_000)
PATIENCE = 150  # seconds for one network in the peer
PEER = Path(__file__).with_name("torch_pruning_graph.py")
_MEMORY = """
import sys
from pathlib import Path
from graph_analysis import analyze, load_model
def peak():  # of this process alone: getrusage would begin with the parent's
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024
before = peak()
analyze(load_model(Path(sys.argv[1])))
print(peak() - before)
"""


def best(work: Callable[[], object], repeats: int) -> float:
    """Shortest of some runs, in seconds of processor time."""
    found = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def by_size(repeats: int) -> Iterator[dict[str, Any]]:
    """Seconds for synthetic graphs of the sizes, and how they grow."""
    for name, build in FAMILIES.items():
        seconds = []
        for size in SIZES:
            loaded = load_model(build(size).SerializeToString())
            seconds.append(best(lambda loaded=loaded: analyze(loaded), repeats))
            nodes = len(loaded.model.graph.node)
            print(f"{name:>12} {nodes:>7,} nodes  {seconds[-1]:7.3f} s", flush=True)
            yield {"graph": name, "nodes": nodes, "seconds": round(seconds[-1], 4)}
        print(f"{name:>12} ten times the nodes take {seconds[1] / seconds[0]:.1f} times as long")


def memory(folder: Path, megabytes: int) -> dict[str, Any]:
    """Growth of the peak resident set of a process that loads and analyses a heavy file."""
    path = folder / "heavy.onnx"
    onnx.save(heavy(megabytes), path)
    command = [sys.executable, "-c", _MEMORY, str(path)]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    size = path.stat().st_size
    print(f"memory: {grown / 2**20:.0f} MiB for a file of {size / 2**20:.0f} MiB,", end=" ")
    print(f"{grown / size:.2f} times the file", flush=True)
    return {"file_bytes": size, "peak_growth_bytes": grown}


def beside_peer(python: Path, folder: Path, repeats: int) -> Iterator[dict[str, Any]]:
    """The same networks in both, one after the other."""
    for name in NETWORKS:
        command = [str(python), str(PEER), name, str(folder), str(repeats)]
        theirs = _theirs(command)
        if not (folder / f"{name}.onnx").exists():
            print(f"{name}: the peer did not export it", file=sys.stderr)
            continue
        loading = best(lambda path=folder / f"{name}.onnx": load_model(path), 1)
        loaded = load_model(folder / f"{name}.onnx")
        ours = best(lambda loaded=loaded: analyze(loaded), repeats)
        row = {
            "network": name,
            "nodes": len(loaded.model.graph.node),
            "load_seconds": round(loading, 4),
            "analysis_seconds": round(ours, 4),
            "groups": len(analyze(loaded).space.groups),
            "torch_pruning_graph_seconds": theirs["graph_seconds"],
            "torch_pruning_seconds": theirs["seconds"],
            "torch_pruning_groups": theirs["groups"],
            "torch_pruning_note": theirs["note"],
        }
        print(
            f"{name:>14} {row['nodes']:>6,} nodes  loading {loading:.3f} s"
            f"  analysis {ours:.3f} s ({row['groups']} groups)"
            f"  Torch-Pruning: graph {_told(theirs['graph_seconds'], ours)},"
            f" with its {theirs['groups']} groups {_told(theirs['seconds'], ours)}"
            f" {theirs['note']}",
            flush=True,
        )
        yield {**row, "torch_pruning_version": theirs["version"], "torch_version": theirs["torch"]}


def _theirs(command: list[str]) -> dict[str, Any]:
    """What the peer's process says; what it could not do in time is no figure."""
    nothing = {"graph_seconds": None, "seconds": None, "groups": 0, "version": "", "torch": ""}
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        return {**nothing, "note": f"not done after {PATIENCE} s"}
    if done.returncode:
        return {**nothing, "note": f"process ended with {done.returncode} {done.stderr[-200:]}"}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _told(seconds: float | None, ours: float) -> str:
    return "failed" if seconds is None else f"{seconds:.3f} s ({seconds / ours:.1f} times ours)"


def machine() -> dict[str, Any]:
    """Processor, cores and Python of the machine."""
    model = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else model
    return {"processor": model, "cores": os.cpu_count(), "python": platform.python_version()}


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--peer-python", type=Path, help="Python with torch-pruning; without: alone"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=256, help="of the file that is weighed")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result = {
            "machine": machine(),
            "repeats": options.repeats,
            "by_size": list(by_size(options.repeats)),
            "memory": memory(folder, options.megabytes),
            "beside_torch_pruning": list(beside_peer(options.peer_python, folder, options.repeats))
            if options.peer_python
            else [],
        }
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
