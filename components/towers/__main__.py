"""What torchrun starts on every process of a training job, `torchrun -m components.towers`: the pipeline's step."""

import argparse
import sys
from pathlib import Path

from components.common.errors import TowerlineError
from components.towers.step import run


def main(arguments: list[str] | None = None) -> int:
    """Trains with the other processes; the first one writes the towers. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m components.towers", description=__doc__)
    parser.add_argument("--examples", type=Path, required=True, help="what build_features wrote")
    parser.add_argument("--out", type=Path, required=True, help="where the towers are written")
    parser.add_argument("--model", default="mgdspr", help="mgdspr, ueppr or mmse")
    parser.add_argument("--settings", default="{}", help="JSON object of overrides of the towers' settings")
    parser.add_argument("--checkpoints", default="", help="folder from which a killed training goes on")
    options = parser.parse_args(arguments)
    try:
        run(options.examples, options.out, options.model, options.settings, options.checkpoints)
    except TowerlineError as error:
        print(f"train: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
