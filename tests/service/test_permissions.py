# SPDX-License-Identifier: BSD-3-Clause
"""The permissions that flagsse needs on NATS are those of flagsse(8), and one that is missing is told by its name."""
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from daemon import fresh_key
from nats import STREAM, SUBJECT, NatsError
from wire import wait_until

PAGE = Path(__file__).resolve().parents[2] / "man" / "flagsse.8"
CREDENTIALS = {"user": "admin", "pass": "p"}


def permissions():
    """The block of flagsse(8): {"publish": [subjects], "subscribe": [subjects]}."""
    block = re.search(r"^permissions = \{\n(.*?)^\}", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert block, "flagsse(8) has no block of permissions"
    parts = re.findall(r"(publish|subscribe) = \[(.*?)\]", block[1], re.DOTALL)
    return {name: re.findall(r'"([^"]+)"', subjects) for name, subjects in parts}


def config(granted):
    lists = ", ".join("%s: [%s]" % (name, ", ".join(f'"{subject}"' for subject in subjects) or '"nothing"')
                      for name, subjects in granted.items())
    return ('authorization { users: [ { user: "admin", password: "p" },'
            f' {{ user: "flagsse", password: "p", permissions: {{ {lists} }} }} ] }}\n')


def without(subject):
    return {name: [s for s in subjects if s != subject] for name, subjects in permissions().items()}


def start_with(start, granted, **options):
    server = start.nats(config=config(granted), credentials=CREDENTIALS)
    url = server.url.replace("nats://", "nats://flagsse:p@")
    return server, lambda: start.daemon(bus="nats", nats_url=url, **options)


def n_messages(client):
    """By the stream's state only: to ask for a message while its stream is being made ends nats-server 2.9.10."""
    try:
        return client.stream_info()["state"]["messages"]
    except NatsError:
        return 0  # the stream is not there again yet


FILLERS = 20000  # enough for NATS's flow control to ask for an answer, with which it goes on


def lose_the_last(client, daemon, key):
    """The last message is gone, and nobody has told: the next publish is a conflict."""
    daemon.publish_soon(key)
    last = client.api(f"STREAM.MSG.GET.{STREAM}", {"last_by_subj": SUBJECT + key})["message"]["seq"]
    client.api(f"STREAM.MSG.DELETE.{STREAM}", {"seq": last})


def make_a_conflict(client, daemon, key):
    lose_the_last(client, daemon, key)
    response, time_us = daemon.offer(key)
    assert response.status in (200, 202)
    return time_us


def consumers(client, count=2):
    names = client.api(f"CONSUMER.NAMES.{STREAM}")["consumers"] or ()
    return set(names) if len(names) == count else None


def test_permissions_suffice(start):
    """For all that it does: making stream and consumer, many messages, conflicts, and writing back."""
    server, start_daemon = start_with(start, permissions())
    daemon, other = start_daemon(), start_daemon()
    keys = [fresh_key() for _ in range(3)]
    with server.client() as client:
        times = {key: daemon.publish_soon(key) for key in keys}
        times[keys[0]] = make_a_conflict(client, daemon, keys[0])
        for key in keys:
            other.check_snapshot(key, times[key])
        client.delete_stream()
        wait_until(lambda: n_messages(client) == len(keys), "it is not written back", 30)
        # New consumers take the place of those that are gone.
        before = wait_until(lambda: consumers(client), "they do not read again", 30)
        for name in before:
            client.api(f"CONSUMER.DELETE.{STREAM}.{name}")
        wait_until(lambda: (consumers(client) or before).isdisjoint(before), "they do not read again", 30)
        times[keys[1]] = other.publish_soon(keys[1])
        daemon.check_snapshot(keys[1], times[keys[1]])
        client.fill(FILLERS)
        third = start_daemon()
        wait_until(lambda: third.metrics()["flagsse_environments"] >= FILLERS, "they are not read", 30)
    for log in (daemon.log(), other.log(), third.log(), server.log()):
        assert "Violation" not in log, log[-3000:]


def test_missing_permission_to_answer_flow_control(start):
    """Without it, many messages come only in part."""
    server, start_daemon = start_with(start, without("$JS.FC.environments-stream.>"), wait="/livez")
    with server.client() as client:
        client.create_stream()
        client.fill(FILLERS)
    daemon = start_daemon()
    line, = daemon.wait_log("warning: The bus is away")
    assert "$JS.FC.environments-stream.>" in line and "grant publish" in line, line


def test_missing_permission_that_a_session_can_do_without(start):
    """The last message of a subject is asked for after a conflict only.  It is told once."""
    subject = "$JS.API.STREAM.MSG.GET.environments-stream"
    server, start_daemon = start_with(start, without(subject))
    daemon = start_daemon()
    with server.client() as client:
        for _ in range(3):
            make_a_conflict(client, daemon, fresh_key())
    line, = daemon.wait_log("Violation")
    assert f'"{subject}"' in line and "grant publish" in line, line
    assert daemon.get("/readyz").status == 200
    assert not daemon.log_lines("are read again"), daemon.log_tail()


def test_publishes_go_on_while_nobody_says_what_is_last(start):
    """After a conflict it is asked what the last message is.  Without an answer the update waits, and no other does."""
    server, start_daemon = start_with(start, without("$JS.API.STREAM.MSG.GET.environments-stream"))
    daemon = start_daemon()
    keys = [fresh_key() for _ in range(10)]
    with server.client() as client:
        for key in keys:
            lose_the_last(client, daemon, key)
        with ThreadPoolExecutor(len(keys)) as executor:
            conflicts = [executor.submit(daemon.accept, key) for key in keys]
            # Those that wait one after the other would hold up about as many of these.
            statuses = [daemon.offer(fresh_key())[0].status for _ in range(2 * len(keys))]
            times = [conflict.result() for conflict in conflicts]
        assert statuses.count(200) > 1.5 * len(keys), statuses
        for key, time_us in zip(keys, times):
            daemon.check_snapshot(key, time_us)


def needed_to_begin():
    return ["$JS.API.STREAM.INFO.environments-stream", "$JS.API.STREAM.CREATE.environments-stream",
            "$JS.API.CONSUMER.CREATE.environments-stream",
            "$JS.API.CONSUMER.INFO.environments-stream.*", "_INBOX.>"]


@pytest.mark.parametrize("subject", needed_to_begin())
def test_missing_permission_is_named(start, subject):
    assert subject in sum(permissions().values(), [])
    server, start_daemon = start_with(start, without(subject), wait="/livez")
    daemon = start_daemon()
    line, = daemon.wait_log("warning: The bus is away")
    denied = re.escape(subject.rstrip("*>"))
    assert re.search(f'Permissions Violation for (Publish|Subscription) to "{denied}', line), line
    assert re.search("grant (publish|subscribe)", line) and "flagsse(8)" in line, line
    assert denied.replace("\\", "") in daemon.get("/readyz").detail
    time.sleep(3)
    assert not daemon.log_lines("majority|are read again"), daemon.log_tail()
    assert len(daemon.log_lines("Permissions Violation")) <= 2, daemon.log_tail()  # "still away", at most


def test_publish_to_the_wrong_subject_only(start):
    """The user of another service, say: it can read all, and publish nothing.  Nothing is read again and again."""
    server, start_daemon = start_with(start, without("flagsmith.environment.*"))
    daemon = start_daemon()
    created = []
    with server.client() as client:
        client.subscribe("$JS.EVENT.ADVISORY.CONSUMER.CREATED.>")
        daemon.queue(fresh_key())
        time.sleep(5)
        client.flush()
        created += client.messages
    assert not created, f"{len(created)} consumers were made"
    assert not daemon.log_lines("are read again"), daemon.log_tail()
    line, = daemon.log_lines("Permissions Violation")
    assert SUBJECT in line and "flagsse(8)" in line
    assert daemon.get("/readyz").status == 503
