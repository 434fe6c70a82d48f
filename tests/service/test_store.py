# SPDX-License-Identifier: BSD-3-Clause
"""Somebody deletes, moves or replaces the store's files while flagsse has them open.  What was answered 200 or 202, before
and after, is there after kill -9."""
import contextlib
import os
import re
import shutil
import sqlite3

import pytest

from daemon import fresh_key
from test_outbox import offer_many, queued, wait_away, wait_empty, wait_ready
from wire import wait_until

NOTICED = "error: The store: .* while flagsse has it open"


def delete_file(state):
    (state / "flagsse.db").unlink()


def delete_log(state):
    (state / "flagsse.db-wal").unlink()


def delete_both(state):
    delete_file(state)
    delete_log(state)


def delete_directory(state):
    shutil.rmtree(state)


def delete_content(state):
    for path in state.iterdir():
        path.unlink()


def move_file(state):
    (state / "flagsse.db").rename(state / "elsewhere.db")


def move_directory(state):
    state.rename(state.with_name("elsewhere"))


def replace_directory(state):
    state.rename(state.with_name("elsewhere"))
    state.mkdir()


def replace_file(state):
    (state / "other").write_bytes(b"not a database" * 1000)
    (state / "other").rename(state / "flagsse.db")


def replace_by_backup(state):
    """A file as flagsse makes it, with a row that nobody may take for one of today."""
    with contextlib.closing(sqlite3.connect(state / "other")) as database, database:
        database.executescript("""
            CREATE TABLE updates (sequence INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE CHECK
                (length(key) BETWEEN 1 AND 100 AND key NOT GLOB '*[^A-Za-z0-9_-]*'),
                time_us INTEGER NOT NULL, stored_us INTEGER NOT NULL);
            INSERT INTO updates VALUES (41, 'backup', 1700000000000000, 1700000000000000);
            PRAGMA application_id = 1179416389; PRAGMA user_version = 1;""")
    (state / "other").rename(state / "flagsse.db")


def replace_log(state):
    (state / "other").write_bytes(b"not a log" * 1000)
    (state / "other").rename(state / "flagsse.db-wal")


EVENTS = [delete_file, delete_log, delete_both, delete_directory, delete_content, move_file, move_directory,
          replace_directory, replace_file, replace_by_backup, replace_log]


@pytest.fixture(params=["local", "outbox"])
def kept(request, start):
    """A daemon whose store is the bus, or the outbox while NATS is away, and its state directory."""
    if request.param == "local":
        daemon = start.daemon(bus="local")
    else:
        server = start.nats()
        daemon = start.daemon(bus="nats", nats_url=server.url)
        server.kill()
        wait_away(daemon)
        daemon.server = server
    return daemon, daemon.directory / "state"


def restart_and_check(daemon, times, end="kill"):
    """All of them are known to the next process; and, if it is the outbox, get to NATS."""
    getattr(daemon, end)()
    daemon.start("/livez")
    for key, time_us in times.items():
        wait_until(lambda: daemon.snapshot(key) == time_us, "accepted, and lost")
    if daemon.bus == "nats":
        assert queued(daemon) == len(times)
        daemon.server.start()
        wait_ready(daemon)
        wait_empty(daemon)
        for key, time_us in times.items():
            daemon.check_snapshot(key, time_us)


@pytest.mark.parametrize("event", EVENTS)
def test_goes_on_in_a_new_file(kept, event):
    daemon, state = kept
    times = {key: daemon.accept(key) for key in (fresh_key() for _ in range(3))}
    with daemon.stream(next(iter(times))) as stream:
        assert stream.event() in times.values()
        event(state)
        for key in (fresh_key(), next(iter(times)), fresh_key()):
            times[key] = daemon.accept(key)
        assert stream.event() in times.values()
        stream.quiet(0.2)  # nothing comes again
    assert len(daemon.wait_log(NOTICED)) == 1
    assert daemon.get("/livez").status == 200
    restart_and_check(daemon, times)


@pytest.mark.parametrize("event", [replace_file, replace_by_backup])
def test_what_took_its_place_is_kept(kept, event):
    daemon, state = kept
    daemon.accept(fresh_key())
    event(state)
    content = (state / "flagsse.db").read_bytes()
    daemon.accept(fresh_key())
    aside = [path for path in state.glob("flagsse.db.*-*") if not path.name.endswith(("-wal", "-shm"))]
    assert len(aside) == 1
    daemon.wait_log(re.escape(str(aside[0])))
    assert event is replace_by_backup or aside[0].read_bytes() == content
    assert daemon.snapshot("backup") is None


