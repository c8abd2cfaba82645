"""The sandboxed child: one short-lived, capped process for everything that touches hostile bytes.

``run_task`` starts it, ``sandbox_support`` tells what the kernel offers. Nothing here knows what a
model or a data set is; the caller turns an outcome into an error of its own.
"""

from service.sandbox.process import Outcome, SandboxLimits, SandboxResult, run_task
from service.sandbox.support import SandboxSupport, require_support, sandbox_support

__all__ = [
    "Outcome",
    "SandboxLimits",
    "SandboxResult",
    "SandboxSupport",
    "require_support",
    "run_task",
    "sandbox_support",
]
