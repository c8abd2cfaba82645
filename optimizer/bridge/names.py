"""Initializer names as attribute paths of a module, safely and reversibly.

A GraphModule prints the path of every weight into Python source, so a name from a file must never
reach it unescaped. Dots become nested modules, which keeps ``state_dict`` keys equal to the usual
initializer names; everything outside ``[A-Za-z0-9_]`` becomes ``%XX`` of its UTF-8 bytes.
"""

import keyword
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote, unquote

import torch

_PLAIN = re.compile(r"[A-Za-z0-9_]")
_RESERVED = frozenset(
    [*dir(torch.fx.GraphModule(torch.nn.Module(), torch.fx.Graph())), *keyword.kwlist]
)


def attribute_paths(names: Iterable[str]) -> Mapping[str, str]:
    """Give every name its own dotted attribute path.

    1. ``a.b/c`` becomes ``a.b%2Fc``: components are kept, other characters percent-encoded.
    2. A component that a module already owns (``training``, ``forward``), that is a word of Python
       (``lambda``) or that is empty gets a trailing ``%``, which no encoding produces.
    3. So does the leaf of a name that is the prefix of another one (``a`` beside ``a.b``): a module
       cannot hold a tensor and a child of the same name.

    Returns:
        Name to path; ``name_of`` inverts it.
    """
    names = list(dict.fromkeys(names))
    split = {name: [_escape(component) for component in name.split(".")] for name in names}
    inner = {
        ".".join(components[:depth])
        for components in split.values()
        for depth in range(1, len(components))
    }
    paths = {}
    for name, components in split.items():
        path = ".".join(components)
        paths[name] = path + "%" if path in inner else path
    return paths


def name_of(path: str) -> str:
    """Return the initializer name that ``attribute_paths`` turned into ``path``."""
    return ".".join(_unescape(component) for component in path.split("."))


def _escape(component: str) -> str:
    escaped = "".join(
        character if _PLAIN.match(character) else _percent(character) for character in component
    )
    return escaped + "%" if not escaped or escaped in _RESERVED else escaped


def _percent(character: str) -> str:
    quoted = quote(character, safe="", errors="surrogatepass")
    return quoted if quoted != character else f"%{ord(character):02X}"


def _unescape(component: str) -> str:
    return unquote(component.rstrip("%"), errors="surrogatepass")
