# SPDX-License-Identifier: BSD-3-Clause
"""JetStream refuses updates, all of them or one environment's: each is kept, and the reason is told until it is gone."""
import statistics
import time

import pytest

from daemon import fresh_key
from nats import STREAM, SUBJECT
from wire import wait_until

JETSTREAM = 'jetstream {{ store_dir: "{store}"{limits} }}\n'
DENY = 'authorization { users: [ { user: "u", password: "p", permissions { publish { deny: [%s] } } } ] }\n'


class Refusing:
    """A NATS server that takes no updates until `mend()`."""

    def __init__(self, start, *, limits="", config="", mended="", stream=None, mended_stream=None, credentials=None):
        self.server = start.nats(start=False, jetstream=False, credentials=credentials)
        self.mended = JETSTREAM.format(store=self.server.store, limits="") + mended
        self.mended_stream = mended_stream
        self.server.config = JETSTREAM.format(store=self.server.store, limits=limits) + config
        self.server.start()
        if stream:
            with self.server.client() as client:
                client.create_stream(**{name: stream[name] for name in stream if name != "sealed"})
                client.store("before", b'{"updated_at": 1673546928.028060}')
                if stream.get("sealed"):
                    config = client.stream_info()["config"]
                    client.api(f"STREAM.UPDATE.{STREAM}", {**config, "sealed": True})

    @property
    def url(self):
        user = "u:p@" if self.server.credentials else ""
        return self.server.url.replace("nats://", f"nats://{user}")

    def mend(self):
        if self.mended_stream == "delete":
            with self.server.client() as client:
                client.delete_stream()
        elif self.mended_stream:
            with self.server.client() as client:
                client.api(f"STREAM.UPDATE.{STREAM}", {**client.stream_info()["config"], **self.mended_stream})
        else:
            self.server.stop()
            self.server.config = self.mended
            self.server.start()


USER = 'authorization { users: [ { user: "u", password: "p" } ] }\n'
ACCOUNT = 'accounts { A { users: [ { user: "u", password: "p" } ], jetstream { %s } } }\n'
CREDENTIALS = {"user": "u", "pass": "p"}

# What is wrong, and what NATS says of it.
REFUSALS = {
    "store_full": ({"limits": ", max_file_store: 100"}, "resource"),
    "account_limits": ({"config": ACCOUNT % "max_mem: 100, max_file: 100, max_streams: 5, max_consumers: 50",
                        "mended": ACCOUNT % "", "credentials": CREDENTIALS}, "resource limits exceeded"),
    "sealed": ({"stream": {"sealed": True}, "mended_stream": "delete"}, "sealed"),
    "max_msg_size": ({"stream": {"max_msg_size": 60}, "mended_stream": {"max_msg_size": -1}}, "message size exceeds"),
    "max_msgs": ({"stream": {"discard": "new", "max_msgs": 1}, "mended_stream": {"max_msgs": -1}}, "maximum messages"),
    "max_bytes": ({"stream": {"discard": "new", "max_bytes": 120}, "mended_stream": {"max_bytes": -1}},
                  "maximum bytes"),
    "denied": ({"config": DENY % f'"{SUBJECT}>"', "mended": USER, "credentials": CREDENTIALS},
               "Permissions Violation for Publish"),
}


def offer_refused(daemon, keys):
    """Publishes to each of them, and has 202 each time.  The times, and how long each took."""
    times, took = {}, []
    for key in keys:
        begun = time.monotonic()
        times[key] = daemon.queue(key)
        took.append(time.monotonic() - begun)
    return times, took


def fill_up(daemon):
    """A store with a limit takes the first one or two."""
    def refused():
        response, _ = daemon.offer(fresh_key())
        assert response.status in (200, 202), response
        return response.status == 202
    wait_until(refused, "all is taken")


def not_ready(daemon):
    response = daemon.get("/readyz")
    return response.detail if response.status == 503 else None


def ready_without_warning(daemon):
    response = daemon.get("/readyz")
    return response.status == 200 and response.json() == {"status": "ready"}


