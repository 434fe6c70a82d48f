# SPDX-License-Identifier: BSD-3-Clause
"""flagsse as its clients and its administrator meet it."""
import json

from daemon import fresh_time_us, isoformat
from machine import ADDRESS4, ADDRESS6, PORT, SOCKET, Watch, execute
from sse import Stream
from wire import parse_metrics, request, wait_until

TOKEN = "test-token-0123456789"
ADDRESS = (ADDRESS4, PORT)

# How curl gets there: where it runs, its options, and the host in its URL.
WAYS = {
    "IPv4": ("outside", (), f"{ADDRESS4}:{PORT}"),
    "IPv6": ("outside", (), f"[{ADDRESS6}]:{PORT}"),
    "unix": ("inside", ("--unix-socket", SOCKET), "localhost"),
}


def path_of(key, what):
    return f"/sse/environments/{key}/{what}"


class Client:
    """What Flagsmith does, whatever stands between."""

    address = ADDRESS

    def request(self, method, target, headers=(), body=None, **options):
        return request(self.address, method, target, headers, body, **options)

    def offer(self, key, time_us, token=TOKEN):
        body = json.dumps({"updated_at": isoformat(time_us)}).encode()
        headers = (("Authorization", f"Token {token}"), ("Content-Type", "application/json"))
        return self.request("POST", path_of(key, "queue-change"), headers, body)

    def publish(self, key):
        """The time of the update, which must have been taken."""
        time_us = fresh_time_us()
        response = self.offer(key, time_us)
        assert response.status == 200 and response.json()["status"] == "published", response
        return time_us

    def stream(self, key, **options):
        return Stream(self.address, key, **options)


class Service(Client):
    def __init__(self, machine):
        self.machine = machine

    def set_token(self, token=TOKEN):
        self.machine.write("/etc/flagsse/token", f"{token}\n", 0o600)

    def configure(self, text):
        self.machine.write("/etc/flagsse/conf.d/test.conf", text)

    def set_bus(self, bus, rest=""):
        self.configure(f"[bus]\ntype = {bus}\n{rest}")

    def start_nats(self):
        """Beside it, with JetStream."""
        self.machine.shell("grep -q jetstream /etc/nats-server.conf || "
                           "echo 'jetstream { store_dir: \"/var/lib/nats\" }' >>/etc/nats-server.conf; "
                           "install -d -o nats -g nats -m 750 /var/lib/nats")
        self.machine.systemctl("start", "nats-server.service")

    def is_ready(self):
        return self.request("GET", "/readyz").status == 200

    def wait_ready(self):
        wait_until(self.is_ready, "/readyz is never 200")

    def metrics(self):
        return parse_metrics(self.request("GET", "/metrics").body.decode())

    def wait_streams(self, n):
        wait_until(lambda: self.metrics()["flagsse_streams"] == n,
                   lambda: f"flagsse has {self.metrics()['flagsse_streams']} streams, not {n}")

    # curl

    def _way(self, way):
        place, options, host = WAYS[way]
        return (self.machine.command() if place == "inside" else []), options, f"http://{host}"

    def watch(self, key, way="IPv4"):
        command, options, url = self._way(way)
        return Watch(command, url + path_of(key, "stream"), *options)

    def publish_by_curl(self, key, way="IPv4"):
        command, options, url = self._way(way)
        time_us = fresh_time_us()
        result = execute(
            *command, "curl", "-sS", "--fail", "--noproxy", "*", *options, "-X", "POST",
            "-H", f"Authorization: Token {TOKEN}", "-H", "Content-Type: application/json",
            "-d", json.dumps({"updated_at": isoformat(time_us)}), url + path_of(key, "queue-change"))
        assert json.loads(result.stdout)["status"] == "published", result.stdout
        return time_us
