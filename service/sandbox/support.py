"""What this kernel offers for isolation, found out once; and what to do if it is not enough."""

import logging
from dataclasses import dataclass
from functools import cache

from service.errors import SandboxUnavailableError
from service.sandbox import landlock, seccomp
from service.sandbox.syscalls import machine

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SandboxSupport:
    """Kernel features. Resource limits, the empty folder and the bare environment always work."""

    landlock: bool
    seccomp: bool

    @property
    def is_complete(self) -> bool:
        """Whether the child is confined in files, network and system calls."""
        return self.landlock and self.seccomp

    @property
    def missing(self) -> str:
        """The features that are missing, for people."""
        features = {"Landlock": self.landlock, "seccomp": self.seccomp}
        return ", ".join(name for name, there in features.items() if not there)


@cache
def sandbox_support() -> SandboxSupport:
    """What the kernel offers; the first call of a process logs a shortage, the others are free."""
    found = SandboxSupport(
        landlock=machine() is not None and landlock.abi_version() > 0,
        seccomp=seccomp.is_available(),
    )
    if not found.is_complete:
        _log.warning(
            "the sandbox works without %s, which this kernel does not offer",
            found.missing,
            extra={"action": "sandbox-incomplete", "missing": found.missing},
        )
    return found


def require_support() -> None:
    """Refuse to go on without full isolation (``SECATEUR_REQUIRE_SANDBOX=1``).

    Raises:
        SandboxUnavailableError: The kernel lacks a feature.
    """
    found = sandbox_support()
    if not found.is_complete:
        message = (
            f"SECATEUR_REQUIRE_SANDBOX is set, but this kernel does not offer {found.missing}; "
            "use a kernel (or container settings) with it, or unset the variable"
        )
        raise SandboxUnavailableError(message, param="SECATEUR_REQUIRE_SANDBOX")
