"""The proof: the cut model computes what the masked model computes, shown on every job.

Gates, with b the masked model's output and scale = max|b| of each output:

====  ==============================================================================
G3    optimisations off, real and random inputs, every batch size:
      ``|cut - masked| <= 1e-5 * scale + 1e-6``, element by element
      where the positions that stay are given: every tensor inside the network as
      well, each at its own scale, ``<= 1e-3 * scale``
      there, weights are those of the reference bit for bit at those positions
      every branch of an If that can be reached, made to be taken: as G3
G4    default optimisations: cut against masked, and cut against itself at ``off``,
      ``<= 1e-4 * scale + 1e-6``; the same top-1 choice in every row
G6    the cut model on a batch against the same samples one by one, as G3
G7    names, order, types and dynamic axes of inputs and outputs unchanged
====  ==============================================================================

Equality is judged with optimisations off because ONNX Runtime itself is wrong at its default level
for some graphs. Where the *original* disagrees with itself between the levels (G4), or between a
batch and its samples (G6), the proof says so in ``notes`` instead of failing.

Models with half-precision weights are judged on their float32 twins (``precision`` says why); the
files as written are compared as well, as closely as that many bits allow.

A reference that is zero throughout proves nothing and one that is not finite cannot be compared:
both are tried again on other inputs, and fail the proof if no input helps. Infinities and
not-a-numbers in an output fail it at any level, unless the input was random and the original has
them too.

A proof that fails names the first tensor, in order of computation, that is not as it must be.
"""

from collections.abc import Mapping, Sequence
from typing import NoReturn

import numpy as np
import onnx

from exporters import branches, checks
from exporters import samples as inputs
from exporters.cases import Case, cases
from exporters.comparison import (
    ACROSS_LEVELS,
    EXACT,
    HALF,
    INSIDE,
    Difference,
    Outputs,
    Tolerance,
    all_zero,
    compare,
    is_finite,
    top1,
    zero_outputs,
)
from exporters.errors import ProofFailedError, SurgeryError
from exporters.figures import GateFigure, Mismatch, Proof
from exporters.mismatch import Keep, first_mismatch, first_not_finite, inner_differences
from exporters.precision import is_half, widened
from exporters.runner import Runner
from exporters.sessions import ALL, OFF, Feeds
from exporters.stored import wrong_weights


def prove(
    masked: onnx.ModelProto,
    cut: onnx.ModelProto,
    *,
    original: onnx.ModelProto,
    samples: Sequence[Feeds] = (),
    seed: int = 0,
    shapes: Mapping[str, Sequence[int]] | None = None,
    keep: Keep | None = None,
) -> Proof:
    """Show that ``cut`` equals ``masked``.

    Args:
        masked: The reference.
        cut: The surgeon's model.
        original: The model that came in; consulted where a gate fails, to see whose fault it is.
        samples: Real inputs: each a mapping from input name to a batch of values.
        seed: Of the random inputs.
        shapes: A shape per input that is known to work; binds the free axes but the batch.
        keep: Tensor -> axis -> positions that stay, as ``Effects.keep`` has it; with it tensors
            inside are compared, and a failure names the first that differs.

    Raises:
        ProofFailedError: A gate fails; ``error.proof`` holds the figures so far.
    """
    return _Prover(masked, cut, original, seed, shapes or {}, keep).prove(samples)


_Pair = tuple[onnx.ModelProto, onnx.ModelProto]  # masked, cut


