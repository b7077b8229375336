"""Models that only the ablations train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from components.common.settings import setting
from components.towers.interfaces import Negatives, Schema
from components.towers.losses.pairwise_hinge import PairwiseHinge
from components.towers.models import model_class
from components.towers.models.mgdspr import MGDSPR, MgdsprSettings


@dataclass(frozen=True)
class HingeSettings(MgdsprSettings):
    """MGDSPR's settings and a margin."""

    margin: float = setting(1.0, "margin of the pairwise hinge, in units of the score")


class HingeMGDSPR(MGDSPR):
    """MGDSPR with the pairwise hinge in the softmax's place: the baseline of its figure 5."""

    name: ClassVar[str] = "mgdspr_hinge"
    Settings: ClassVar[type[HingeSettings]] = HingeSettings

    def __init__(self, settings: HingeSettings, schema: Schema) -> None:
        super().__init__(settings, schema)
        self.softmax = _Hinge(settings.margin)  # type: ignore[assignment]


class _Hinge(nn.Module):
    """The pairwise hinge, called as MGDSPR calls its softmax."""

    def __init__(self, margin: float) -> None:
        super().__init__()
        self.hinge = PairwiseHinge(margin)

    def forward(self, queries: Tensor, positives: Tensor, negatives: Negatives, **inputs: Any) -> Tensor:
        """The loss of one batch, a scalar."""
        for name in ("generator", "search"):  # of the softmax alone
            inputs.pop(name, None)
        return self.hinge(queries, positives, negatives, **inputs)


def find_model(name: str) -> Any:
    """The class of a model or variant. Raises BadSetting for an unknown name."""
    return HingeMGDSPR if name == HingeMGDSPR.name else model_class(name)
