"""The files of trained towers are part of a release's format: a change of theirs counts it up."""

from components.common.manifest import FORMAT
from tests.common.layout import ADVICE, layout_of

OF_FORMAT = {
    2: {
        "model.json": ["dimension", "feature_service", "name", "needs", "schema", "score", "settings", "simulated",
                       "source", "trained", "window", "windows"],
        "vocabulary.parquet": ["unit", "token", "documents", "buckets", "documents", "fields", "price_levels"],
        "catalogue.parquet": ["product_id", "id_row", "leaf", "top", "brand", "shop", "price_level",
                              "text:character_3grams", "text:stem_bigrams", "text:stems"],
        "training.json": ["best_step", "curve", "device", "examples", "processes", "stopped_early"],
        "towers.safetensors": [], "query_tower.onnx": [], "item_tower.onnx": [],
    },
}  # fmt: skip


def test_the_layout_of_towers_is_that_of_the_format(towers):
    assert layout_of(towers) == OF_FORMAT.get(FORMAT), ADVICE
