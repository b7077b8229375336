"""A KServe model that does nothing, on KServe's own server: what a request costs before anything is done with it.

python -m bench.serving.trivial --port 8199 --products 100
"""

import argparse
import sys


def main() -> None:
    """Serves until stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8199)
    parser.add_argument("--products", type=int, default=0, help="made-up products in each answer")
    options = parser.parse_args()
    sys.argv = sys.argv[:1]
    from kserve import Model, ModelServer

    products = [{"product_id": f"p{number:08}", "score": 1 / (number + 3)} for number in range(options.products)]
    answer = {"predictions": [{"products": products, "release": "none", "degraded": False}]}

    class Trivial(Model):
        """Gives the same answer to everything."""

        async def predict(self, payload, headers=None, response_headers=None):  # type: ignore[no-untyped-def]
            return answer

    model = Trivial("retrieval")
    model.load()
    ModelServer(http_port=options.port, enable_grpc=False, enable_latency_logging=False).start([model])


if __name__ == "__main__":
    main()
