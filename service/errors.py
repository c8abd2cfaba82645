"""What can go wrong in the service: one tree below :mod:`graph_analysis.errors`.

::

    SecateurError
    +-- InputError
    |   +-- ModelError
    |   |   +-- AdmissionError                      model-..., validation-...
    |   +-- DatasetError                            dataset-...
    |   +-- RequestError                            invalid-request
    |       +-- NotFoundError                       not-found
    |       +-- ConflictError                       resource-in-use
    |       |   +-- JobNotFinishedError             job-not-finished
    |       |   +-- JobAlreadyFinishedError         job-already-finished
    |       |   +-- IdempotencyKeyReusedError       idempotency-key-reused
    |       |   +-- IdempotencyKeyInProgressError   idempotency-key-in-progress
    |       +-- UnauthenticatedError                unauthenticated
    |       +-- ForbiddenError                      forbidden
    |       +-- QuotaExceededError                  quota-exceeded
    +-- UnavailableError                            unavailable
    +-- SandboxUnavailableError                     sandbox-unavailable

Which status a code is answered with is the business of ``service.problems``. Stdlib only: the web
process, the worker and the sandboxed child all import this module.
"""

from collections.abc import Mapping
from typing import ClassVar

from graph_analysis.errors import InputError, ModelError, SecateurError


class AdmissionError(ModelError):
    """The admission gate refuses a model; ``code`` says why.

    Attributes:
        limit: The limit that was exceeded, if there is one.
        actual: What came instead.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        param: str | None = None,
        limit: int | None = None,
        actual: int | None = None,
    ) -> None:
        super().__init__(message, code=code, param=param)
        self.limit = limit
        self.actual = actual


class DatasetError(InputError):
    """A data set, or its address, cannot be used; ``code`` says why (``dataset-...``).

    Attributes:
        details: Facts for machines: ``expected``, ``got``, ``row``, ``value``, ``classes``, ...
        limit: The limit that was exceeded, if there is one.
        actual: What came instead.
    """

    default_code: ClassVar[str] = "dataset-format"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        limit: int | None = None,
        actual: int | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message, code=code, param=param)
        self.limit = limit
        self.actual = actual
        self.details = dict(details or {})


class RequestError(InputError):
    """A request that cannot be carried out as it was sent."""


class NotFoundError(RequestError):
    """There is no such object, or it belongs to somebody else: the two must look alike."""

    default_code: ClassVar[str] = "not-found"

    def __init__(
        self, message: str = "there is no such object", *, param: str | None = None
    ) -> None:
        super().__init__(message, param=param)


class ConflictError(RequestError):
    """The object is not in a state that allows the request."""

    default_code: ClassVar[str] = "resource-in-use"


class JobNotFinishedError(ConflictError):
    """The job has no result yet."""

    default_code: ClassVar[str] = "job-not-finished"


class JobAlreadyFinishedError(ConflictError):
    """The job has ended, so it cannot be cancelled any more."""

    default_code: ClassVar[str] = "job-already-finished"


class IdempotencyKeyReusedError(ConflictError):
    """The key was sent before, with another request body."""

    default_code: ClassVar[str] = "idempotency-key-reused"


class IdempotencyKeyInProgressError(ConflictError):
    """The first request with this key has not been answered yet."""

    default_code: ClassVar[str] = "idempotency-key-in-progress"


class UnauthenticatedError(RequestError):
    """No key, or one that is not valid (any more): the causes must look alike."""

    default_code: ClassVar[str] = "unauthenticated"


class ForbiddenError(RequestError):
    """The key is valid but lacks the scope."""

    default_code: ClassVar[str] = "forbidden"


class QuotaExceededError(RequestError):
    """The owner has too many jobs or too many stored bytes."""

    default_code: ClassVar[str] = "quota-exceeded"


class UnavailableError(SecateurError):
    """The service cannot answer right now; the same request may succeed later."""

    default_code: ClassVar[str] = "unavailable"


class SandboxUnavailableError(SecateurError):
    """The operator requires isolation (``SECATEUR_REQUIRE_SANDBOX``) that this kernel lacks."""

    default_code: ClassVar[str] = "sandbox-unavailable"
