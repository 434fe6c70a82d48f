# SPDX-License-Identifier: BSD-3-Clause
"""flagsse as its clients and its administrator meet it."""
import json

from daemon import fresh_time_us, isoformat
from machine import ADDRESS4, ADDRESS6, PORT, SOCKET, Watch, execute
from sse import Stream
from wire import request, wait_until

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


class Service:
    def __init__(self, machine):
        self.machine = machine

    def set_token(self, token=TOKEN):
        self.machine.write("/etc/flagsse/token", f"{token}\n", 0o600)

    def configure(self, text):
        self.machine.write("/etc/flagsse/conf.d/test.conf", text)

    def set_bus(self, bus, rest=""):
        self.configure(f"[bus]\ntype = {bus}\n{rest}")

    def stream(self, key, **options):
        return Stream(ADDRESS, key, **options)

    def publish(self, key):
        """The time of the update, which must have been taken."""
        time_us = fresh_time_us()
        body = json.dumps({"updated_at": isoformat(time_us)}).encode()
        response = request(ADDRESS, "POST", path_of(key, "queue-change"),
                           (("Authorization", f"Token {TOKEN}"), ("Content-Type", "application/json")), body)
        assert response.status == 200 and response.json()["status"] == "published", response
        return time_us

    def is_ready(self):
        return request(ADDRESS, "GET", "/readyz").status == 200

    def wait_ready(self):
        wait_until(self.is_ready, "/readyz is never 200")

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
