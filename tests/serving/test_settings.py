"""A setting that cannot work is refused by name before a server starts."""

import pytest

from components.common.errors import BadSetting
from components.common.settings import as_overrides, from_overrides
from components.serving.settings import ServingSettings


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"role": "all of them"}, "serving.role"),
        ({"cache": "maybe"}, "serving.cache"),
        ({"clock": "sundial"}, "serving.clock"),
        ({"environment": "moon"}, "serving.environment"),
        ({"role": "transformer"}, "serving.predictor_url"),
        ({"port": "65536"}, "serving.port"),
        ({"capacity": "0"}, "serving.capacity"),
        ({"tower_budget_ms": "-1"}, "serving.tower_budget_ms"),
        ({"default_k": "2000"}, "serving.default_k"),
        ({"log_level": "LOUD"}, "serving.log_level"),
        ({"record_share": "1.5"}, "serving.record_share"),
        ({"parallel_batches": "4"}, "serving.dependency_threads"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_name(given: dict[str, str], named: str) -> None:
    with pytest.raises(BadSetting, match=named):
        from_overrides(ServingSettings, given)


def test_the_defaults_survive_a_round_trip() -> None:
    assert from_overrides(ServingSettings, as_overrides(ServingSettings())) == ServingSettings()
