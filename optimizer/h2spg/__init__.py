"""The mathematics of H2SPG: a torch optimizer over units; knows neither ONNX nor graphs."""

from optimizer.h2spg.half_space import PenaltySettings
from optimizer.h2spg.mixing import criterion_of, mixture
from optimizer.h2spg.optimizer import H2SPG
from optimizer.h2spg.saliency import CRITERIA, Measured, SaliencyCriterion
from optimizer.h2spg.schedule import Phase, Schedule
from optimizer.h2spg.search import Choose, Partition, choose_count, partition
from optimizer.h2spg.units import NO_UNIT, UnitLayout, UnitSlices

__all__ = [
    "CRITERIA",
    "Choose",
    "H2SPG",
    "Measured",
    "NO_UNIT",
    "Partition",
    "PenaltySettings",
    "Phase",
    "SaliencyCriterion",
    "Schedule",
    "UnitLayout",
    "UnitSlices",
    "choose_count",
    "criterion_of",
    "mixture",
    "partition",
]
