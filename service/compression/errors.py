"""What only a whole job can find out about itself."""

from typing import ClassVar

from graph_analysis.errors import SecateurError


class QualityGateError(SecateurError):
    """The compressed model is less accurate than ``max_accuracy_drop`` allows; not handed out."""

    exit_code: ClassVar[int] = 3
    default_code: ClassVar[str] = "quality-gate-failed"
