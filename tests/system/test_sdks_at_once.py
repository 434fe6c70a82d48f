# SPDX-License-Identifier: BSD-3-Clause
"""Flagsmith's SDKs, all at once on one environment: whatever happens to their streams, no update is missed."""
import pytest

from daemon import fresh_key
from sdks import all_sdks
from service import ADDRESS
from wire import wait_until

SETTINGS = """[streams]
keepalive = 1s
max_age = 3s
retry_min = 100 ms
retry_max = 300 ms
[profile flutter]
max_age = 2s
"""


@pytest.fixture
def sdks(service):
    service.set_bus("local", SETTINGS)
    service.wait_ready()
    with all_sdks(ADDRESS, fresh_key()) as sdks:
        yield sdks


def wait_all(sdks, condition, what):
    def missing():
        return {name: (sdk.error, sdk.opened, sdk.updates) for name, sdk in sdks.items() if not condition(sdk)}
    wait_until(lambda: not missing(), lambda: f"{what}: {missing()}", 30)


def publish(service, sdks):
    time_us = service.publish(next(iter(sdks.values())).key)
    wait_all(sdks, lambda sdk: time_us in sdk.updates, f"not all have {time_us}")
    return time_us


def wait_reopened(sdks):
    opened = {sdk: sdk.opened for sdk in sdks.values()}
    wait_all(sdks, lambda sdk: sdk.opened > opened[sdk], "not all have come back")


def in_order(updates):
    """As an SDK sees it that passes over what is not newer; none comes after a newer one."""
    seen = list(dict.fromkeys(updates))
    assert seen == sorted(seen), updates
    return seen


def test_all_at_once(service, sdks):
    wait_all(sdks, lambda sdk: sdk.opened, "not all have a stream")
    published = [publish(service, sdks) for _ in range(4)]
    wait_reopened(sdks)  # max_age has ended the streams, cleanly
    published.append(publish(service, sdks))
    assert sdks["Android"].ended, sdks["Android"].error

    service.machine.systemctl("restart", "flagsse.service")
    published.append(publish(service, sdks))
    service.machine.systemctl("stop", "flagsse.service")  # the first that comes back starts it
    wait_reopened(sdks)
    published += [publish(service, sdks) for _ in range(3)]

    # A run of updates: some may be replaced by newer ones, the last is not.
    key = sdks["Go"].key
    run = [service.publish(key) for _ in range(20)]
    wait_all(sdks, lambda sdk: run[-1] in sdk.updates, f"not all have {run[-1]}")
    for name, sdk in sdks.items():
        seen = in_order(sdk.updates)
        assert seen[:len(published)] == published, name
        assert set(seen[len(published):]) <= set(run), name
        assert sdk.error is None, name

    # Flutter keeps its old streams: more and more, were they not ended.
    flutter = sdks["Flutter"]
    assert flutter.ended >= 3
    wait_until(lambda: flutter.opened - flutter.ended <= 3, "Flutter's old streams are not ended")
