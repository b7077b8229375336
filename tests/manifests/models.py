"""A walker over generated OpenAPI models: unknown fields and wrong types of a manifest, at any depth.

kserve, the Kubernetes client and the training operator's client describe every field of their kinds in
`openapi_types` (name -> type) and `attribute_map` (name -> name in JSON); their constructors do not check them.
"""

import re
from typing import Any

_SCALARS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "datetime": (str,),
    "object": (object,),
}
_FREE = {"IntstrIntOrString": (int, str), "ResourceQuantity": (int, float, str), "V1FieldsV1": (dict,)}
"""Types that are scalars in JSON although the models name them like objects."""
_QUANTITY = re.compile(r"^\d+(\.\d+)?(m|[kMGTPE]i?)?$")


_UNITS = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "": 1}


def quantity(text: str) -> float:
    """A quantity such as 4Gi as a number; KeyError for a unit that memory has not."""
    number, unit = re.fullmatch(r"([\d.]+)(\w*)", text).groups()  # type: ignore[union-attr]
    return float(number) * _UNITS[unit]


def faults(value: Any, kind: str, models: list[Any], path: str = "") -> list[str]:
    """A sentence for every field that `kind` does not have or that has another type."""
    container = re.fullmatch(r"(list|dict)(?:\(str, (.+)\)|\[(.+)\])", kind)
    if container:
        inner = container[2] or container[3]
        if container[1] == "list":
            if not isinstance(value, list):
                return [f"{path} must be a list, not {value!r}"]
            items = [(f"{path}[{number}]", item) for number, item in enumerate(value)]
        else:
            if not isinstance(value, dict):
                return [f"{path} must be a mapping, not {value!r}"]
            items = [(f"{path}.{name}", item) for name, item in value.items()]
        return [fault for where, item in items for fault in faults(item, inner, models, where)]
    if kind in _FREE or kind in _SCALARS:
        return _scalar(value, kind, path)
    model = _model(kind, models)
    if not isinstance(value, dict):
        return [f"{path} must be an object ({kind}), not {value!r}"]
    names = {json: attribute for attribute, json in model.attribute_map.items()}
    found = [f"{path}.{name} is no field of {kind}" for name in value if name not in names]
    for name, item in value.items():
        if name in names:
            found += faults(item, _type_of(kind, name, model.openapi_types[names[name]]), models, f"{path}.{name}")
    return found


def _type_of(kind: str, name: str, declared: str) -> str:
    """The declared type, but quantities by their own name: the Kubernetes client calls them texts."""
    return "dict(str, ResourceQuantity)" if kind.endswith("ResourceRequirements") and name != "claims" else declared


def _scalar(value: Any, kind: str, path: str) -> list[str]:
    allowed = _SCALARS.get(kind) or _FREE[kind]
    wrong = not isinstance(value, allowed) or (isinstance(value, bool) and kind not in ("bool", "object"))
    if kind == "ResourceQuantity" and not wrong and not _QUANTITY.match(str(value)):
        return [f"{path} must be a quantity such as 500m or 4Gi, not {value!r}"]
    return [f"{path} must be {kind}, not {value!r}"] if wrong else []


def _model(kind: str, models: list[Any]) -> Any:
    for module in models:
        if hasattr(module, kind):
            return getattr(module, kind)
    # Kubernetes' own objects under the names that other generators give them.
    plain = re.sub(r"^K8sIoApi\w+?(V\d)", r"\1", kind)
    for module in models:
        if hasattr(module, plain):
            return getattr(module, plain)
    raise LookupError(f"no model is named {kind}")
