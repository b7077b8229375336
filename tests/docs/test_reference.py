"""What the reference pages list is what the code has: settings, commands, columns, routes, metrics, fields, files."""

import dataclasses
import json
import re
import tomllib
import urllib.request

import pytest

from components.common.manifest import Release
from components.logs.contract import TABLES
from components.runs.arguments import MODELS
from components.runs.settings import ROOMS, settings_class
from components.serving.events import FIELDS as EVENT_FIELDS
from components.serving.http_client import HttpClient
from components.serving.requests import FILTER_FIELDS, INSTANCE_FIELDS
from docs.reference.generate import ENVIRONMENT
from docs.reference.generate import pages as generated_pages
from tests.docs.pages import CLUSTER, DOCS, ROOT, pages
from tests.serving.conftest import server  # noqa: F401 - a fixture

WRITTEN = [path for path in pages() if path not in generated_pages()]
ENDPOINT, CONTRACT, RELEASE = (DOCS / "reference" / f"{name}.md" for name in ("endpoint", "data-contract", "release"))
ABLATIONS = tomllib.loads((ROOT / "bench" / "ablations" / "configurations.toml").read_text(encoding="utf-8"))
ABLATION_NAMES = set(ABLATIONS) | {f"{group}.{row}" for group in ABLATIONS for row in ABLATIONS[group]["rows"]}


def text(path):
    return path.read_text(encoding="utf-8")


