"""``python -m graph_analysis MODEL`` prints the search space; needs numpy and onnx only."""

import sys
from pathlib import Path

from graph_analysis.errors import SecateurError
from graph_analysis.explain import explain
from graph_analysis.loading import load_model
from graph_analysis.pipeline import analyze


def main(arguments: list[str]) -> int:
    """Print the search space of the one model named; return the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m graph_analysis MODEL\n")
        return 2
    try:
        sys.stdout.write(explain(analyze(load_model(Path(arguments[0])))) + "\n")
    except SecateurError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
