"""Runs the Milvus server of the PyPI package `milvus` until standard input ends; prints its port as one JSON line.

Started by the tests with an interpreter that has the package (TOWERLINE_MILVUS_SERVER_PYTHON); arguments: the data
directory and the port (0: any free one).
"""

import json
import socket
import sys


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def reusable(config: object, port: int) -> socket.socket | None:
    """As the package's own probe, but a port whose last connections are still closing counts as free."""
    probe = socket.socket()
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind(("127.0.0.1", port))
    except OSError:
        probe.close()
        return None
    return probe


def main() -> None:
    """Starts, reports, waits, stops."""
    from milvus import MilvusServer, MilvusServerConfig

    MilvusServerConfig.try_bind_port = reusable
    directory, port = sys.argv[1], int(sys.argv[2]) or free_port()
    server = MilvusServer(MilvusServerConfig(data_dir=directory, proxy_port=port))
    server.start()
    print(json.dumps({"port": server.listen_port}), flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