class _Prover:
    def __init__(
        self,
        masked: onnx.ModelProto,
        cut: onnx.ModelProto,
        original: onnx.ModelProto,
        seed: int,
        shapes: Mapping[str, Sequence[int]],
        keep: Keep | None,
    ) -> None:
        self.files = {"masked": masked, "cut": cut, "original": original}
        self.is_half = is_half(original)
        self.judged = (
            {name: widened(model) for name, model in self.files.items()}
            if self.is_half
            else self.files
        )
        self.runner = Runner(self.judged)
        self.as_written = Runner(self.files)
        self.specs = self.runner.specs
        self.shapes = shapes
        self.keep = keep
        self.rng = np.random.default_rng(seed)
        self.figures: list[GateFigure] = []
        self.notes: list[str] = []
        self.cases: list[Case] = []
        self.rows = [0, 0]
        self.inner_tensors = 0
        self.branches = [0, 0]  # run, and all
        self.mismatch: Mismatch | None = None

    def prove(self, samples: Sequence[Feeds]) -> Proof:
        try:
            checks.check_interface(self.files["masked"], self.files["cut"])
        except SurgeryError as error:
            self._fail("G7", str(error), param=error.param)
        for case in cases(self.runner, samples, known=self.shapes, rng=self.rng):
            self._gate_equal(case)
        self._gate_informative()
        self._gate_inside()
        self._gate_branches()
        self._gate_weights()
        for case in self.cases:
            self._gate_default_level(case)
            if self.is_half:
                self._gate_half(case)
        self._gate_batches()
        return self._proof(passed=True)

    def _proof(self, *, passed: bool) -> Proof:
        agreeing, rows = self.rows
        return Proof(
            passed=passed,
            figures=tuple(self.figures),
            samples=sum(case.batch for case in self.cases),
            real_samples=sum(case.batch for case in self.cases if case.source == "real"),
            batch_sizes=tuple(sorted({case.batch for case in self.cases})),
            inner_tensors=self.inner_tensors,
            branches=self.branches[1],
            branches_run=self.branches[0],
            mismatch=self.mismatch,
            top1_agreement=agreeing / rows if rows else None,
            notes=tuple(dict.fromkeys(self.notes)),
        )

    def _fail(self, gate: str, what: str, *, param: str | None = None) -> NoReturn:
        message = f"proof failed at {gate}: {what}"
        raise ProofFailedError(message, proof=self._proof(passed=False), param=param)

    def _run(self, gate: str, model: str, level: str, feeds: Feeds) -> Outputs:
        try:
            return self.runner.run(model, level, feeds)
        except Exception as error:  # noqa: BLE001  (the runtime raises a type per failure)
            text = " ".join(str(error).split())
            where = self._where(feeds, runs=False) if model == "cut" else ""
            self._fail(
                gate, f"the {model} model does not run, optimisations {level}: {text}{where}"
            )

    def _gate_equal(self, case: Case) -> None:
        """G3; a random case whose reference says nothing is drawn again."""
        tries = inputs.variations(case.feeds, self.rng) if case.source == "random" else [case.feeds]
        for feeds in tries:
            case.feeds = feeds
            case.reference = self._run("G3", "masked", OFF, case.feeds)
            if is_finite(case.reference) and not all_zero(case.reference):
                break
        if not is_finite(case.reference):
            if case.source == "random" and not self._original_is_finite(case.feeds):
                self.notes.append(
                    "the original is not finite on some random inputs; these prove nothing"
                )
                return
            self._fail_infinite("G3", "masked", OFF, case, case.reference)
        case.result = self._run("G3", "cut", OFF, case.feeds)
        self.cases.append(case)
        if not is_finite(case.result):
            self._fail_infinite("G3", "cut", OFF, case, case.result)
        self._judge("G3", OFF, case, compare(case.reference, case.result, EXACT))
        self._count_top1(case, case.result, EXACT)

    def _original_is_finite(self, feeds: Feeds) -> bool:
        return is_finite(self._run("G3", "original", OFF, feeds))

    def _judge(self, gate: str, level: str, case: Case, found: Difference) -> None:
        self._record(gate, level, case, found, passed=found.is_accepted)
        if not found.is_accepted:
            self._fail(
                gate,
                f"{found.output!r} differs by {found.max_difference:.3g}, allowed is "
                f"{found.limit:.3g} at scale {found.scale:.3g} ({case.source} input, batch "
                f"{case.batch}, optimisations {level})"
                f"{self._where(case.feeds) if gate.startswith('G3') else ''}",
                param=found.output,
            )

    def _where(self, feeds: Feeds, models: _Pair | None = None, *, runs: bool = True) -> str:
        """The first tensor that differs, for a message."""
        if self.keep is None:
            return ""
        masked, cut = models or (self.judged["masked"], self.judged["cut"])
        fitting = self.runner.fitting(feeds)
        self.mismatch = first_mismatch(masked, cut, fitting, self.keep, runs=runs)
        return f"; the first tensor that differs: {self.mismatch}" if self.mismatch else ""

    def _fail_infinite(
        self, gate: str, model: str, level: str, case: Case, outputs: Outputs
    ) -> NoReturn:
        """Something is infinite, or not a number."""
        names = [name for name, values in outputs.items() if not is_finite({name: values})]
        fitting = self.runner.fitting(case.feeds)
        self.mismatch = first_not_finite(self.judged[model], fitting)
        where = f"; the first such tensor: {self.mismatch}" if self.mismatch else ""
        self._fail(
            gate,
            f"output {names[0]!r} of the {model} model is not finite on {case.source} input, "
            f"optimisations {level}{where}",
            param=names[0],
        )

    def _record(
        self, gate: str, level: str, case: Case, found: Difference, *, passed: bool
    ) -> None:
        figure = GateFigure(
            gate=gate,
            level=level,
            batch=case.batch,
            source=case.source,
            output=found.output,
            max_difference=found.max_difference,
            scale=found.scale,
            limit=found.limit,
            passed=passed,
        )
        self.figures.append(figure)

    def _count_top1(self, case: Case, result: Outputs, tolerance: Tolerance) -> None:
        agreeing, rows = top1(case.reference, result, tolerance)
        self.rows[0] += agreeing
        self.rows[1] += rows
        if agreeing < rows:
            self._fail("G4", f"{rows - agreeing} of {rows} rows choose another class")

    def _gate_informative(self) -> None:
        """An output that is zero on every input was compared with nothing."""
        if not self.cases:
            self._fail("G3", "; ".join(("nothing was compared", *dict.fromkeys(self.notes))))
        always = frozenset.intersection(*(zero_outputs(case.reference) for case in self.cases))
        for name in sorted(always):
            zero_before = all(
                name in zero_outputs(self._run("G3", "original", OFF, case.feeds))
                for case in self.cases
            )
            if zero_before and len(always) < len(self.cases[0].reference):
                self.notes.append(f"output {name!r} is 0 in the original too: nothing to compare")
            else:
                self._fail(
                    "G3", f"output {name!r} is 0 on every input, which proves nothing", param=name
                )

    def _gate_inside(self) -> None:
        """G3 on every tensor between input and output, on the smallest input."""
        if self.keep is None:
            return
        case = min(self.cases, key=lambda candidate: candidate.batch)
        models = self.judged["masked"], self.judged["cut"]
        for found in inner_differences(*models, case.feeds, self.keep, INSIDE):
            self.inner_tensors += 1
            if not found.is_accepted:
                self._judge("G3 inside", OFF, case, found)

    def _gate_weights(self) -> None:
        """G3 on the weights themselves."""
        if self.keep is None:
            return
        for name, problem in wrong_weights(self.files["masked"], self.files["cut"], self.keep):
            self.mismatch = Mismatch(tensor=name, operator="", node="", problem=problem)
            self._fail("G3 weights", f"initializer {name!r} {problem}", param=name)

    def _gate_branches(self) -> None:
        """G3 on every branch of an If, the smallest inputs first until one says something."""
        ordered = sorted(self.cases, key=lambda case: case.batch)
        for path in branches.branches_of(self.judged["masked"]):
            taken = {name: branches.taking(model, path) for name, model in self.judged.items()}
            models = {name: model for name, model in taken.items() if model is not None}
            if len(models) < len(taken):
                continue  # the cut model has it no more
            self.branches[1] += 1
            if any(self._branch_is_equal(models, path, case) for case in ordered):
                self.branches[0] += 1
            else:
                what = branches.told(path)
                self.notes.append(f"not compared, because no input says anything there: {what}")

    def _branch_is_equal(
        self, models: Mapping[str, onnx.ModelProto], path: branches.Path, case: Case
    ) -> bool:
        """Compare one branch on one input; False if the input says nothing there."""
        runner = Runner(models)
        if not runner.runs("original", OFF, case.feeds):
            return False
        pair, where = (models["masked"], models["cut"]), f"in {branches.told(path)}, "
        try:
            reference = runner.run("masked", OFF, case.feeds)
            if not is_finite(reference) and not is_finite(runner.run("original", OFF, case.feeds)):
                return False
            if all_zero(reference):
                return False
            found = compare(reference, runner.run("cut", OFF, case.feeds), EXACT)
            inner = inner_differences(*pair, runner.fitting(case.feeds), self.keep or {}, INSIDE)
            if found.is_accepted and self.keep is not None:
                found = next((one for one in inner if not one.is_accepted), found)
            problem = f"{found.output!r} differs by {found.max_difference:.3g}"
        except Exception as error:  # noqa: BLE001  (the runtime raises a type per failure)
            found = Difference(output="", max_difference=np.inf, scale=0.0, limit=0.0)
            problem = f"a model does not run: {' '.join(str(error).split())}"
        self._record("G3 branch", OFF, case, found, passed=found.is_accepted)
        if not found.is_accepted:
            where += problem + self._where(case.feeds, pair)
            self._fail("G3 branch", where, param=found.output or None)
        return True

    def _gate_default_level(self, case: Case) -> None:
        """G4."""
        result = self._run("G4", "cut", ALL, case.feeds)
        masked = self._run("G4", "masked", ALL, case.feeds)
        for name, outputs in (("masked", masked), ("cut", result)):
            if not is_finite(outputs):
                before = self._run("G4", "original", ALL, case.feeds)
                if case.source == "real" or is_finite(before):
                    self._fail_infinite("G4", name, ALL, case, outputs)
        with_masked = compare(masked, result, ACROSS_LEVELS)
        with_itself = compare(case.result, result, ACROSS_LEVELS)
        for found in (with_masked, with_itself):
            if not found.is_accepted and self.runner.disagrees(case.feeds):
                self._record("G4", ALL, case, found, passed=True)
                self.notes.append(
                    "the original disagrees with itself between optimisation levels; "
                    "equality was judged with optimisations off only"
                )
                return
            self._judge("G4", ALL, case, found)
        self._count_top1(case, result, ACROSS_LEVELS)

    def _gate_half(self, case: Case) -> None:
        """G4 for a half-precision model: the files as they are, as closely as they can agree."""
        if not self.as_written.runs("original", ALL, case.feeds):
            self.notes.append("ONNX Runtime does not run the half-precision original here")
            return
        reference = self.as_written.run("masked", ALL, case.feeds)
        if not is_finite(reference):
            before = self.as_written.run("original", ALL, case.feeds)
            if is_finite(before):
                self._fail_infinite("G4", "masked", f"{ALL}, half precision", case, reference)
            self.notes.append(
                "the original overflows half precision on some inputs, as the masked model does"
            )
            return
        found = compare(reference, self.as_written.run("cut", ALL, case.feeds), HALF)
        self._judge("G4", f"{ALL}, half precision", case, found)

    def _gate_batches(self) -> None:
        """G6, on the largest batch that was run."""
        case = max(self.cases, key=lambda candidate: candidate.batch)
        if case.batch < 2 or not inputs.has_free_batch(self.specs):
            return
        found = self.runner.batch_difference("cut", case.feeds, case.batch)
        if not found.is_accepted:
            before = self.runner.batch_difference("original", case.feeds, case.batch)
            if not before.is_accepted:
                self.notes.append("the original's samples depend on the rest of their batch")
                self._record("G6", OFF, case, found, passed=True)
                return
        self._judge("G6", OFF, case, found)
