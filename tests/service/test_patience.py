# SPDX-License-Identifier: BSD-3-Clause
"""JetStream that is slow to answer: far away, or with very many environments."""
import heapq
import socket
import threading
import time

import pytest

from daemon import fresh_key
from nats import STREAM, SUBJECT
from wire import wait_until


class Relay:
    """Between daemon and NATS: what the server sends comes later, by the seconds that `delay_of` says of a piece."""

    def __init__(self, port, delay_of):
        self.port = port
        self.delay_of = delay_of
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.sockets = [self.listener]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self):
        return f"nats://127.0.0.1:{self.listener.getsockname()[1]}"

    def close(self):
        for sock in self.sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.port))
            except OSError:
                return
            self.sockets += [client, server]
            threading.Thread(target=self._copy, args=(client, server), daemon=True).start()
            threading.Thread(target=self._copy_late, args=(server, client), daemon=True).start()

    @staticmethod
    def _copy(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def _copy_late(self, source, target):
        """Each piece when it is due, and never before those that came earlier."""
        due, queue, wake, number = 0, [], threading.Condition(), 0

        def deliver():
            while True:
                with wake:
                    while not queue:
                        wake.wait()
                    when, _, data = heapq.heappop(queue)
                time.sleep(max(0, when - time.monotonic()))
                try:
                    if not data:
                        target.shutdown(socket.SHUT_WR)
                        return
                    target.sendall(data)
                except OSError:
                    return
        threading.Thread(target=deliver, daemon=True).start()
        while True:
            try:
                data = source.recv(65536)
            except OSError:
                data = b""
            due = max(due, time.monotonic() + (self.delay_of(data) if data else 0))
            with wake:
                number += 1
                heapq.heappush(queue, (due, number, data))
                wake.notify()
            if not data:
                return


@pytest.fixture
def relay():
    relays = []

    def start(server, delay_of):
        relays.append(Relay(server.port, delay_of))
        return relays[-1]
    yield start
    for each in relays:
        each.close()


def far_away(_):
    return 1.5


def slow_to_make_consumers(data):
    return 3.5 if b"consumer_create_response" in data else 0


def slow_administration(data):
    return 1.5 if b"io.nats.jetstream.api.v1" in data else 0


@pytest.mark.parametrize("delay_of", [far_away, slow_to_make_consumers, slow_administration])
def test_slow_answers(start, relay, key, delay_of):
    server = start.nats()
    with server.client() as client:
        client.create_stream()
        client.store(key, b'{"updated_at": 1673546928.028060}')
        daemon = start.daemon(bus="nats", nats_url=relay(server, delay_of).url, options=["nats.connect_timeout=10"],
                              wait="/livez")
        # Publishers do not wait for any of that.
        first = daemon.accept(fresh_key())
        assert first
        wait_until(lambda: daemon.get("/readyz").status == 200, f"it is never ready: {daemon.log_tail()}", 60, 0.2)
        daemon.check_snapshot(key, 1673546928028060)
        name = fresh_key()
        time_us = daemon.accept(name)
        wait_until(lambda: client.last_message(name), f"it is not stored: {daemon.log_tail()}", 30)
        assert client.last_message(name).payload == b'{"updated_at": %d.%06d}' % divmod(time_us, 10**6)
        wait_until(lambda: daemon.metrics()["flagsse_outbox_updates"] == 0, "the outbox stays", 30)
        # It stays connected, the regular look at the stream included.
        attempts = len(daemon.log_lines("The bus is (still )?away"))
        time.sleep(8)
        assert daemon.get("/readyz").status == 200, daemon.log_tail()
        assert len(daemon.log_lines("The bus is (still )?away")) == attempts, daemon.log_tail()
        assert not daemon.log_lines("are read again")
        assert SUBJECT + name == client.last_message(name).subject


N_ENVIRONMENTS = 50000
PATIENCE_S = 60


def test_flow_control(start, key):
    """Where there are many last values, the consumer stops until what it has sent has been read; this key is the last."""
    server = start.nats()
    with server.client() as client, server.client() as watcher:
        client.create_stream()
        client.fill(N_ENVIRONMENTS)
        client.store(key, b'{"updated_at": 1673546928.028060}')
        watcher.subscribe(f"$JS.FC.{STREAM}.>")
        daemon = start.daemon(bus="nats", nats_url=server.url, wait="/livez")
        wait_until(lambda: daemon.get("/readyz").status == 200, f"it is never ready: {daemon.log_tail()}", PATIENCE_S)
        assert watcher.next_message(), "it asked for no answer"
        assert daemon.snapshot(key) == 1673546928028060
        assert not daemon.log_lines("read again")
