"""Data sets: addresses that may be read, bytes under limits, and arrays that fit a model.

``check_uri`` needs no network and is for the moment of submission; ``pin_dataset`` and
``read_dataset`` are for the job; ``load_dataset`` is both at once, for a single process.
"""

from service.datasets.checks import (
    DatasetWarning,
    ModelInput,
    ModelInterface,
    bound_inputs,
    check_dataset,
)
from service.datasets.dataset import SINGLE_INPUT, Dataset, Split, dataset_of
from service.datasets.loading import PinnedDataset, load_dataset, pin_dataset, read_dataset
from service.datasets.policy import DatasetLimits, DatasetPolicy, NetworkPolicy
from service.datasets.uris import DatasetUri, check_uri

__all__ = [
    "SINGLE_INPUT",
    "Dataset",
    "DatasetLimits",
    "DatasetPolicy",
    "DatasetUri",
    "DatasetWarning",
    "ModelInput",
    "ModelInterface",
    "NetworkPolicy",
    "PinnedDataset",
    "Split",
    "bound_inputs",
    "check_dataset",
    "check_uri",
    "dataset_of",
    "load_dataset",
    "pin_dataset",
    "read_dataset",
]
