"""Which operators may occur: the importer's list, read as data.

The list is a JSON file inside the ``optimizer`` package: domain -> names of operators. It is read
without importing that package, because the web process has no torch. Where the package is not
installed (the API's image) the child falls back to the standard operators.
"""

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_LIST = Path("bridge") / "operators.json"


@cache
def importable_operators() -> tuple[tuple[str, str], ...] | None:
    """(domain, name) of every operator that can be imported; None if there is no list here."""
    spec = find_spec("optimizer")  # of a top-level package: looked up, not imported
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    path = next((path for folder in folders if (path := Path(folder) / _LIST).is_file()), None)
    if path is None:
        return None
    listed = json.loads(path.read_text("utf-8"))
    return tuple((domain, name) for domain, names in listed.items() for name in names)