def section(path, title):
    """The text under a heading of the second level."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text(path), flags=re.DOTALL | re.MULTILINE)
    assert found, f"{path.name} has no section {title!r}"
    return found[1]


def first_cells(part):
    """The names in backticks in the first column of the tables of a section."""
    rows = [line for line in part.splitlines() if line.startswith("| `")]
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row.split(" | ")[0])]


@pytest.mark.parametrize("path", generated_pages(), ids=lambda path: path.name)
def test_a_page_written_from_the_code_is_up_to_date(path):
    wanted = generated_pages()[path]
    assert text(path) == wanted, "run: python docs/reference/generate.py"


@pytest.mark.parametrize("table", TABLES)
def test_the_contract_page_has_every_column_with_its_type_and_whether_it_is_needed(table):
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in section(CONTRACT, table).splitlines()
        if line.startswith("| `")
    ]
    found = [(row[0].strip("` "), row[1], row[2]) for row in rows]
    wanted = [(field.name, str(field.type), "optional" if field.nullable else "required") for field in TABLES[table]]
    assert found == [(name, kind.split(" ('")[0], needed) for name, kind, needed in wanted]


def test_every_environment_variable_of_the_code_is_explained_and_no_other():
    files = [
        ROOT / "pipeline.py",
        *(path for name in ("components", "feature_repo") for path in (ROOT / name).rglob("*")),
    ]
    found = {
        name
        for path in files
        if path.suffix in (".py", ".yaml")
        for name in re.findall(r"TOWERLINE_[A-Z]+(?:_[A-Z]+)*", text(path))
    }
    explained = {name.removesuffix("_<ROOM>") for variables in ENVIRONMENT.values() for name in variables}
    assert {name.replace("TOWERLINE_IMAGE_TOWERS", "TOWERLINE_IMAGE") for name in found} == explained


def test_the_release_page_has_every_field_of_the_manifest():
    fields = {field.name for field in dataclasses.fields(Release)} - {"directory"}
    assert set(first_cells(section(RELEASE, "release.json"))) == fields | {"format"}


def test_the_endpoint_page_has_every_route_of_the_openapi_document(server):  # noqa: F811
    with urllib.request.urlopen(f"{server.url}/openapi.json", timeout=30) as answer:
        paths = json.load(answer)["paths"]
    routes = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert set(first_cells(section(ENDPOINT, "Routes"))) == routes | {"GET /"}


def test_the_endpoint_page_has_every_field_of_a_request():
    assert set(first_cells(section(ENDPOINT, "Search"))) == set(INSTANCE_FIELDS)
    assert set(first_cells(section(ENDPOINT, "Events"))) == set(EVENT_FIELDS)
    filters = next(line for line in section(ENDPOINT, "Search").splitlines() if line.startswith("| `filter`"))
    assert set(FILTER_FIELDS) <= set(re.findall(r"`([^`]+)`", filters))


def test_the_endpoint_page_has_every_field_of_an_explanation(server):  # noqa: F811
    body = {"instances": [{"query": "lamp", "user_id": "u1", "k": 1}]}
    with HttpClient(server.url, timeout=60) as client:
        (explained,) = client.post("/v1/models/retrieval:explain", body)["explanations"]
    (product,) = explained["products"]
    fields = {f"products[].{name}" for name in product} | set(explained) - {"products"}
    prediction = {"products[].product_id", "products[].score", "release", "degraded"}
    assert set(first_cells(section(ENDPOINT, "Explain"))) == fields - prediction


def test_the_endpoint_page_has_every_metric_with_its_labels(metrics_registry):
    documented = {}
    for line in section(ENDPOINT, "Metrics").splitlines():
        if line.startswith("| `towerline"):
            _, name, labels, _, _ = re.split(r"\s*\|\s*", line)
            documented[name.strip("`")] = set(re.findall(r"`([^`]+)`", labels))
    assert documented == metrics_registry


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_every_metric_a_page_names_exists(path, metrics_registry):
    known = {f"{name}{end}" for name in metrics_registry for end in ("", "_bucket", "_sum", "_count")}
    assert set(re.findall(r"\btowerline_(?!\.)[a-z_]+[a-z]\b(?=\{|\[|`|\)| )", text(path))) <= known


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_every_setting_a_page_names_exists(path):
    known = {
        f"{room}.{field.name}"
        for room in ROOMS
        for model in MODELS
        for field in dataclasses.fields(settings_class(room, model))
    }
    named = re.findall(rf"`((?:{'|'.join(ROOMS)})\.(?!json)[a-z_0-9]+)(?:=[^`]*)?`", text(path))
    assert set(named) - ABLATION_NAMES <= known


@pytest.mark.parametrize("path", sorted((DOCS / "papers").glob("*.md")), ids=lambda path: path.name)
def test_every_ablation_a_page_names_is_configured(path):
    rows = [line for line in text(path).splitlines() if line.startswith("| ablation |")]
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert named <= ABLATION_NAMES
    assert named


@pytest.mark.parametrize("path", [*pages(), ROOT / "README.md"], ids=lambda path: path.name)
def test_every_link_leads_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", text(path)):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        found = (path.parent / name).resolve() if name else path
        assert found.exists(), f"{path.name} links to {target}"
        if anchor:
            heads = [_anchor(line.lstrip("# ")) for line in text(found).splitlines() if line.startswith("#")]
            assert anchor in heads, f"{path.name} links to {target}"


def test_the_sections_of_the_report_that_the_tutorial_names_exist():
    report = text(ROOT / "components" / "runs" / "report.html.j2")
    named = re.findall(r"\*\*([^*]+)\*\*", section(DOCS / "tutorial.md", "3. Read the report"))
    assert named
    assert [name for name in named if f">{name}</a>" not in report] == []


def test_every_picture_is_small_shown_and_said_to_be_simulated():
    shown = {
        (path.parent / target).resolve(): words + caption
        for path in (*pages(), ROOT / "README.md")
        for words, target, caption in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)(?=\n\n(.*))", text(path))
    }
    pictures = sorted((DOCS / "pictures").glob("*"))
    assert set(pictures) == set(shown)
    assert [path.name for path in pictures if path.stat().st_size > 150_000] == []
    assert [words for words in shown.values() if "simulated" not in words] == []


def test_the_index_names_every_page():
    linked = {(DOCS / target).resolve() for target in re.findall(r"\]\(([^)#]+\.md)\)", text(DOCS / "README.md"))}
    assert {path for path in pages() if path.name != "README.md"} <= linked
    assert CLUSTER in linked


def _anchor(heading):
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
