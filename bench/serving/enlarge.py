"""A work directory whose release has many more products than were ever trained on, to measure serving at that size.

    python -m bench.serving.enlarge --workdir .towerline --products 1000000 --output /tmp/million

The release keeps the towers of the served one. Its products are copies of the served catalogue with new ids; each
vector is moved by noise and scaled to unit length again, so queries meet the density they meet in the original.
Simulated. The search is tuned as for any release; a Milvus collection is not built, as the embedded server opens none.
"""

import argparse
import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.common.files import link_tree, read_json, staged_directory, write_json
from components.common.manifest import (
    Release,
    current_release_id,
    fingerprint_files,
    read_release,
    release_directory,
    set_current,
    write_release,
)
from components.common.settings import from_overrides
from components.index.boosting import Boosting
from components.index.codes import Codes
from components.index.golden import read_golden, refresh_golden, write_golden
from components.index.postings import Postings
from components.index.products import stored_names, with_scalars
from components.index.search import open_search
from components.index.settings import IndexSettings
from components.index.terms import Terms, product_words
from components.index.tuning import exact_results, tune_resident
from components.index.vectors import extend_queries, load_vectors, unit

NOISE = 0.3
"""Length of the noise added to a unit vector: copies of a product lie closer to it than most other products do."""


def enlarged_catalogue(index: Path, count: int, seed: int) -> tuple[pa.Table, np.ndarray]:
    """`count` products and their vectors float32 [count, d], made from a release's index directory."""
    products = pq.read_table(index / "products.parquet")
    products = products.drop_columns([name for name in stored_names() if name in products.column_names])
    vectors = np.array(load_vectors(index / "vectors.npy"))
    rng = np.random.default_rng(seed)
    rows = np.arange(count) % len(vectors)
    noise = rng.standard_normal((count, vectors.shape[1]), dtype=np.float32)
    made = unit(vectors[rows] + noise * (NOISE / vectors.shape[1] ** 0.5))
    ids = pa.array([f"p{number:08d}" for number in range(count)])
    place = products.column_names.index("product_id")
    return products.take(pa.array(rows)).set_column(place, "product_id", ids), made


def enlarge(workdir: Path, output: Path, count: int, settings: IndexSettings, seed: int = 17) -> Release:
    """Writes and promotes the release in `output`, beside a copy of the feature store; returns it."""
    parent = read_release(workdir, str(current_release_id(workdir)))
    index = parent.path("index")
    plan = read_json(index / "search.json")
    boosting = Boosting.read(index / "boosting.json")
    if boosting.on:
        raise SystemExit("this makes copies of plain vectors; take a release without product boosting.")
    products, vectors = enlarged_catalogue(index, count, seed)
    queries = np.load(index / "queries.npy")
    release_id = f"{parent.release_id[:15]}-{count}"
    shutil.copytree(Path(workdir) / "feature_store", output / "feature_store", dirs_exist_ok=True)
    with staged_directory(release_directory(output, release_id)) as stage:
        link_tree(parent.path("towers"), stage / "towers")
        write_json(stage / "evaluation.json", read_json(parent.path("evaluation.json")))
        made = stage / "index"
        made.mkdir()
        np.save(made / "vectors.npy", vectors)
        np.save(made / "queries.npy", queries)
        codes, terms = Codes.learn(products), Terms.read(index / "terms.json")
        pq.write_table(with_scalars(products, codes.columns(products)), made / "products.parquet", compression="zstd")
        codes.write(made / "codes.json")
        terms.write(made / "terms.json")
        Postings.build(product_words(product, terms.units) for product in products.to_pylist()).write(made)
        boosting.write(made / "boosting.json")
        extended = extend_queries(queries, boosting.weights, plan["score"] == "cosine")
        exact = exact_results(vectors, extended, settings.recall_k)
        resident, curve = tune_resident(vectors, extended, exact, settings, made / "resident.faiss")
        sized = {"release": release_id, "products": count, "resident": resident, "curve": curve}
        write_json(made / "search.json", {**plan, **sized})
        for row in curve:
            print(row, flush=True)
        with open_search(stage, IndexSettings(search="resident")) as searcher:
            write_golden(stage / "golden.json", refresh_golden(read_golden(parent.directory), searcher))
        files = fingerprint_files(stage)
        made_release = dataclasses.replace(parent, release_id=release_id, files=files, parent=None, directory=stage)
        write_release(made_release)
    set_current(output, release_id)
    return read_release(output, release_id)


def main() -> None:
    """Makes it and says which search was chosen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, default=Path(".towerline"))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--products", type=int, default=43_000)
    parser.add_argument("--engines", default="", help="index.engines, such as exact,ivf_flat (default: the room's)")
    options = parser.parse_args()
    settings = from_overrides(IndexSettings, {"engines": options.engines} if options.engines else None)
    release = enlarge(options.workdir, options.output, options.products, settings)
    print(read_json(release.path("index", "search.json"))["resident"])


if __name__ == "__main__":
    main()
