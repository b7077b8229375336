"""The files of an index are part of a release's format: a change of theirs counts it up."""

from components.common.manifest import FORMAT
from tests.common.layout import ADVICE, layout_of

OF_FORMAT = {
    2: {
        ".": {
            "release.json": ["boosting", "code", "collection", "created_at", "environment", "evaluation",
                             "feature_service", "files", "format", "log", "milvus", "model", "parent", "release_id",
                             "settings", "simulated"],
        },
        "index": {
            "boosting.json": ["features", "on", "quantiles", "report", "weights"],
            "codes.json": ["category_levels", "missing", "values"],
            "search.json": ["curve", "dimension", "milvus", "products", "recall_k", "release", "relevance", "resident",
                            "score", "settings", "stored_dimension", "tuned_on"],
            "terms.json": ["kinds", "model_shapes", "terms", "units"],
            "words.parquet": ["word"],
            "posting_offsets.npy": [], "postings.npy": [], "queries.npy": [], "vectors.npy": [],
        },
    },
}  # fmt: skip


def test_the_layout_of_an_index_is_that_of_the_format(shop):
    release = shop[2]
    of_format = OF_FORMAT.get(FORMAT, {})
    manifest = layout_of(release.directory)["release.json"]
    files = layout_of(release.path("index"))
    products = files.pop("products.parquet")
    assert {".": {"release.json": manifest}, "index": files} == of_format, ADVICE
    assert {"product_id", "title", "brand_code", "shop_code", "price_code", "in_stock_code"} <= set(products), ADVICE
