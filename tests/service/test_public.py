# SPDX-License-Identifier: BSD-3-Clause
"""What everybody may ask names no host: the proxies of doc/proxies.md pass /sse/health on to the whole world.  Who runs the
service finds the names in the log and in the status."""
import re

import pytest

from daemon import fresh_key, free_port

PROBES = ("/readyz", "/health", "/health/readiness", "/sse/health")


def nobody_there(start):
    del start
    return f"nats://127.0.0.1:{free_port()}"


def without_jetstream(start):
    return start.nats(jetstream=False).url


def several(start):
    """So many that the text has no room for all of them: the last one is cut off somewhere."""
    del start
    return ",".join(f"nats://nats-{i}.internal.invalid:4222" for i in range(12))


# How to come by a URL, and the reason that anybody may read.
TROUBLES = {"nobody there": (nobody_there, "cannot connect to NATS"),
            "no JetStream": (without_jetstream, "JetStream switched off"),
            "several": (several, "cannot connect to NATS")}


def hosts_of(url):
    """As they stand in the URL, and as a word of its own that a cut has left of one."""
    hosts = [server.rpartition("/")[2] for server in url.split(",")]
    return re.compile("|".join([r"127\.0\.0\.1", "localhost", r"nats-\d", *map(re.escape, hosts)]))


@pytest.mark.parametrize("trouble", TROUBLES)
def test_answers_name_no_host(start, notify, tmp_path, trouble):
    """Neither a probe's nor a publisher's; and why updates do not come is there in words."""
    make_url, reason = TROUBLES[trouble]
    url = make_url(start)
    hosts = hosts_of(url)
    (tmp_path / "in-the-way").write_text("")
    daemon = start.daemon(bus="nats", nats_url=url, wait="/livez", env={"NOTIFY_SOCKET": notify.path},
                          options=[f"service.state_dir={tmp_path}/in-the-way", "nats.connect_timeout=5s"])
    line, *_ = daemon.wait_log("The bus is away")
    assert reason in line and hosts.search(line), line
    status = notify.wait(reason)
    assert status.startswith("STATUS=") and hosts.search(status), status
    for probe in PROBES:
        answer = daemon.get(probe)
        assert answer.status == 503 and reason in answer.detail, answer
        assert not hosts.search(answer.body.decode()), answer
    answer, _ = daemon.offer(fresh_key())
    assert answer.status == 503 and not hosts.search(answer.detail), answer
