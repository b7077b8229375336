"""The house's own rules: data flows down the rooms, platforms stay in their rooms, importing a room is cheap."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from components.common.code import ROOMS

ROOT = Path(__file__).resolve().parents[1]
PLATFORMS = {
    "kfp": {"runs"},
    "feast": {"features"},
    "pymilvus": {"index", "serving"},
    "kserve": {"serving"},
    "great_expectations": {"validation"},
    "tfx_bsl": {"validation"},
    "bm25s": {"evaluation", "serving"},
}
"""Who may import what, besides `pipeline.py` and the component.py files, which alone may import kfp."""
HEAVY = ("feast", "great_expectations", "tensorflow", "kserve", "pymilvus", "torch", "kfp")


def sources(room):
    return [path for path in (ROOT / "components" / room).rglob("*.py") if path.name != "component.py"]


def imported(path):
    """Modules imported anywhere in a file, also inside functions."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.append(node.module)
    return names


@pytest.mark.parametrize("room", [room for room in ROOMS if room not in ("common", "runs")])
def test_a_room_imports_from_rooms_above_it_alone(room):
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(room)
        for name in imported(path)
        if name.startswith("components.") and name.split(".")[1] not in allowed
    ]
    assert wrong == []


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_platform_is_known_in_its_own_room_alone(platform):
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for room in ROOMS
        if room not in PLATFORMS[platform]
        for path in sources(room)
        for name in imported(path)
        if name.split(".")[0] == platform
    ]
    assert wrong == []


def test_the_towers_need_nothing_of_the_platform():
    wrong = {
        name.split(".")[0]
        for path in sources("towers")
        for name in imported(path)
        if name.split(".")[0] in {"feast", "kfp", "pymilvus", "kserve", "great_expectations", "tensorflow", "pandas"}
    }
    assert wrong == set()


@pytest.mark.parametrize("room", ROOMS)
def test_importing_a_rooms_step_is_cheap(room):
    module = f"components.{room}" if room == "common" else f"components.{room}.step"
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    expected = ["torch"] if room == "towers" else []
    assert done.stdout.strip() == str(expected), f"importing {module} also imports {done.stdout.strip()}"


def test_components_are_thin():
    for path in (ROOT / "components").glob("*/component.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                statements = [item for item in node.body if not isinstance(item, ast.Import | ast.ImportFrom)]
                assert len(statements) <= 8, f"{path.relative_to(ROOT)}: {node.name} holds logic"


def test_what_is_imported_is_declared():
    """A package that another one happens to bring along may be gone, or another, with its next version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [name for names in (project["dependencies"], *project["optional-dependencies"].values()) for name in names]
    declared = {re.split(r"[\[<>=]", name)[0].lower().replace("_", "-") for name in wanted}
    files = [ROOT / "pipeline.py", *(ROOT / "components").rglob("*.py"), *(ROOT / "feature_repo").rglob("*.py")]
    packages = {name.split(".")[0] for path in files for name in imported(path)}
    others = packages - sys.stdlib_module_names - {"components", "feature_repo", "pipeline"}
    assert others
    providers = packages_distributions()
    by = {name: {it.lower().replace("_", "-") for it in providers.get(name, [name])} for name in others}
    missing = {name for name in others if not by[name] & declared}
    assert missing == set()


def test_nothing_is_loaded_that_can_run_code():
    wrong = [
        f"{path.relative_to(ROOT)} uses {name}"
        for path in (ROOT / "components").rglob("*.py")
        for name in imported(path)
        if name.split(".")[0] in {"pickle", "joblib", "dill", "shelve", "marshal"}
    ]
    assert wrong == []
