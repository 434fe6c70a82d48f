# SPDX-License-Identifier: BSD-3-Clause
"""Between a daemon and its NATS server: passes everything on, but for what a test changes in it."""
import json
import socket
import threading

from nats import pieces


class Relay:
    """Puts `description` into every error of JetStream that passes, as a server that says so would."""

    def __init__(self, server_port, description):
        self.server_port = server_port
        self.description = description
        self.n_changed = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.sockets = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self):
        return "nats://127.0.0.1:%d" % self.listener.getsockname()[1]

    def cut(self):
        """Ends all connections."""
        sockets, self.sockets = self.sockets, []
        for sock in sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()

    def close(self):
        self.sockets.append(self.listener)
        self.cut()

    def _accept(self):
        try:
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.server_port))
                self.sockets += [client, server]
                for function in (self._pass_requests, self._pass_answers):
                    threading.Thread(target=self._run, args=(function, client, server), daemon=True).start()
        except OSError:
            pass  # the end

    @staticmethod
    def _run(function, client, server):
        try:
            function(client, server)
        except OSError:
            pass
        for sock in (client, server):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    @staticmethod
    def _pass_requests(client, server):
        while data := client.recv(65536):
            server.sendall(data)

    def _pass_answers(self, client, server):
        for line, payload in pieces(server):
            words = line.split()
            if words[0] == b"MSG":
                payload = self._change(payload[:-2])
                words[-1] = b"%d" % len(payload)
                line = b" ".join(words) + b"\r\n"
                payload += b"\r\n"
            client.sendall(line + payload)

    def _change(self, payload):
        try:
            body = json.loads(payload)
            body["error"]["description"] = self.description
        except (ValueError, TypeError, KeyError):
            return payload
        self.n_changed += 1
        return json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogateescape")
