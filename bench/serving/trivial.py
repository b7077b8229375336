"""A KServe model that does nothing, on KServe's own server: what a request costs before anything is done with it.

python -m bench.serving.trivial --port 8199
"""

import argparse
import sys


def main() -> None:
    """Serves until stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8199)
    port = parser.parse_args().port
    sys.argv = sys.argv[:1]
    from kserve import Model, ModelServer

    class Trivial(Model):
        """Answers with an empty list."""

        async def predict(self, payload, headers=None, response_headers=None):  # type: ignore[no-untyped-def]
            return {"predictions": []}

    model = Trivial("retrieval")
    model.load()
    ModelServer(http_port=port, enable_grpc=False, enable_latency_logging=False).start([model])


if __name__ == "__main__":
    main()
