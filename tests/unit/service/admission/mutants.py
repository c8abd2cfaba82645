"""A task for the sandbox: feed the gate seeded mutants of sound models, count the verdicts."""

import random
import traceback
from collections import Counter
from collections.abc import Mapping
from typing import Any

import onnx
from onnx import helper

from service.admission.inspection import inspect_bytes
from service.admission.limits import AdmissionLimits
from service.admission.standard import standard_operators
from service.errors import AdmissionError
from tests.unit.service.admission import models as m


def sources() -> list[onnx.ModelProto]:
    branches = [
        m.if_body(name, helper.make_node("Relu", ["x"], [name], name=name), output=name)
        for name in ("t", "e")
    ]
    split = helper.make_node("Split", ["x"], ["y", "z"], name="s", axis=1)
    sliced = helper.make_node("Slice", ["y", "k", "k2"], ["o"], name="slice")
    return [
        m.classifier(),
        m.branching(*branches),
        m.looping([helper.make_node("Relu", ["s"], ["t"], name="r")]),
        m.calling(m.function("f0", ["f1", "f1"]), m.function("f1", []), callee="f0"),
        m.model(
            [split, sliced],
            outputs=[m.value("o", None)],
            initializers=[m.integers("k", 0, 0), m.integers("k2", 1, 1)],
            opsets=[("", 13)],
        ),
    ]


def run(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Judge ``payload["count"]`` mutants; anything but a verdict is returned as a fault."""
    source = random.Random(payload["seed"])
    models, operators, limits = sources(), standard_operators(), AdmissionLimits()
    verdicts: Counter[str] = Counter()
    faults: list[str] = []
    for _ in range(payload["count"]):
        data = _mutant(source, models)
        try:
            inspect_bytes(data, limits, operators)
            verdicts["admitted"] += 1
        except AdmissionError as error:
            verdicts[error.code] += 1
        except Exception:  # noqa: BLE001  # any other exception is what the test looks for
            faults.append(f"{data.hex()}\n{traceback.format_exc(limit=-2)}"[-2000:])
    return {"verdicts": dict(verdicts), "faults": faults[:5]}


def _mutant(source: random.Random, models: list[onnx.ModelProto]) -> bytes:
    model = onnx.ModelProto()
    model.CopyFrom(source.choice(models))
    for _ in range(source.randint(0, 3)):
        _change(source, model)
    data = bytearray(model.SerializeToString())
    for _ in range(source.choice((0, 0, 0, 1, 2, 5))):
        data[source.randrange(len(data))] = source.choice((0, 1, 0x7F, 0x80, 0xFF, 0x0A, 0x12))
    return bytes(data)


def _change(source: random.Random, message: Any) -> None:
    """Change one scalar, or drop or repeat one element, somewhere below ``message``."""
    fields = [(field, value) for field, value in message.ListFields()]
    if not fields:
        return
    field, value = source.choice(fields)
    if field.is_repeated and field.message_type and len(value) and source.random() < 0.3:
        if source.random() < 0.5:
            del value[source.randrange(len(value))]
        else:
            value.add().CopyFrom(source.choice(list(value)))
    elif field.is_repeated and field.message_type:
        _change(source, source.choice(list(value)))
    elif field.message_type:
        _change(source, value)
    else:
        _set(source, message, field, value)


def _set(source: random.Random, message: Any, field: Any, value: Any) -> None:
    numbers = (0, 1, -1, 2, 7, 99, 2**31 - 1, 2**40, -(2**62), 2**63 - 1)
    texts = ("", "x", "y", "k", "Relu", "Conv", "If", "Loop", "Slice", "ai.onnx", "f", "n" * 600)
    try:
        new: Any = source.choice(numbers)
        probe = value[0] if field.is_repeated else value
        if isinstance(probe, str):
            new = source.choice(texts)
        elif isinstance(probe, bytes):
            new = source.choice((b"", b"x", probe[:-1], probe + b"\0", b"\xff" * 8))
        if field.is_repeated:
            value[source.randrange(len(value))] = new
        else:
            setattr(message, field.name, new)
    except (ValueError, TypeError):
        message.ClearField(field.name)
