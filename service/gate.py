"""The gate as the API sees it: what is asked before a job is accepted.

A port, so that tests need neither a sandbox nor real models. The real one calls ``admission`` and
``datasets.uris``; both run native parsers in a child process only.
"""

from pathlib import Path
from typing import Protocol

from service.admission import AdmissionLimits, admit, check_magic
from service.datasets.uris import check_uri
from service.settings import Settings


class Gate(Protocol):
    """Checks of an upload, from cheap to expensive."""

    def check_magic(self, first_bytes: bytes, size: int) -> None:
        """Refuse what is not ONNX by its first bytes.

        Raises:
            ModelError: ``model-not-onnx`` or ``model-empty``.
        """

    def check_uri(self, uri: str) -> None:
        """Refuse an address that would never be read.

        Raises:
            DatasetError: ``dataset-scheme``, ``dataset-uri-forbidden`` or
                ``dataset-uri-credentials``.
        """

    def admit(self, path: Path) -> None:
        """Read the file in the sandbox.

        Raises:
            ModelError: With the code of the first rule that was broken.
        """


class SandboxedGate:
    """The gate of the running service."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def check_magic(self, first_bytes: bytes, size: int) -> None:
        """See :class:`Gate`."""
        check_magic(first_bytes, size, limit=self._settings.inline_limit)

    def check_uri(self, uri: str) -> None:
        """See :class:`Gate`."""
        check_uri(uri, roots=self._settings.dataset_roots)

    def admit(self, path: Path) -> None:
        """See :class:`Gate`."""
        settings = self._settings
        limits = AdmissionLimits(file_bytes=settings.inline_limit)
        admit(path, limits, require_sandbox=settings.require_sandbox)
