# SPDX-License-Identifier: BSD-3-Clause
"""What flagsse-http(7) lists is what there is."""
import re

from documents import TOP
from sse import Event, Greeting, parse_block


def section(name):
    text = (TOP / "man" / "flagsse-http.7").read_text().replace("\\-", "-")
    return re.split(r"^\.SH ", text.partition(f".SH {name}\n")[2], flags=re.M)[0]


def test_paths():
    """It has those of the route table, and no others."""
    text = section("DESCRIPTION").replace('" KEY ', "{key}").replace("flagsmith/sse", "")
    listed = re.findall(r"/[a-z](?:[/a-z{}-]*[a-z])?", text)
    source = (TOP / "src" / "http" / "routes.c").read_text()
    routes = re.findall(r'(?:\.path = |READ\()"(/[^"]*)"', source)
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