def test_numbers_go_on(start):
    """Those of the new file do not begin again."""
    daemon = start.daemon(bus="local")
    numbers = []
    for event in (None, delete_file, delete_log, replace_by_backup):
        if event:
            event(daemon.directory / "state")
        numbers.append(daemon.offer(fresh_key())[0].json()["sequence"])
    assert numbers == [1, 2, 3, 4]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_nothing_is_published_any_more(kept, end):
    """Deleted while nothing happens: noticed at the end, or within half a minute."""
    daemon, state = kept
    times = {key: daemon.accept(key) for key in (fresh_key() for _ in range(3))}
    delete_content(state)
    if end == "kill":
        daemon.wait_log(NOTICED, timeout=60)
        daemon.wait_log("notice: The store: all that was in it is in its place again")
    restart_and_check(daemon, times, end)


def test_deleted_and_unreadable(start):
    """Not even the file that has no name any more can be read: what the process knows is written to the new one."""
    server = start.nats()
    daemon = start.daemon(bus="nats", nats_url=server.url)
    daemon.server = server
    server.kill()
    wait_away(daemon)
    # More than SQLite keeps in memory, so that it has to read its file.
    keys = [fresh_key() + 78 * "k" for _ in range(12000)]
    times, others = offer_many(daemon, keys)
    assert len(times) == len(keys), others[:3]
    state = daemon.directory / "state"
    with open(state / "flagsse.db", "r+b") as file, open(state / "flagsse.db-wal", "r+b") as log:
        delete_file(state)
        for opened in (file, log):
            size = opened.seek(0, os.SEEK_END)
            opened.seek(4096)
            opened.write(b"x" * (size - 4096))
    last = fresh_key()
    times.update(wait_until(lambda: offer_many(daemon, [last])[0], "it does not go on"))
    assert daemon.wait_log(NOTICED)
    assert daemon.wait_log("error: The store: .*what was in the former file cannot be written to a new one")
    assert queued(daemon) == len(times)
    for _ in range(3):  # each after all that was written back before it
        times.update(wait_until(lambda: offer_many(daemon, [fresh_key()])[0], "it does not go on"))
    daemon.kill()
    daemon.start("/livez")
    wait_until(lambda: queued(daemon) == len(times), "what was accepted is not in the new file")


def test_no_new_file_is_possible(kept):
    """Refused with the reason until one can be made; nothing of before is lost."""
    daemon, state = kept
    times = {key: daemon.accept(key) for key in (fresh_key() for _ in range(3))}
    shutil.rmtree(state)
    state.write_text("in the way")
    key = fresh_key()
    response, _ = daemon.offer(key)
    assert response.status == 503 and str(state) in response.detail
    assert str(state) in daemon.get("/readyz").detail
    state.unlink()
    wait_until(lambda: daemon.offer(key)[0].status in (200, 202), "the store is never opened", 20, 0.2)
    times[key] = daemon.accept(key)
    restart_and_check(daemon, times)


def test_the_directory_comes_back(kept):
    """Moved away and back: it is the same file, which has all."""
    daemon, state = kept
    times = {key: daemon.accept(key) for key in (fresh_key() for _ in range(3))}
    state.rename(state.with_name("elsewhere"))
    state.write_text("in the way")
    key = fresh_key()
    assert daemon.offer(key)[0].status == 503
    state.unlink()
    os.rename(state.with_name("elsewhere"), state)
    wait_until(lambda: daemon.offer(key)[0].status in (200, 202), "the store is never opened", 20, 0.2)
    times[key] = daemon.accept(key)
    restart_and_check(daemon, times)


def test_another_process_takes_its_place(start):
    """Deleted, and another flagsse begins there: its file is left alone, and both do not fight for the place."""
    daemon = start.daemon(bus="local")
    state = daemon.directory / "state"
    mine = fresh_key()
    times = {mine: daemon.publish(mine)}
    delete_content(state)
    second = start.daemon(bus="local", options=[f"service.state_dir={state}"])
    other = fresh_key()
    time_us = second.publish(other)
    response, _ = daemon.offer(fresh_key())
    assert response.status == 503 and "another process" in response.detail
    second.check_snapshot(other, time_us)
    assert second.publish(other)
    second.stop()
    wait_until(lambda: daemon.offer(mine)[0].status == 200, "the store is never opened", 20, 0.2)
    times[mine] = daemon.publish(mine)
    restart_and_check(daemon, times)
