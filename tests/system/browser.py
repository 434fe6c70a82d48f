# SPDX-License-Identifier: BSD-3-Clause
"""A headless Chromium outside the machine, on a page of another origin than flagsse."""
import http.server
import json
import select
import shutil
import subprocess
import threading
from pathlib import Path

from machine import DIES_WITH_US, TIMEOUT
from wire import wait_until

HERE = Path(__file__).resolve().parent / "browser"


def program(name):
    path = shutil.which(name)
    assert path, f"there is no {name}; ./dev system installs it"
    return path


class Page:
    """The page, served on a port of its own."""

    def __init__(self, modules):
        files = {
            "/": ("text/html", HERE / "page.html"),
            "/reconnecting-eventsource.js": (
                "text/javascript",
                modules / "node_modules/reconnecting-eventsource/build/esm/reconnecting-eventsource.js"),
        }

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # pylint: disable=invalid-name
                kind, path = files.get(self.path, (None, None))
                if not path:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.end_headers()
                self.wfile.write(path.read_bytes())

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Browser:
    """browser/driver.mjs, and by it a Chromium with the page open.  `directory` has the node modules."""

    def __init__(self, directory):
        command = [program("node"), HERE / "driver.mjs", program("chromium"), directory / "node"]
        self.log_path = directory / "browser.log"
        self.page = Page(directory / "node")
        self.origin = self.page.origin
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [*DIES_WITH_US, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                start_new_session=True)

    def start(self):
        self.command("open", self.origin + "/")
        wait_until(lambda: self.command("call", "eval", "window.ready"), "the page's script does not run")

    def command(self, *words):
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        assert select.select([self.process.stdout], [], [], TIMEOUT)[0], f"no answer to {words}"
        answer = json.loads(self.process.stdout.readline() or '{"error": "the driver has ended"}')
        assert "error" not in answer, f"{words}: {answer['error']}"
        return answer["value"]

    def call(self, function, *values):
        """A function of page.html."""
        return self.command("call", function, *values)

    def look(self, name):
        return self.call("look", name)

    def ids(self, name):
        """Those of the updates that came, by order."""
        events = self.look(name)["events"]
        for kind, identity, data in events:
            assert kind == "environment_updated"
            assert data == f'{{"updated_at": {identity[:-6]}.{identity[-6:]}}}'
        return [int(identity) for _, identity, _ in events]

    def requests(self, path):
        """What Chromium has sent to there, in about this order."""
        return [request for request in self.command("requests") if request.get("url", "").endswith(path)]

    def log(self):
        return self.log_path.read_text()

    def stop(self):
        self.page.close()
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.terminate()  # Playwright takes Chromium with it
            self.process.wait(20)
        self.process.stdout.close()
