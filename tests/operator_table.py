"""Writes `optimizer/OPERATORS.md`: which ONNX operators import at which opset, by trying.

    python -m tests.operator_table

1. Every operator of the standard domain that an opset from 7 on has, with all its versions.
2. The onnx package's own node cases, at the opset that they are written for, against its values.
3. The same cases at every older version of the operator that accepts them, as they are or through
   the package's converter, against ONNX Runtime with optimisations off.

What is wrong is written into the table with its reason, never left out.
"""

import argparse
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper, version_converter

from graph_analysis.rules.registry import _FUSED as KNOWN_TO_THE_SEARCH
from optimizer.bridge.registry import find, supported_operators
from tests.unit.optimizer.bridge.onnx_models import run_ort
from tests.unit.optimizer.bridge.test_backend_nodes import _passes, _reason_to_leave_out

DOCUMENT = Path(__file__).resolve().parents[1] / "optimizer" / "OPERATORS.md"
OLDEST = 7
MICROSOFT = "com.microsoft"
FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
FLOAT_NAMES = {"tensor(float)", "tensor(double)", "tensor(float16)", "tensor(bfloat16)"}


@dataclass
class Tried:
    """Outcome of the cases of one operator at one version."""

    passed: int = 0
    total: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, reason: str | None) -> None:
        self.total += 1
        self.passed += reason is None
        if reason is not None:
            self.reasons[reason] += 1


@dataclass
class Outcome:
    """All that was tried."""

    by_version: dict[tuple[str, int], Tried] = field(default_factory=lambda: defaultdict(Tried))
    bodies: Tried = field(default_factory=Tried)  # cases that are an operator's function body
    floats: Tried = field(default_factory=Tried)  # all cases with float outputs
    others: dict[str, Tried] = field(default_factory=lambda: defaultdict(Tried))  # by domain


def versions() -> dict[str, list[int]]:
    """Operator of the standard domain -> its versions from the one of opset 7 on."""
    found: dict[str, set[int]] = defaultdict(set)
    last: dict[str, int] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "":
            found[schema.name].add(schema.since_version)
            if schema.deprecated:
                last[schema.name] = schema.since_version
    kept = {}
    for name, since in found.items():
        old = [version for version in since if version <= OLDEST]
        used = {version for version in since if version >= max(old, default=0)}
        used.discard(last.get(name, 0))
        if used:
            kept[name] = sorted(used)
    return dict(sorted(kept.items()))


def imports(op_type: str, version: int, domain: str = "") -> bool:
    """Whether there is a translator for one version."""
    return find(domain, op_type, version) is not None


