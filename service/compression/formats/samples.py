"""The data that an export is calibrated, compared and judged on, from the job's data set."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from exporters.sessions import Feeds, open_session, run
from graph_analysis.errors import InputError
from graph_analysis.loading import LoadedModel
from service.compression.judging import judged
from service.compression.labelling import LabelUse, check_labels
from service.compression.subject import Subject, interface_of
from service.datasets import Dataset, Split, check_dataset
from service.recipe import Recipe

_CALIBRATED = 512  # samples; ranges hardly grow beyond that
_BATCH = 32
_COMPARED = 2048
_TRIED = 8


def _nothing() -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class JudgedData:
    """Samples and labels of a job, for a float model and what is made of it.

    Attributes:
        subject: Model and data.
        use: What the labels are.
        alive: Called after every run.
    """

    subject: Subject
    use: LabelUse
    alive: Callable[[], None] = _nothing

    @property
    def calibration(self) -> Iterator[Feeds]:
        """Training samples spread over the whole split, one batch at a time."""
        subject, split = self.subject, self.subject.dataset.train
        step = subject.fixed_batch or min(_BATCH, len(split))
        count = min(_CALIBRATED, len(split))
        chosen = np.linspace(0, len(split) - 1, count).round().astype(np.int64)
        for start in range(0, max(count - step + 1, 1), step):
            rows = np.resize(chosen[start : start + step], step)
            yield subject.inputs(_rows(split, rows))

    @property
    def compared(self) -> tuple[str, dict[str, Any]]:
        """The split that outputs are compared on, and samples spread over it, by input name."""
        splits = self.subject.dataset.splits
        judged_on = self.subject.evaluated
        name = (
            judged_on[0] if judged_on else next(n for n in ("test", "val", "train") if n in splits)
        )
        split = splits[name]
        chosen = np.linspace(0, len(split) - 1, min(_COMPARED, len(split))).round().astype(np.int64)
        return name, self.subject.inputs(_rows(split, chosen))

    def quality(self, model: onnx.ModelProto) -> dict[str, Any]:
        """``measure`` and its ``value`` on the labelled samples; None without any."""
        found = judged(self.subject, model, self.use, alive=self.alive)
        return {"measure": found["measure"], "value": found["value"]}


def _rows(split: Split, chosen: Any) -> Split:
    return Split(inputs={n: v[chosen] for n, v in split.inputs.items()}, labels=None)


def judged_data(
    loaded: LoadedModel, dataset: Dataset, *, report: Callable[[Mapping[str, Any]], None]
) -> JudgedData:
    """Check a data set against a float model, and find out what its labels are.

    Args:
        loaded: The float model.
        dataset: Samples, with or without labels.
        report: Takes the lines of ``service.stage_lines``.

    Raises:
        ModelError: No array can feed the model.
        DatasetError: The data does not fit it.
    """
    recipe = Recipe.parse({"target_macs": 0.5, "batch_size": 1})  # nothing is trained or cut
    subject = Subject(
        loaded=loaded, dataset=dataset, interface=interface_of(loaded.model), recipe=recipe
    )
    check_dataset(dataset, subject.interface)
    try:
        outputs = run(
            open_session(loaded.model),
            subject.samples(dataset.train, min(_TRIED, len(dataset.train))),
        )
    except Exception as error:
        message = f"the model does not run on samples of 'x_train': {' '.join(str(error).split())}"
        raise InputError(message[:400], code="dataset-shape-mismatch", param="x_train") from error
    return JudgedData(subject=subject, use=check_labels(subject, outputs, report))
