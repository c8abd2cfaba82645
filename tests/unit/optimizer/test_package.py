import subprocess
import sys

import pytest

import optimizer


def test_every_public_name_is_there() -> None:
    for name in optimizer.__all__:
        assert getattr(optimizer, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'prune'"):
        _ = optimizer.prune


def test_settings_and_errors_cost_no_torch() -> None:
    code = (
        "import sys, optimizer.config, optimizer.errors;"
        "assert not {'torch', 'onnx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