def cases() -> list[Any]:
    """Every node case of the onnx package."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # the cases divide by zero on purpose
        from onnx.backend.test.case.node import collect_testcases

        return [case for case in collect_testcases(None) if case.model is not None]


def outcome_of(case: Any) -> str | None:
    """Why a case does not pass; None if it does."""
    reason = _reason_to_leave_out(case)
    if reason is not None:
        return str(reason)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            _passes(case)
        except AssertionError as error:
            return "differs: " + _short(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            return _why(error)
    return None


def _why(error: Exception) -> str:
    operators = getattr(error, "operators", None)
    if operators:
        return "; ".join(f"{item.op_type} {item.reason}" for item in operators[:1])
    return f"{type(error).__name__}: {_short(error)}"


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:80].replace("|", "/")


def try_all(found: Iterable[Any], known: Mapping[str, list[int]]) -> Outcome:
    """Run every case at its own opset and at older ones."""
    outcome = Outcome()
    for case in found:
        node = case.model.graph.node[0] if case.model.graph.node else None
        reason = outcome_of(case)
        if {info.type.tensor_type.elem_type for info in case.model.graph.output} & FLOATS:
            outcome.floats.add(reason)
        if node is None or "_expanded" in case.name:
            outcome.bodies.add(reason)
        elif node.domain not in ("", "ai.onnx"):
            outcome.others[node.domain].add(reason)
        elif node.op_type in known:
            version = _version(node.op_type, case.model)
            outcome.by_version[node.op_type, version].add(reason)
            if _reason_to_leave_out(case) is not None:
                continue
            for older, renewed in at_older_opsets(case, known[node.op_type], version):
                outcome.by_version[node.op_type, older].add(outcome_of(renewed))
    return outcome


def _version(op_type: str, model: onnx.ModelProto) -> int:
    return int(onnx.defs.get_schema(op_type, _opset(model), "").since_version)


def _opset(model: onnx.ModelProto) -> int:
    return next(item.version for item in model.opset_import if item.domain in ("", "ai.onnx"))


def at_older_opsets(case: Any, known: list[int], version: int) -> Iterator[tuple[int, Any]]:
    """The case at every older version that takes it, with what ONNX Runtime makes of it."""
    newer = version
    for older in reversed([since for since in known if since < version]):
        model = _converted(case.model, newer - 1)
        newer = older
        if model is None:
            continue
        values = [_array(item) for item in case.data_sets[0][0]]
        names = [info.name for info in model.graph.input]
        try:
            expected = run_ort(model, dict(zip(names, values, strict=True)))
        except Exception:  # noqa: BLE001 - no kernel, other types: nothing to compare with
            continue
        yield (
            older,
            SimpleNamespace(
                name=f"{case.name}@{older}", model=model, data_sets=[(values, expected)]
            ),
        )


def _converted(model: onnx.ModelProto, opset: int) -> onnx.ModelProto | None:
    renumbered = onnx.ModelProto()
    renumbered.CopyFrom(model)
    for item in renumbered.opset_import:
        if item.domain in ("", "ai.onnx"):
            item.version = opset
    try:
        onnx.checker.check_model(renumbered, full_check=True)
    except Exception:  # noqa: BLE001 - another form there: the converter may know it
        try:
            renumbered = version_converter.convert_version(model, opset)
            onnx.checker.check_model(renumbered, full_check=True)
        except Exception:  # noqa: BLE001
            return None
    before = {node.op_type for node in model.graph.node}
    return renumbered if before <= {node.op_type for node in renumbered.graph.node} else None


def _array(item: Any) -> np.ndarray:
    return numpy_helper.to_array(item) if isinstance(item, TensorProto) else np.asarray(item)


def status(op_type: str, since: list[int], outcome: Outcome) -> str:
    """How an operator gets into torch: by a function here, by ONNX's own definition, or not."""
    if ("", op_type) in supported_operators():
        return "yes"
    passed = any(outcome.by_version[op_type, version].passed for version in since)
    return "by its body" if passed else "no"


def lines_of(outcome: Outcome, known: Mapping[str, list[int]]) -> Iterator[str]:
    """The document."""
    own = {name: status(name, since, outcome) for name, since in known.items()}
    newest = max(version for since in known.values() for version in since)
    yield from _head(outcome, known, own)
    yield ""
    yield "| opset | operators | of them imported |"
    yield "|---|--:|--:|"
    for opset in range(OLDEST, newest + 1):
        there = [(name, _at(since, opset)) for name, since in known.items()]
        there = [(name, version) for name, version in there if version and _lives(name, opset)]
        good = sum(imports(name, opset) or own[name] == "by its body" for name, _ in there)
        yield f"| {opset} | {len(there)} | {good} |"
    yield ""
    yield "## Standard domain"
    yield ""
    yield "| operator | imports | versions: cases passed of tried | why not |"
    yield "|---|---|---|---|"
    for name, since in known.items():
        cells = [_cell(name, version, own[name], outcome) for version in since]
        reasons = _reasons(name, since, own, outcome)
        yield f"| {name} | {own[name]} | {', '.join(cells)} | {reasons} |"
    yield from _others(outcome)


