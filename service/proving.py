"""The proof of a cut file in a process of its own, with limits on memory and time.

ONNX Runtime runs graphs here that nobody has run before. One that makes it crash, hang or ask for
more memory than there is fails the proof and nothing else: the file is not handed out, and whoever
asked for the proof lives on to say why.
"""

import logging
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from exporters.errors import ProofFailedError
from exporters.figures import Proof
from service.sandbox import Outcome, SandboxLimits, SandboxResult, run_task

Feeds = Mapping[str, npt.NDArray[Any]]
Keep = Mapping[str, Mapping[int, npt.NDArray[np.int64]]]

_log = logging.getLogger(__name__)
_TASK = "service.proof_child"
_ROOT = Path(__file__).resolve().parents[1]
# What the child reads beside the code: kernels are chosen by what the processor is.
_READABLE = (_ROOT / "exporters", Path("/proc/cpuinfo"), Path("/sys/devices/system/cpu"))
_SECONDS = 3600
_LEAST_MEMORY = 8 << 30  # of address space, most of it never touched
_MEMORY_PER_BYTE = 12  # of the three models: each is read, converted, and opened at two levels
_BEAT_SECONDS = 5.0
_NO_ANSWER = {
    Outcome.CRASHED: "proof failed: ONNX Runtime crashed on one of the models",
    Outcome.TIMED_OUT: "proof failed: it took longer than the {seconds:g} s that it may take",
    Outcome.OUT_OF_MEMORY: "proof failed: it needs more than the {memory:.1f} GiB it may use",
}


def prove_apart(
    masked: onnx.ModelProto,
    cut: onnx.ModelProto,
    *,
    original: onnx.ModelProto,
    samples: Sequence[Feeds] = (),
    seed: int = 0,
    shapes: Mapping[str, Sequence[int]] | None = None,
    keep: Keep | None = None,
    limits: SandboxLimits | None = None,
    alive: Callable[[], None] | None = None,
) -> Proof:
    """``exporters.prove`` in a sandboxed child.

    Args:
        masked: As there; so are the next six.
        cut: The surgeon's model.
        original: The model that came in.
        samples: Real inputs.
        seed: Of the random inputs.
        shapes: A shape per input that is known to work.
        keep: Tensor -> axis -> positions that stay.
        limits: Of the child; by default an hour, and memory by the size of the models.
        alive: Called every few seconds while it runs.

    Raises:
        ProofFailedError: A gate fails, or the child ends without an answer.
        OSError: The child could not be started.
    """
    with tempfile.TemporaryDirectory(prefix="secateur-proof-") as name:
        folder = Path(name)
        models = {"masked": masked, "cut": cut, "original": original}
        for role, model in models.items():
            (folder / f"{role}.onnx").write_bytes(model.SerializeToString())
        (folder / "inputs.pb").write_bytes(_packed(samples, keep or {}))
        size = sum(path.stat().st_size for path in folder.iterdir())
        limits = limits or SandboxLimits(
            wall_seconds=_SECONDS,
            cpu_seconds=_SECONDS,
            memory_bytes=_LEAST_MEMORY + _MEMORY_PER_BYTE * size,
        )
        inputs = {value.name for value in original.graph.input}
        known = {name: list(shape) for name, shape in (shapes or {}).items() if name in inputs}
        payload = {
            "folder": str(folder),
            "samples": len(samples),
            "seed": seed,
            "shapes": known,
            "has_keep": keep is not None,
        }
        result = _waited_for(payload, folder, limits, alive or (lambda: None))
    return _proof_of(result, limits)


def _packed(samples: Sequence[Feeds], keep: Keep) -> bytes:
    """Arrays of every type as the tensors of a model without nodes."""
    named = {
        f"sample/{number}/{name}": values
        for number, feeds in enumerate(samples)
        for name, values in feeds.items()
    }
    for name, axes in keep.items():
        named |= {f"keep/{axis}/{name}": np.asarray(axes[axis], np.int64) for axis in axes}
    model = onnx.ModelProto()
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(values), name) for name, values in named.items()
    )
    packed: bytes = model.SerializeToString()
    return packed


def _waited_for(
    payload: Mapping[str, Any], folder: Path, limits: SandboxLimits, alive: Callable[[], None]
) -> SandboxResult:
    """The child's answer; ``alive`` is called while it works.

    The child dies with the thread that starts it, so that thread waits for it.
    """
    found: list[SandboxResult | OSError] = []

    def work() -> None:
        try:
            found.append(run_task(_TASK, payload, read=[folder, *_READABLE], limits=limits))
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=work, name="proof", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_BEAT_SECONDS)
        if thread.is_alive():
            alive()
    if isinstance(found[0], OSError):
        raise found[0]
    return found[0]


def _proof_of(result: SandboxResult, limits: SandboxLimits) -> Proof:
    if result.outcome is not Outcome.ANSWERED or "result" not in result.answer:
        _log.warning(
            "the proof ended without an answer: %r",
            result.stderr,
            extra={"action": "proof-" + result.outcome},
        )
        outcome = Outcome.CRASHED if result.outcome is Outcome.ANSWERED else result.outcome
        message = _NO_ANSWER[outcome].format(
            seconds=limits.wall_seconds, memory=limits.memory_bytes / 2**30
        )
        raise ProofFailedError(message, proof=Proof(passed=False))
    answer = result.answer["result"]
    proof = Proof.from_dict(answer["proof"])
    if not proof.passed or "message" in answer:
        raise ProofFailedError(answer["message"], proof=proof, param=answer["param"])
    return proof
