"""What can go wrong, as the user sees it: one tree that every package extends.

::

    SecateurError                      code, exit code, offending thing
    +-- InputError                     the user's input is at fault (exit 2)
    |   +-- ModelError                 the ONNX file
    |   +-- SolutionError              a solution that does not fit its search space
    +-- TargetUnreachableError         a budget that no valid solution meets (exit 3)

``code`` is the stable kebab-case slug that the REST API publishes; it never changes meaning.
A message says what, where and what to do next, in one line and in the user's own names.
"""

from typing import ClassVar


class SecateurError(Exception):
    """Root of all errors that Secateur raises on purpose.

    Attributes:
        code: Stable kebab-case slug, published as ``code`` of a problem document.
        param: The offending option, initializer, node or field, if one can be named.
        exit_code: What the command line exits with.
    """

    exit_code: ClassVar[int] = 1
    default_code: ClassVar[str] = "internal"

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.param = param


class InputError(SecateurError):
    """The input is at fault, not the product."""

    exit_code = 2
    default_code = "invalid-request"


class ModelError(InputError):
    """The ONNX file cannot be used; ``code`` says why (``model-...``)."""

    default_code = "model-not-onnx"


class SolutionError(InputError):
    """A solution does not belong to the search space, or is not valid in it."""

    default_code = "solution-invalid"


class TargetUnreachableError(SecateurError):
    """No valid solution meets the budget.

    Attributes:
        reachable_ratio: The smallest share of the budgeted quantity that can remain (0..1).
    """

    exit_code = 3
    default_code = "target-unreachable"

    def __init__(self, message: str, *, reachable_ratio: float, param: str | None = None) -> None:
        super().__init__(message, param=param)
        self.reachable_ratio = reachable_ratio