def _head(
    outcome: Outcome, known: Mapping[str, list[int]], own: Mapping[str, str]
) -> Iterator[str]:
    floats, counts = outcome.floats, Counter(own.values())
    yield "# Operators"
    yield ""
    yield (
        f"Written by `python -m tests.operator_table` with onnx {onnx.__version__}. A version is "
        "the opset that introduced a form of the operator; it serves all opsets up to the next. "
        "Cases are the onnx package's own: at the newest form an operator is compared with their "
        "values, at older forms with ONNX Runtime (optimisations off). `yes` without figures: "
        "there is a torch function, but no case can be written in that form; `-`: there is none."
    )
    yield ""
    yield (
        f"- {floats.passed} of {floats.total} cases with float outputs pass "
        f"({floats.passed / floats.total:.1%})."
    )
    yield (
        f"- {outcome.bodies.passed} of {outcome.bodies.total} operators written out as their "
        "function bodies pass."
    )
    tried = [entry for (_, _), entry in outcome.by_version.items()]
    yield (
        f"- {sum(entry.passed for entry in tried)} of {sum(entry.total for entry in tried)} cases "
        f"at all versions pass; {counts['yes']} of {len(known)} operators import by torch "
        f"functions of their own, {counts['by its body']} by the body that ONNX defines them with."
    )
    yield f"- Of the others with float outputs: {_listed(floats.reasons)}."


def _at(since: list[int], opset: int) -> int:
    return max((version for version in since if version <= opset), default=0)


def _lives(op_type: str, opset: int) -> bool:
    try:
        return not onnx.defs.get_schema(op_type, opset, "").deprecated
    except onnx.defs.SchemaError:
        return False


def _cell(op_type: str, version: int, own: str, outcome: Outcome) -> str:
    tried = outcome.by_version[op_type, version]
    if tried.passed or (tried.total and imports(op_type, version)):
        return f"{version}: {tried.passed}/{tried.total}"
    if imports(op_type, version):
        return f"{version}: yes"
    return f"{version}: -" if own != "by its body" else f"{version}: by body"


def _reasons(op_type: str, since: list[int], own: Mapping[str, str], outcome: Outcome) -> str:
    counts, where = Counter[str](), defaultdict[str, list[str]](list)
    for version in since:
        for reason, count in outcome.by_version[op_type, version].reasons.items():
            if reason != f"{op_type} has no torch function":
                counts[reason] += count
                where[reason].append(str(version))
    parts = [
        f"{count} {reason} (at {', '.join(where[reason])})"
        for reason, count in counts.most_common()
    ]
    if own[op_type] == "no":
        parts.insert(0, _why_not(op_type, since[-1]))
    return "; ".join(parts)


def _listed(reasons: Counter[str]) -> str:
    return "; ".join(f"{count} {reason}" for reason, count in reasons.most_common())


def _why_not(op_type: str, version: int) -> str:
    schema = onnx.defs.get_schema(op_type, version, "")
    results = {name for item in schema.outputs for name in item.types}
    operands = {name for item in schema.inputs for name in item.types}
    if operands and all("string" in name for name in operands):
        return "works on strings, which torch does not have"
    if not any(float_name in name for name in results for float_name in FLOAT_NAMES):
        return "gives no floats"
    return "no torch function"


def _others(outcome: Outcome) -> Iterator[str]:
    yield ""
    yield "## Other domains"
    yield ""
    yield (
        f"Operators of {MICROSOFT} that the search space knows or the importer has; their cases "
        "are in `tests/unit/optimizer/bridge/ops/`, against ONNX Runtime."
    )
    yield ""
    yield "| operator | domain | imports |"
    yield "|---|---|---|"
    pairs = {pair for pair in supported_operators() if pair[0]}
    pairs |= {(MICROSOFT, name) for name in KNOWN_TO_THE_SEARCH}
    for domain, name in sorted(pairs, key=lambda pair: (pair[0] != MICROSOFT, pair)):
        own = "yes" if (domain, name) in supported_operators() else "no"
        yield f"| {name} | {domain} | {own} |"
    yield ""
    for domain, tried in sorted(outcome.others.items()):
        yield f"{domain}: {tried.passed} of {tried.total} node cases pass."


def main() -> None:
    """Try everything, write the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=DOCUMENT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    known = versions()
    outcome = try_all(cases(), known)
    options.out.write_text("\n".join(lines_of(outcome, known)) + "\n", encoding="utf-8")
    print(f"{outcome.floats.passed} of {outcome.floats.total} float cases pass")  # noqa: T201


if __name__ == "__main__":
    main()
