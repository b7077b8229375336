"""Head and body of an answer go out together, and nothing is ever kept back for longer than a turn of the loop."""

import asyncio
import json
import socket
from urllib.parse import urlsplit

import pytest

from components.serving.one_write import _HeadWithBody
from tests.serving.conftest import RunningServer

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"


class Transport:
    """What was written, call by call."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.written.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


@pytest.fixture
def transport() -> Transport:
    return Transport()


def in_a_loop(transport: Transport, *writes: bytes, turns: int = 0, close: bool = False) -> None:
    async def act() -> None:
        wrapped = _HeadWithBody(transport, asyncio.get_running_loop())  # type: ignore[arg-type]
        for data in writes:
            wrapped.write(data)
        for _ in range(turns):
            await asyncio.sleep(0)
        if close:
            wrapped.close()
        assert wrapped.is_closing() == close

    asyncio.run(act())


def test_head_and_body_are_one_write(transport: Transport) -> None:
    in_a_loop(transport, HEAD, b"body", turns=2)
    assert transport.written == [HEAD + b"body"]


def test_a_head_without_a_body_goes_in_the_next_turn(transport: Transport) -> None:
    in_a_loop(transport, HEAD, turns=2)
    assert transport.written == [HEAD]


def test_parts_of_a_long_answer_go_as_they_come(transport: Transport) -> None:
    in_a_loop(transport, HEAD, b"4\r\nbody\r\n", b"0\r\n\r\n")
    assert transport.written == [HEAD + b"4\r\nbody\r\n", b"0\r\n\r\n"]


def test_a_head_after_an_interim_answer_keeps_its_place(transport: Transport) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    in_a_loop(transport, interim, HEAD, b"body")
    assert b"".join(transport.written) == interim + HEAD + b"body"


def test_closing_loses_nothing(transport: Transport) -> None:
    in_a_loop(transport, HEAD, close=True)
    assert transport.written == [HEAD]
    assert transport.closed


def test_an_answer_of_the_server_arrives_in_one_piece(server: RunningServer) -> None:
    address = urlsplit(server.url)
    body = json.dumps({"instances": [{"query": "lamp"}]}).encode()
    head = f"POST /v1/models/retrieval:predict HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.create_connection((str(address.hostname), int(address.port or 0)), 30) as connection:
        connection.sendall(head.encode() + body)
        answer, _, content = connection.recv(65_536).partition(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert len(json.loads(content)["predictions"]) == 1
