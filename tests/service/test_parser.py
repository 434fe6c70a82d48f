# SPDX-License-Identifier: BSD-3-Clause
"""The strict parser must itself be able to fail, or the other tests show nothing."""
import contextlib
import socket
import threading

import pytest

from nats import SUBJECT, NatsError
from sse import (HEAD, ChunkedParser, Event, Greeting, IdentityParser, Keepalive, Malformed, Stream,
                 format_chunk, format_event, parse_block)

GOOD = format_event(1673546928028060)


def test_event_bytes():
    assert GOOD == (b"id: 1673546928028060\nevent: environment_updated\n"
                    b'data: {"updated_at": 1673546928.028060}\n\n')
    assert parse_block(GOOD) == Event(1673546928028060)
    assert parse_block(b": flagsse\nretry: 1234\n\n") == Greeting(1234)
    assert parse_block(b":\n\n") == Keepalive()


@pytest.mark.parametrize("block", [
    b"",
    b"\n\n",
    b":\n",
    b": \n\n",
    b"\xef\xbb\xbf" + GOOD,
    GOOD.replace(b"\n", b"\r\n"),
    GOOD.replace(b"\n", b"\r"),
    GOOD[:-1],
    GOOD + b"\n",
    GOOD + GOOD,
    GOOD.replace(b": ", b":", 1),
    GOOD.replace(b"data: ", b"data:  "),
    GOOD.replace(b"data: ", b"Data: "),
    GOOD.replace(b"event: environment_updated\n", b""),
    GOOD.replace(b"id: 1673546928028060\n", b""),
    GOOD.replace(b"id: 1673546928028060", b"id: 1673546928028061"),
    GOOD.replace(b"environment_updated", b"message"),
    GOOD.replace(b"028060}", b"02806}"),
    GOOD.replace(b".028060}", b"}"),
    GOOD.replace(b'"updated_at": ', b'"updated_at":'),
    GOOD.replace(b"\n\n", b"\ndata: more\n\n"),
    GOOD.replace(b"\n\n", b"\n: comment\n\n"),
    b"comment: x\n\n",
    b"retry: 0\n\n",
    b": flagsse\nretry: 0\n\n",
    b": flagsse\nretry: 10.5\n\n",
    b"data: 1\n\n",
    "data: ü\n\n".encode(),
])
def test_bad_blocks(block):
    with pytest.raises(Malformed):
        parse_block(block)


def test_chunks_in_any_pieces():
    data = b"".join(map(format_chunk, [b"a", b"b" * 300, GOOD])) + b"0\r\n\r\n"
    for size in (1, 2, 3, 7, 100, len(data)):
        parser = ChunkedParser()
        chunks = []
        for start in range(0, len(data), size):
            assert not parser.finished
            chunks += parser.feed(data[start:start + size])
        assert chunks == [b"a", b"b" * 300, GOOD]
        assert parser.clean


@pytest.mark.parametrize("data", [
    b"g\r\na\r\n",
    b"1\na\n",
    b"01\r\na\r\n",
    b"1;x=y\r\na\r\n",
    b" 1\r\na\r\n",
    b"1\r\nab\r\n",
    b"\r\n",
    b"00\r\n\r\n",
    b"0\r\nX: y\r\n\r\n",
    b"0\r\n\r\nmore",
    b"123456789a",
])
def test_bad_chunks(data):
    with pytest.raises(Malformed):
        ChunkedParser().feed(data)


def test_nothing_after_the_last_chunk():
    parser = ChunkedParser()
    assert parser.feed(b"0\r\n\r\n") == [] and parser.finished
    with pytest.raises(Malformed):
        parser.feed(b"x")


def test_identity():
    parser = IdentityParser()
    assert parser.feed(GOOD[:20]) == []
    assert not parser.clean
    assert parser.feed(GOOD[20:] + b":\n\n") == [GOOD, b":\n\n"]
    assert parser.clean


def serve(*pieces, reset=False):
    """A server for one connection that says just this."""
    listener = socket.create_server(("127.0.0.1", 0))

    def work():
        with listener, listener.accept()[0] as sock:
            sock.recv(65536)
            with contextlib.suppress(OSError):  # the client may have seen enough already
                for piece in pieces:
                    sock.sendall(piece)
            if reset:  # closing with a zero linger time sends RST
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    threading.Thread(target=work, daemon=True).start()
    return listener.getsockname()


HELLO = format_chunk(b": flagsse\nretry: 1000\n\n")


def test_stream_reads_a_good_server():
    with Stream(serve(HEAD["1.1"], HELLO, format_chunk(GOOD), b"0\r\n\r\n"), "k") as stream:
        assert stream.retry == 1000
        assert stream.event() == 1673546928028060
        assert stream.end() == []


@pytest.mark.parametrize("pieces, reset", [
    ((HEAD["1.1"], HELLO), False),
    ((HEAD["1.1"], HELLO, format_chunk(GOOD)[:-1]), False),
    ((HEAD["1.1"], HELLO, format_chunk(GOOD + GOOD)), False),
    ((HEAD["1.1"], HELLO, HELLO, b"0\r\n\r\n"), False),
    ((HEAD["1.1"], format_chunk(GOOD), b"0\r\n\r\n"), False),
    ((HEAD["1.1"].replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b\r\n\r\n"), HELLO, b"0\r\n\r\n"), False),
    ((HEAD["1.1"], HELLO, b"0\r\n\r\n"), True),
])
def test_stream_notices_a_bad_server(pieces, reset):
    with pytest.raises((AssertionError, OSError)):
        Stream(serve(*pieces, reset=reset), "k").end(3)


def test_nats_helper(start):
    """The client beside the daemon's own library, against the real server."""
    with start.nats().client() as client:
        with pytest.raises(NatsError):
            client.stream_info()
        client.create_stream()
        with client.__class__(client.sock.getpeername()[1]) as other:
            other.subscribe(SUBJECT + "*")
            assert client.store("a", b"one")["seq"] == 1
            assert client.store("a", b"two", [("Nats-Msg-Id", "x")])["seq"] == 2
            assert client.store("a", b"two", [("Nats-Msg-Id", "x")])["duplicate"]
            messages = [other.next_message() for _ in range(3)]
            assert [m.payload for m in messages] == [b"one", b"two", b"two"]
            assert messages[1].headers == [("Nats-Msg-Id", "x")]
        last = client.last_message("a")
        assert last.payload == b"two" and last.headers == [("Nats-Msg-Id", "x")]
        assert client.last_message("b") is None
        assert client.stream_info()["state"]["messages"] == 1
        client.purge_stream()
        assert client.last_message("a") is None
        client.delete_stream()
