# SPDX-License-Identifier: BSD-3-Clause
"""What flagsse-http(7) lists is what there is; what it and flagsse.conf(5) show to be written can be used."""
import re

import pytest

from daemon import run
from documents import TOP
from sse import Event, Greeting, parse_block


def page(name):
    return re.sub(r"\\([-&])", lambda escaped: escaped[1].strip("&"), (TOP / "man" / name).read_text())


def section(name):
    text = page("flagsse-http.7")
    return re.split(r"^\.SH ", text.partition(f".SH {name}\n")[2], flags=re.M)[0]


def test_paths():
    """It has those of the route table, and no others."""
    text = section("DESCRIPTION").replace('" KEY ', "{key}").replace("flagsmith/sse", "")
    listed = re.findall(r"/[a-z](?:[/a-z{}-]*[a-z])?", text)
    routes = re.findall(r'^[A-Z]+\("(/[^"]*)"', (TOP / "src" / "http" / "routes.def").read_text(), re.M)
    assert routes and sorted(listed) == sorted(routes)


def test_metrics(local_service):
    """Their names, labels and types, in the order in which they are told."""
    listed = re.findall(r"^\.TP\n\.B (\w+)(?:\{(\w+)=\.\.\.\})?\n(Gauge|Counter|Histogram)\.$", section("METRICS"),
                        re.M)
    text = local_service.get("/metrics").body.decode()
    told = []
    for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", text, re.M):
        sample = name + "_count" if kind == "histogram" else name
        label = re.search(rf"^{sample}(?:\{{(\w+)=\"[^\"]*\"\}})? ", text, re.M)[1]
        told.append((name, label or "", kind.capitalize()))
    assert listed == told


def test_stream():
    """What begins a stream there, and the event, are what a subscriber that forgives nothing takes."""
    greeting, event = re.findall(r"^\.nf\n\.RS\n(.*?)\.RE$", section("SUBSCRIBING"), re.M | re.S)
    assert parse_block(greeting.encode()) == Greeting(3412)
    assert parse_block(event.encode()) == Event(1673546928028060)


def test_bodies(local_service, key):
    """Of a publisher that is accepted, and of the answer to one that is not."""
    (update,) = re.findall(r"^\{\"updated_at.*$", section("PUBLISHING"), re.M)
    (refusal,) = re.findall(r"^(\{\"detail.*) \.\.\.\"\}$", section("ERRORS"), re.M)
    assert local_service.post(key, update.encode()).status == 200
    answer = local_service.post(key, b"{}")
    assert answer.status == 422 and answer.body.decode().startswith(refusal)


@pytest.mark.parametrize("text", re.findall(r"^\.nf\n(.*?)^\.fi$", page("flagsse.conf.5"), re.M | re.S))
def test_settings(text, tmp_path):
    file = tmp_path / "example.conf"
    file.write_text(text)
    result = run("--check-file", file)
    assert (result.returncode, result.stderr) == (0, "")
