"""A solution: which units of which groups go. Produced by a search, consumed by the surgeon."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graph_analysis.errors import InputError, SolutionError
from graph_analysis.search_space import SearchSpace

SCHEMA = "secateur/solution/1"


@dataclass(frozen=True, kw_only=True)
class Solution:
    """What is removed from the model of one search space.

    Attributes:
        space: ``SearchSpace.sha256`` of the space it was found in.
        removed: Group id -> units that go, ascending; groups that lose nothing are left out.
            An operator group has the one unit 0.
    """

    space: str
    removed: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, space: SearchSpace, removed: Mapping[str, Sequence[int]]) -> "Solution":
        """Build the solution of ``space``; sorts, and drops groups without units.

        Raises:
            SolutionError: An unknown group, or a unit that the group does not have.
        """
        ordered = {
            key: tuple(sorted(set(units))) for key, units in sorted(removed.items()) if units
        }
        for key, units in ordered.items():
            group = space.group_by_id.get(key)
            if group is None:
                msg = f"group {key!r} is not in the search space"
                raise SolutionError(msg, param=key)
            if units[0] < 0 or units[-1] >= group.units:
                message = f"group {key!r} has units 0..{group.units - 1}, solution names {units}"
                raise SolutionError(message, param=key)
        return cls(space=space.sha256, removed=ordered)

    def check(self, space: SearchSpace) -> None:
        """Raise ``SolutionError`` unless this solution was made for ``space``."""
        if self.space != space.sha256:
            msg = (
                f"the solution is for search space {self.space[:12]}, the model's is "
                f"{space.sha256[:12]}; solve again with this model and the same options"
            )
            raise SolutionError(msg)
        Solution.of(space, self.removed)

    def to_json(self, *, indent: int | None = None) -> str:
        """The solution as JSON text of schema ``secateur/solution/1``."""
        data = {
            "schema": SCHEMA,
            "space": self.space,
            "removed": {key: list(units) for key, units in self.removed.items()},
        }
        return json.dumps(data, indent=indent)

    @classmethod
    def from_json(cls, text: str) -> "Solution":
        """Read a solution back.

        Raises:
            InputError: The text is no solution of this schema.
        """
        try:
            data: Any = json.loads(text)
            schema = data["schema"]
        except (ValueError, TypeError, KeyError) as error:
            message = f"not a solution: no JSON object with a 'schema' ({error})"
            raise InputError(message, code="invalid-json") from error
        if schema != SCHEMA:
            msg = f"solution has schema {schema!r}, this version reads {SCHEMA!r}"
            raise InputError(msg)
        try:
            removed = {
                str(key): tuple(int(unit) for unit in units)
                for key, units in data["removed"].items()
            }
            return cls(space=str(data["space"]), removed=removed)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            msg = f"solution is incomplete or malformed: {error!r}"
            raise InputError(msg) from error
