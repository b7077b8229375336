"""Runs the shell block of a document that is marked `<!-- run -->`, line by line, and fails on the first bad exit."""

import re
import subprocess
import sys
from pathlib import Path


def commands(text: str) -> list[str]:
    """The lines of every ```sh block that follows a `<!-- run -->` mark."""
    blocks = re.findall(r"<!-- run -->\s*```sh\n(.*?)```", text, flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip() and not line.startswith("#")]


def main(path: str) -> int:
    lines = commands(Path(path).read_text(encoding="utf-8"))
    if not lines:
        print(f"{path} has no block marked <!-- run -->", file=sys.stderr)
        return 1
    for line in lines:
        print(f"$ {line}", flush=True)
        code = subprocess.run(["bash", "-c", line], check=False).returncode
        if code:
            print(f"failed with exit code {code}: {line}", file=sys.stderr)
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
