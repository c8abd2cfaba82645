"""What can go wrong after the search: three branches of the one tree in ``graph_analysis.errors``.

::

    SecateurError
    +-- SurgeryError           the cut file could not be built, or is not what was promised (exit 4)
    +-- ProofFailedError       the cut file and the masked model disagree (exit 4)
    +-- FormatError            an exported file does not run, or is another network (exit 4)

None is the user's fault and none hands out a file: all carry ``verification-failed``.
"""

from typing import TYPE_CHECKING, ClassVar

from graph_analysis.errors import SecateurError

if TYPE_CHECKING:
    from exporters.figures import Proof


class SurgeryError(SecateurError):
    """The surgeon met a graph that it cannot cut as the solution says, or its own checks failed.

    ``param`` names the node, tensor or initializer.
    """

    exit_code: ClassVar[int] = 4
    default_code: ClassVar[str] = "verification-failed"


class ProofFailedError(SecateurError):
    """The cut model does not equal its reference.

    Attributes:
        proof: The figures of every gate up to and including the one that failed.
    """

    exit_code: ClassVar[int] = 4
    default_code: ClassVar[str] = "verification-failed"

    def __init__(self, message: str, *, proof: "Proof", param: str | None = None) -> None:
        super().__init__(message, param=param)
        self.proof = proof


class FormatError(SecateurError):
    """A file in another format does not load or run, or differs by more than the format explains.

    ``param`` names the output.
    """

    exit_code: ClassVar[int] = 4
    default_code: ClassVar[str] = "verification-failed"
