"""The two tables of the ablations: what is trained, and what the papers say of it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from components.common.errors import BadInput, BadSetting

HERE = Path(__file__).parent
BASELINES = ("bm25", "random_walk")
"""Rows that are computed, not trained: one run, whatever the seeds."""


@dataclass(frozen=True)
class Configuration:
    """One row: `name` is "group.row", `model` a model, variant or baseline, `settings` its overrides as strings.

    boosts: the row whose towers it takes, to find weights of product quality for them; "" for a row of its own.
    """

    name: str
    model: str
    settings: dict[str, str]
    boosts: str = ""

    @property
    def trained(self) -> bool:
        """Whether seeds make a difference."""
        return self.model not in BASELINES


@dataclass(frozen=True)
class Claim:
    """One sentence of a paper; `worse` may end in "*": the best of those rows on the validation searches."""

    paper: str
    says: str
    effect: str
    better: str
    worse: str
    metric: str
    slice: str = "all"
    kind: str = "difference"


def read_configurations(groups: list[str], overrides: dict[str, str], path: Path | None = None) -> list[Configuration]:
    """The rows of these groups, in order. Raises BadSetting for an unknown group."""
    body = _read(path or HERE / "configurations.toml")
    unknown = [group for group in groups if group not in body]
    if unknown:
        raise BadSetting(f"there is no group {unknown[0]!r} of ablations; known groups: {', '.join(body)}.")
    rows = []
    for group in groups:
        table = body[group]
        for name, own in table["rows"].items():
            boosts = own.get("boosts", "")
            merged = {**table.get("common", {}), **(table["rows"][boosts] if boosts else own)}
            model = merged.pop("model", table["model"])
            settings = {key: _text(value) for key, value in merged.items()} | overrides
            whose = f"{group}.{boosts}" if boosts else ""
            rows.append(Configuration(f"{group}.{name}", model, settings if model not in BASELINES else {}, whose))
    return rows


def read_claims(names: list[str], path: Path | None = None) -> list[Claim]:
    """The claims whose rows are all among `names`. Raises BadInput for a claim about a row that exists nowhere."""
    claims = [Claim(**entry) for entry in _read(path or HERE / "claims.toml")["claim"]]
    known = [row.name for row in read_configurations(list(_read(HERE / "configurations.toml")), {})]
    for claim in claims:
        for pattern in (claim.better, claim.worse):
            if not rows_of(pattern, known):
                raise BadInput(f"claims.toml: {claim.says!r} names {pattern!r}, which configurations.toml lacks.")
    return [claim for claim in claims if rows_of(claim.better, names) and rows_of(claim.worse, names)]


def rows_of(pattern: str, names: list[str]) -> list[str]:
    """The rows a claim's pattern means."""
    return [name for name in names if fnmatch(name, pattern)]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        return tomllib.load(file)