@pytest.mark.parametrize("what", REFUSALS)
def test_every_update_is_refused(start, what):
    options, text = REFUSALS[what]
    refusing = Refusing(start, **options)
    daemon, other = (start.daemon(bus="nats", nats_url=refusing.url) for _ in range(2))
    fill_up(daemon)
    keys = [fresh_key() for _ in range(5)]
    times, took = offer_refused(daemon, keys)
    # A refusal is not waited for as a delay is, which would be 1 s.
    assert statistics.median(took) < 0.5, took

    detail = wait_until(lambda: not_ready(daemon), "it is ready")
    assert text in detail and "outbox" in detail, detail
    metrics = daemon.metrics()
    assert metrics["flagsse_bus_up"] == 1
    assert metrics["flagsse_bus_refuses_all"] == 1
    assert metrics["flagsse_environments_refused"] >= 5
    assert metrics["flagsse_refusals_total"] >= 5
    assert metrics["flagsse_outbox_updates"] >= 5
    time.sleep(3)  # it is tried again, more than once
    assert len(daemon.log_lines(r"warning: NATS refuses every update")) == 1
    assert text in daemon.log_lines(r"warning: NATS refuses every update")[0]
    assert not daemon.log_lines("in time|majority|are read again")
    assert daemon.metrics()["flagsse_refusals_total"] > metrics["flagsse_refusals_total"]
    assert not_ready(daemon)

    refusing.mend()
    wait_until(lambda: ready_without_warning(daemon), f"it is not ready again: {daemon.log_tail()}", 30)
    wait_until(lambda: daemon.metrics()["flagsse_outbox_updates"] == 0, "the outbox stays", 30)
    metrics = daemon.metrics()
    assert metrics["flagsse_bus_refuses_all"] == metrics["flagsse_environments_refused"] == 0
    daemon.wait_log("NATS takes updates again")
    assert len(daemon.log_lines("NATS takes updates again")) == 1
    for key in keys:
        other.check_snapshot(key, times[key])


def deny_some(start, keys):
    config = DENY % ", ".join(f'"{SUBJECT}{key}"' for key in keys)
    return Refusing(start, config=config, mended=USER, credentials=CREDENTIALS)


def test_one_environment_is_refused(start):
    """A warning names it; all others go on as if nothing were."""
    denied, granted = fresh_key(), fresh_key()
    refusing = deny_some(start, [denied])
    daemon = start.daemon(bus="nats", nats_url=refusing.url)
    daemon.publish(granted)
    times, took = offer_refused(daemon, [denied])
    assert took[0] < 0.8  # at once, not after 1 s

    def warning():
        response = daemon.get("/readyz")
        assert response.status == 200, response
        return response.json().get("warning")
    text = wait_until(warning, "no warning")
    assert denied in text and "Permissions Violation" in text, text
    for _ in range(3):
        daemon.publish(granted)
        time.sleep(1)
    metrics = daemon.metrics()
    assert metrics["flagsse_bus_refuses_all"] == 0
    assert metrics["flagsse_environments_refused"] == 1
    assert metrics["flagsse_refusals_total"] >= 2
    assert len(daemon.log_lines("Permissions Violation")) == 1, daemon.log_tail()
    assert denied in daemon.log_lines("Permissions Violation")[0]
    assert "grant publish" in daemon.log_lines("Permissions Violation")[0]
    assert not daemon.log_lines("are read again|majority|in time")
    assert daemon.metrics()["flagsse_updates_total"] == metrics["flagsse_updates_total"], "all is read again"

    refusing.mend()
    wait_until(lambda: ready_without_warning(daemon), f"the warning stays: {daemon.log_tail()}", 30)
    wait_until(lambda: daemon.metrics()["flagsse_outbox_updates"] == 0, "the outbox stays", 30)
    daemon.check_snapshot(denied, times[denied])


def test_many_refused_do_not_hold_up_the_rest(start):
    """More than the outbox has with NATS at a time are refused, and stand before one that is not."""
    denied = [fresh_key() for _ in range(300)]
    refusing = deny_some(start, denied)
    daemon = start.daemon(bus="nats", nats_url=refusing.url)
    refusing.server.stop()
    wait_until(lambda: not_ready(daemon), "it does not notice")
    offer_refused(daemon, denied)
    last = fresh_key()
    daemon.queue(last)
    refusing.server.start()
    with refusing.server.client() as client:
        wait_until(lambda: client.last_message(last), f"it never comes: {daemon.log_tail()}", 60, 0.2)
    assert daemon.metrics()["flagsse_outbox_updates"] == 300


def test_stream_without_acknowledgements(start, key):
    """It stores, and does not say so: that is told, and not waited for."""
    server = start.nats()
    with server.client() as client:
        client.create_stream(no_ack=True)
        daemon, other = (start.daemon(bus="nats", nats_url=server.url, wait="/livez") for _ in range(2))
        detail = wait_until(lambda: not_ready(daemon), "it is ready")
        detail = wait_until(lambda: "no_ack" in (not_ready(daemon) or "") and not_ready(daemon), f"{detail}")
        assert STREAM in detail, detail
        times, took = offer_refused(daemon, [key] + [fresh_key() for _ in range(4)])
        assert statistics.median(took) < 0.5, took
        for name, time_us in times.items():
            other.check_snapshot(name, time_us)
        wait_until(lambda: daemon.metrics()["flagsse_outbox_updates"] == 0, "the outbox stays", 30)
        assert daemon.metrics()["flagsse_bus_refuses_all"] == 1
        assert len(daemon.wait_log("no_ack")) == 1
        client.api(f"STREAM.UPDATE.{STREAM}", {**client.stream_info()["config"], "no_ack": False})
        wait_until(lambda: ready_without_warning(daemon), f"it is not ready again: {daemon.log_tail()}", 30)
        daemon.publish(key)
