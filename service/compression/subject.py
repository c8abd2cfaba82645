"""What every stage works on: the model, the data bound to its inputs, and the search space."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from exporters.errors import SurgeryError
from exporters.samples import InputSpec, has_free_batch, input_specs
from graph_analysis.errors import ModelError
from graph_analysis.loading import LoadedModel, load_model
from graph_analysis.pipeline import Analysis, AnalysisOptions, analyze
from graph_analysis.search_space import GroupKind
from graph_analysis.solution import Solution
from service.compression.run_directory import RunDirectory
from service.datasets import (
    SINGLE_INPUT,
    Dataset,
    ModelInput,
    ModelInterface,
    Split,
    bound_inputs,
    read_dataset,
)
from service.recipe import Recipe

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Model and data of one job.

    Attributes:
        loaded: The model.
        dataset: The data.
        interface: What the model wants to be fed; its classes are not known yet.
        recipe: The job's settings.
    """

    loaded: LoadedModel
    dataset: Dataset
    interface: ModelInterface
    recipe: Recipe

    @property
    def model(self) -> onnx.ModelProto:
        """The normalised working copy of the model."""
        return self.loaded.model

    @cached_property
    def specs(self) -> tuple[InputSpec, ...]:
        """The model's inputs as its file describes them."""
        return input_specs(self.model)

    @property
    def fixed_batch(self) -> int | None:
        """The batch size that the file fixes, if it does."""
        if has_free_batch(self.specs):
            return None
        return next((spec.shape[0] for spec in self.specs if spec.shape and spec.shape[0]), None)

    @cached_property
    def analysis(self) -> Analysis:
        """The search space, with free axes bound to the shapes of the training samples."""
        recipe, samples = self.recipe, self.samples(self.dataset.train, 1)
        shapes = {
            spec.name: (spec.shape[0] or 1, *samples[spec.name].shape[1:])
            for spec in self.specs
            if None in spec.shape[1:]
        }
        options = AnalysisOptions(
            input_shapes=shapes,
            protect=recipe.protect,
            kinds=frozenset(GroupKind(kind) for kind in recipe.kinds),
            multiple=recipe.multiple,
            min_units=recipe.min_units,
        )
        return analyze(self.loaded, options=options)

    @cached_property
    def nothing(self) -> Solution:
        """The solution that removes nothing."""
        return Solution.of(self.analysis.space, {})

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """A shape per input that is known to work."""
        return dict(self.analysis.effects(self.nothing).shapes)

    def own(self, weights: Mapping[str, Array]) -> dict[str, Array]:
        """Those of the trained values that the model has; the rest are masks and what they need.

        Weights inside bodies go by their names in the flat view.
        """
        names = {tensor.name for tensor in self.loaded.flat.graph.initializer}
        return {name: values for name, values in weights.items() if name in names}

    def inputs(self, split: Split) -> dict[str, Array]:
        """The arrays of a split by the model's input names, in the model's types."""
        return bound_inputs(split, self.interface)

    def arrays(self, split: Split) -> dict[str, Array]:
        """The arrays of a split by the model's input names, as they are in the file."""
        names = [entry.name for entry in self.interface.inputs]
        given = dict(split.inputs)
        return {names[0]: given[SINGLE_INPUT]} if SINGLE_INPUT in given else given

    def samples(self, split: Split, count: int) -> dict[str, Array]:
        """One batch of samples, spread evenly over a split.

        Args:
            split: Where they come from.
            count: How many; all there are if fewer, and a fixed batch always as the file has it.
        """
        wanted = self.fixed_batch or min(count, len(split))
        chosen = np.linspace(0, len(split) - 1, wanted).round().astype(np.int64)
        picked = {name: values[chosen] for name, values in split.inputs.items()}
        return self.inputs(Split(inputs=picked, labels=None))

    @property
    def evaluated(self) -> tuple[str, Split] | None:
        """The labelled samples that accuracy is reported on: the test split, else validation."""
        splits = self.dataset.splits
        for name in ("test", "val"):
            if name in splits and splits[name].labels is not None:
                return name, splits[name]
        return None


def open_subject(
    run: RunDirectory, recipe: Recipe, *, loaded: LoadedModel | None = None
) -> Subject:
    """Read model and data; ``loaded`` is the model where it has been read already.

    Raises:
        ModelError: The model cannot be used.
        DatasetError: The data cannot be read.
    """
    loaded = load_model(run.model) if loaded is None else loaded
    return Subject(
        loaded=loaded,
        dataset=read_dataset(run.dataset),
        interface=interface_of(loaded.model),
        recipe=recipe,
    )


def interface_of(model: onnx.ModelProto) -> ModelInterface:
    """What a model wants to be fed, from its file.

    Raises:
        ModelError: It has no inputs (``model-no-io``), or one that no array can feed
            (``model-input-unsupported``).
    """
    try:
        specs = input_specs(model)
    except SurgeryError as error:
        message = f"input {error.param!r} is no tensor of known rank, so no data set can feed it"
        raise ModelError(message, code="model-input-unsupported", param=error.param) from error
    if not specs:
        message = "the model has no inputs, so there is nothing to train on"
        raise ModelError(message, code="model-no-io")
    for spec in specs:
        if spec.dtype.kind not in "fiubV" or not spec.shape:
            what = "a scalar" if not spec.shape else f"a tensor of {spec.dtype}"
            message = f"input '{spec.name}' is {what}, which has no samples to train on"
            raise ModelError(message, code="model-input-unsupported", param=spec.name)
    return ModelInterface(
        inputs=tuple(
            ModelInput(name=spec.name, shape=spec.shape, dtype=spec.dtype.name) for spec in specs
        )
    )
