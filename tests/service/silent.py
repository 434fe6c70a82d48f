# SPDX-License-Identifier: BSD-3-Clause
"""Peers that hold a connection and say nothing any more."""
import contextlib
import json
import socket
import threading

INFO = {"server_id": "SILENT", "version": "2.10.0", "proto": 1, "host": "127.0.0.1", "port": 1, "headers": True,
        "max_payload": 1048576, "jetstream": True}


class SilentServer:
    """As a nats-server whose link dies within the handshake: it accepts, says what it is asked to say, and no more."""

    def __init__(self, greeting, port=0, host="127.0.0.1"):
        self.greeting = greeting
        self.connections = []
        self.listener = socket.create_server((host, port))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            connection.sendall(self.greeting)

    @property
    def count(self):
        """Of all that have come."""
        return len(self.connections)

    def leave_address(self):
        """To another server.  It keeps the connections that it has."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # left already
        self.listener.close()

    def close(self):
        self.leave_address()
        for connection in self.connections:
            connection.close()


def info(**more):
    return b"INFO " + json.dumps({**INFO, **more}).encode() + b"\r\n"
