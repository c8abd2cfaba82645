"""The stages of a job: prepare, train, export, verify; each reads and writes one run folder.

The worker runs every stage in a process of its own (``service.stage_process``), the command
``secateur compress`` runs all of them in one. What a stage reports are the lines of
``service.stage_lines``; what it leaves are the files named in :class:`RunDirectory`.
"""

from service.compression.errors import QualityGateError
from service.compression.reporting import Report, ShouldStop
from service.compression.run_directory import RunDirectory
from service.compression.stages import STAGES, run_stage
from service.recipe import Recipe

__all__ = [
    "STAGES",
    "QualityGateError",
    "Recipe",
    "Report",
    "RunDirectory",
    "ShouldStop",
    "run_stage",
]
