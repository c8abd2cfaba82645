"""A made file is first loaded by a process of its own.

ONNX Runtime ends the process on some graphs (a float16 LSTM whose initial states are given is one),
which no handler can catch: the trial ends in its place, and the format is refused.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from exporters.formats.refusing import unsupported

_SECONDS = 900
_LOAD = """
import sys, onnxruntime
options = onnxruntime.SessionOptions()
options.log_severity_level = 4
try:
    data = open(sys.argv[1], "rb").read()
    onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
except Exception as error:
    sys.exit(" ".join(str(error).split()))
"""


def check_loads(data: bytes, form: str) -> None:
    """Load a file as its users will, at ONNX Runtime's default level, in a child process.

    Args:
        data: The file.
        form: What it is called in the message.

    Raises:
        InputError: ``export-unsupported``: it is not loaded, or ends the process that tries.
    """
    with tempfile.TemporaryDirectory(prefix="secateur-") as folder:
        path = Path(folder) / "trial"
        path.write_bytes(data)
        command = [sys.executable, "-I", "-c", _LOAD, str(path)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=_SECONDS
            )
        except subprocess.TimeoutExpired as error:
            reason = f"ONNX Runtime has not loaded the file within {_SECONDS} s"
            raise unsupported(form, reason) from error
    if done.returncode < 0:
        reason = f"ONNX Runtime crashes while it loads the file (signal {-done.returncode})"
        raise unsupported(form, reason)
    if done.returncode:
        words = " ".join(done.stderr.split())[:300]
        raise unsupported(form, f"ONNX Runtime does not load the file ({words})")
