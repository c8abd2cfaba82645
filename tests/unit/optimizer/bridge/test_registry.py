import json
from pathlib import Path

import pytest

import optimizer.bridge.registry
from optimizer.bridge.expansion import BY_BODY
from optimizer.bridge.registry import find, find_on_host, since_version, supported_operators


def test_the_published_list_is_what_is_registered() -> None:
    path = Path(optimizer.bridge.registry.__file__).with_name("operators.json")
    published = json.loads(path.read_text(encoding="utf-8"))
    listed = {(domain, op_type) for domain, names in published.items() for op_type in names}
    assert listed == supported_operators() | BY_BODY
    assert all(names == sorted(names) for names in published.values())


def test_each_version_gets_the_translator_registered_last_before_it() -> None:
    old, new = find("", "Softmax", 12), find("ai.onnx", "Softmax", 13)
    assert old is not None
    assert new is not None
    assert old is not new
    assert find("", "Softmax", 21) is new
    assert find("", "Softmax", 7) is old


def test_what_is_not_registered_is_not_found() -> None:
    assert find("", "Nonsense", 17) is None
    assert find("com.acme", "Relu", 1) is None
    assert find("", "Reshape", 4) is None
    assert find_on_host("com.acme", "Add") is None
    assert find_on_host("", "Conv") is None


@pytest.mark.parametrize(
    ("op_type", "opset", "version"), [("Clip", 10, 6), ("Clip", 12, 12), ("Unheard", 5, 5)]
)
def test_since_version(op_type: str, opset: int, version: int) -> None:
    assert since_version("", op_type, opset) == version
