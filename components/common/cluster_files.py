"""Manifests of a cluster's objects, read from YAML files for the tasks that apply them."""

from pathlib import Path
from typing import Any

from components.common.errors import BadInput, NotFound


def objects_of(path: Path, kind: str) -> list[dict[str, Any]]:
    """The objects of one kind in a YAML file of several documents. Raises NotFound or BadInput."""
    import yaml

    try:
        documents = list(yaml.safe_load_all(Path(path).read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise NotFound(f"the manifest {path} does not exist.") from error
    except yaml.YAMLError as error:
        raise BadInput(f"the manifest {path} is not YAML: {error}.") from error
    return [item for item in documents if isinstance(item, dict) and item.get("kind") == kind]


def object_of(path: Path, kind: str) -> dict[str, Any]:
    """The one object of a kind in a YAML file, with its namespace. Raises NotFound or BadInput."""
    found = objects_of(path, kind)
    metadata = found[0].get("metadata") if len(found) == 1 else None
    if not isinstance(metadata, dict) or not metadata.get("namespace"):
        raise BadInput(f"{path} must hold one {kind} with its namespace: build it with kubectl kustomize.")
    return found[0]
