"""The application as a whole: what it loads, and what it cleans up."""

import os
import subprocess
import sys
from pathlib import Path

from service.storage import ArtifactStore
from tests.unit.service.api import running_api

FORBIDDEN = ("torch", "onnx", "onnxruntime", "onnx_graphsurgeon", "optimizer", "exporters")


def test_the_api_process_loads_no_torch_and_no_native_parser() -> None:
    code = f"import sys, service.app; print([name for name in {FORBIDDEN} if name in sys.modules])"
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert result.stdout.strip() == "[]"


def test_uploads_of_a_crashed_process_are_removed_at_start(tmp_path: Path) -> None:
    store = ArtifactStore(f"file://{tmp_path}/store")
    old, young = store.new_temporary(), store.new_temporary()
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    with running_api(tmp_path) as api:
        assert api.leftovers() == [young.name]
