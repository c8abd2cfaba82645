import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from optimizer.bridge.names import attribute_paths, name_of

AWKWARD = [
    "layer1.0.conv1.weight",
    "a",
    "a.b",
    "a.b.c",
    "Identity:0",
    'x"); raise SystemExit("',
    "training",
    "lambda",
    "a.None",
    "deep.forward.weight",
    "",
    ".",
    "a..b",
    "%41",
    "größe/权重",
    "1",
]


def test_usual_names_stay_as_they_are() -> None:
    assert attribute_paths(["layer1.0.weight"]) == {"layer1.0.weight": "layer1.0.weight"}


@given(st.lists(st.text(max_size=12) | st.sampled_from(AWKWARD), max_size=8))
def test_paths_are_reversible_and_distinct(names: list[str]) -> None:
    paths = attribute_paths(names)
    assert len(set(paths.values())) == len(set(names))
    assert all(name_of(path) == name for name, path in paths.items())
    assert all(set(path) <= set(_ALLOWED) for path in paths.values())


_ALLOWED = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.%"


@pytest.mark.parametrize("name", AWKWARD)
def test_a_module_can_hold_every_path(name: str) -> None:
    root = torch.nn.Module()
    for path in attribute_paths(AWKWARD).values():
        *parents, leaf = path.split(".")
        module = root
        for parent in parents:
            if parent not in module._modules:
                module.add_module(parent, torch.nn.Module())
            module = module.get_submodule(parent)
        module.register_buffer(leaf, torch.empty(0))
    assert attribute_paths(AWKWARD)[name] in dict(root.named_buffers())


def test_words_of_python_are_no_attributes() -> None:
    assert attribute_paths(["lambda", "a.None"]) == {"lambda": "lambda%", "a.None": "a.None%"}
