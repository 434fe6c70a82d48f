# SPDX-License-Identifier: BSD-3-Clause
"""The very end of a process that nobody follows: whoever asks in it has an answer, and nobody a reset."""
import signal
from collections import Counter

import pytest

from daemon import authorization, fresh_time_us, isoformat
from sse import HEAD, format_subscription
from wire import Connection, format_request

CLIENTS = 200  # more than are accepted in a turn


@pytest.fixture
def stopped(start):
    """A daemon that is not let run: what clients send stays in the kernel until it is told to end."""
    daemon = start.daemon()
    yield daemon
    daemon.kill()


def end(daemon, *numbers):
    for number in numbers:
        daemon.signal(number)
    daemon.signal(signal.SIGCONT)


def format_publish(daemon, key):
    body = b'{"updated_at": "%s"}' % isoformat(fresh_time_us()).encode()
    return format_request(daemon.address, "POST", f"/sse/environments/{key}/queue-change", [authorization()], body)


def outcome(connection):
    """What became of a request: its answer's status, and whether the connection ended in good order."""
    try:
        response = connection.read_response()
        assert response.header("Connection") == "close"
        return response.status, connection.read_rest() == b""
    except (OSError, EOFError, AssertionError) as error:
        return type(error).__name__, str(error)
    finally:
        connection.close()


def test_publishers_that_wait_to_be_accepted(stopped, key):
    stopped.signal(signal.SIGSTOP)
    clients = [Connection(stopped.address) for _ in range(CLIENTS)]
    for client in clients:
        client.send(format_publish(stopped, key))
    end(stopped, signal.SIGTERM)
    assert Counter(map(outcome, clients)) == {(200, True): CLIENTS}
    stopped.wait_exit()


def test_publishers_with_idle_connections(stopped, key):
    """Those that have just asked have their answers; the others a clean end."""
    clients = [Connection(stopped.address) for _ in range(40)]
    for client in clients:
        client.send(format_publish(stopped, key))
    assert Counter(client.read_response().status for client in clients) == {200: len(clients)}
    stopped.signal(signal.SIGSTOP)
    asking, idle = clients[::2], clients[1::2]
    for client in asking:
        client.send(format_publish(stopped, key))
    end(stopped, signal.SIGTERM)
    assert Counter(map(outcome, asking)) == {(200, True): len(asking)}
    assert Counter(map(outcome, idle)) == {("EOFError", "the connection ended after b''"): len(idle)}
    stopped.wait_exit()


def read_to_end(client):
    """All that comes; None: no clean end."""
    text = b""
    try:
        while data := client.sock.recv(65536):
            text += data
    except OSError:
        return None
    finally:
        client.close()
    return text


def test_subscribers_that_wait_to_be_accepted(stopped, key):
    """A stream that ends as any does, at the first attempt: some never come back after anything else."""
    stopped.signal(signal.SIGSTOP)
    clients = [Connection(stopped.address) for _ in range(CLIENTS)]
    for client in clients:
        client.send(format_subscription(stopped.address, key))
    end(stopped, signal.SIGTERM, signal.SIGINT)
    texts = [read_to_end(client) for client in clients]
    assert Counter(text is not None and text.startswith(HEAD["1.1"]) and text.endswith(b"0\r\n\r\n")
                   for text in texts) == {True: CLIENTS}
    stopped.wait_exit()


def test_who_comes_back_at_once(start, key):
    """As Python's does after each end: never taken only to be ended again."""
    daemon = start.daemon()
    daemon.publish(key)
    with daemon.stream(key) as stream:
        daemon.signal(signal.SIGTERM)
        stream.end()
    connects = 0
    while True:
        try:
            with Connection(daemon.address) as client:
                connects += 1
                client.send(format_subscription(daemon.address, key))
                read_to_end(client)
        except ConnectionRefusedError:
            break
    daemon.wait_exit()
    assert connects <= 1
