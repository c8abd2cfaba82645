"""Whether a run trains with normalisations that the file has lost, and on which samples."""

import torch

from optimizer.bridge.module import ImportedModule
from optimizer.bridge.renormalising import Renormalised, is_folded, renormalise
from optimizer.config import TrainConfig
from optimizer.trainer.data import Batches

_FEWEST_SAMPLES = 8  # per batch, for "auto": the statistics of fewer are those of their content


def with_normalisations(
    imported: ImportedModule, probe: Batches, config: TrainConfig, device: torch.device
) -> Renormalised | None:
    """Put normalisations into ``imported`` if the settings ask for them.

    ``on`` wherever one can stand; ``auto`` does so where the network looks as if its own were
    folded away and the batches are large enough; ``off`` never.

    Args:
        imported: Changed in place; on ``device``.
        probe: Training samples that the statistics are first measured on.
        config: Settings.
        device: Where the module runs.

    Returns:
        What was done; None where nothing was tried.
    """
    if config.renormalise == "off":
        return None
    if config.renormalise == "auto" and (
        probe.batch_size < _FEWEST_SAMPLES or not is_folded(imported)
    ):
        return None
    indices = probe.in_order(full_only=True)
    return renormalise(imported, (probe.at(some).to(device).inputs for some in indices))
