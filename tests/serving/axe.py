"""axe-core, the accessibility checker, fetched once by npm where it is there; it never enters the repository."""

import functools
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.serving.browser import Browser

VERSION = "4.10.2"


@functools.cache
def script() -> str:
    """The checker's source. Skips the test with a reason where npm or its registry cannot be reached."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm on this machine to fetch axe-core with (apt-get install npm)")
    with tempfile.TemporaryDirectory(prefix="towerline-axe-") as folder:
        try:
            command = [npm, "pack", f"axe-core@{VERSION}", "--silent", "--pack-destination", folder]
            subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"axe-core {VERSION} cannot be fetched: {error}")
        with tarfile.open(next(Path(folder).glob("axe-core-*.tgz"))) as packed:
            source = packed.extractfile("package/axe.min.js")
            assert source is not None
            return source.read().decode()


def violations(browser: Browser) -> list[dict[str, Any]]:
    """What axe-core finds wrong with the open page, best practices included: rule, help and the elements."""
    browser.run(script() + "; 0")
    found = browser.run("axe.run().then((result) => JSON.stringify(result.violations))")
    return [
        {"rule": item["id"], "help": item["help"], "elements": [node["html"][:160] for node in item["nodes"]]}
        for item in json.loads(found)
    ]
