# SPDX-License-Identifier: BSD-3-Clause
"""A NATS server with a clock of its own: a proxy before a real one, which changes every time that the server tells."""
import datetime
import re
import socket
import threading

from daemon import free_port
from nats import pieces

# The end of what a message's acknowledgement would go to: when it was stored (nanoseconds), how many follow.
STORED = re.compile(rb"(\$JS\.ACK\.\S+\.)(\d{19})(\.\d+)")
TIME = re.compile(rb'"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)((?:\.\d+)?Z)"')


class SkewedNats:
    """`clock_s` is how far the server's clock is ahead of the truth; messages seem `age_s` older than they are."""

    def __init__(self, server, clock_s=0, age_s=0):
        self.server = server
        self.clock_s = clock_s
        self.age_s = age_s
        self.port = free_port()
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.sockets = []
        self._spawn(self._accept)

    @property
    def url(self):
        return f"nats://127.0.0.1:{self.port}"

    def close(self):
        for sock in (self.listener, *self.sockets):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()

    @staticmethod
    def _spawn(function, *arguments):
        threading.Thread(target=function, args=arguments, daemon=True).start()

    def _accept(self):
        try:
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.server.port))
                self.sockets += [client, server]
                self._spawn(self._pass, client, server)
                self._spawn(self._pass_skewed, server, client)
        except OSError:
            pass  # closed

    @staticmethod
    def _pass(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def _pass_skewed(self, source, target):
        """Line by line, and what a line announces.  No length changes."""
        try:
            for line, payload in pieces(source):
                target.sendall(STORED.sub(self._stored, line) + TIME.sub(self._time, payload))
            target.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def _stored(self, match):
        return match[1] + b"%d" % (int(match[2]) + (self.clock_s - self.age_s) * 10**9) + match[3]

    def _time(self, match):
        time = datetime.datetime.fromisoformat(match[1].decode()) + datetime.timedelta(seconds=self.clock_s)
        return b'"' + time.isoformat().encode() + match[2] + b'"'
