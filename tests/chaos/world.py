# SPDX-License-Identifier: BSD-3-Clause
"""The world of a run: NATS (one server, or a cluster of three) and the nodes, and all that can be done to them."""
import contextlib
import itertools
import os
import shutil
import subprocess
import threading
import time

from daemon import Daemon, free_port
from history import MAX_AGE, RETRY_MAX, Fault, Full, Life, Loss
from nats import STREAM, NatsError, NatsServer
from shim import Shim, build
from silent import SilentServer, info
from wire import TIMEOUT, wait_until

N_NODES = 2
DISK_SIZE = "32m"  # of a node; SQLite's log of changes needs some MiB
OPTIONS = ("streams.keepalive=2s", f"streams.max_age={MAX_AGE}s", f"streams.retry_max={RETRY_MAX}s",
           "nats.connect_timeout=1s")
READY_TIMEOUT = 60
ASK_TIMEOUT = 5  # of what is asked again: a cluster without a leader does not answer
GREETINGS = (info(), b"")  # of a server that falls silent: after INFO, or before it
BEHIND_S, AHEAD_S = -90, 3600  # how wrong clocks are
LARGEST = 10  # bytes of a message, where JetStream refuses: no update is as small


class Node:
    """A daemon with a clock of its own, which can be set, and a disk, so small that it can be filled."""

    def __init__(self, number, directory, history, nats_url, options, shim):
        self.number = number
        self.history = history
        self.daemon = Daemon(directory / f"node-{number}", bus="nats", nats_url=nats_url,
                             options=[*OPTIONS, *options])
        self.shim = Shim(self.daemon.directory, shim)
        self.daemon.env = self.shim.env
        self.disk = self.daemon.directory / "state"
        self.disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE}", "flagsse-chaos", self.disk], check=True)
        self.full = None
        self.life = Life(number, 0, 0, ended=history.now())

    def start(self):
        self.daemon.start(wait="/livez")
        self.life = self.history.add(Life(self.number, self.life.number + 1, self.history.now()))

    def is_up(self):
        return not self.life.ended

    def _end(self, how):
        self.life.how = how
        self.life.ended = self.history.now()

    def kill(self):
        self._end("killed")
        self.daemon.kill()

    def stop(self):
        self._end("stopped")
        self.daemon.stop()

    def wait_ready(self):
        wait_until(lambda: self.daemon.get("/readyz").status == 200, f"never ready: {self.daemon.log_tail()}",
                   READY_TIMEOUT)

    def is_on_nats(self):
        return self.daemon.metrics()["flagsse_bus_up"] == 1

    def set_clock(self, offset_s):
        """How far it is ahead of the truth."""
        self.shim.clock_offset_s = offset_s

    def fill_disk(self):
        self.full = self.history.add(Full(self.number, self.history.now()))
        with open(self.disk / "filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(65536))

    def clear_disk(self):
        if self.full:
            (self.disk / "filler").unlink()
            self.full.ended = self.history.now()
            self.full = None

    def close(self):
        """Ends it in the proper way, which checks that it does."""
        try:
            self.clear_disk()
            self.daemon.stop()
        finally:
            self.daemon.kill()
            subprocess.run(["umount", "--lazy", self.disk], check=True)


class Nats:
    """The servers.  More than one are a cluster that keeps each message as often."""

    def __init__(self, directory, n_servers):
        routes = [free_port() for _ in range(n_servers)]
        self.servers = [NatsServer(directory / f"nats-{i}", config=self._cluster(i, routes) if n_servers > 1 else "")
                        for i in range(n_servers)]
        self.is_cluster = n_servers > 1

    @staticmethod
    def _cluster(number, ports):
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
        return (f'server_name: "n{number}"\n'
                f'cluster {{ name: "chaos", listen: "127.0.0.1:{ports[number]}", routes: [{routes}] }}\n')

    @property
    def url(self):
        return ",".join(server.url for server in self.servers)

    @property
    def options(self):
        return (f"nats.replicas={len(self.servers)}",)

    def start(self):
        for server in self.servers:
            server.start(wait=False)
        wait_until(self.answers, "NATS does not come up", READY_TIMEOUT)

    def answers(self):
        try:
            with self.client(timeout=ASK_TIMEOUT) as client:
                return client.api("INFO")
        except (OSError, NatsError):
            return None

    def client(self, **options):
        """Of a server that answers.  OSError: there is none."""
        for server in self.servers:
            with contextlib.suppress(OSError, NatsError):
                return server.client(**options)
        raise OSError("no NATS server answers")

    def refuse(self):
        """From now on JetStream refuses every update, as too large for the stream."""
        wait_until(lambda: self._change_stream(max_msg_size=LARGEST), "there is no stream", READY_TIMEOUT)
        wait_until(self._refuses, "JetStream does not refuse", READY_TIMEOUT)

    def take(self):
        """JetStream takes them again."""
        wait_until(lambda: self._change_stream(max_msg_size=-1), "there is no stream", READY_TIMEOUT)

    def _change_stream(self, **changes):
        """Whether it has them now."""
        try:
            with self.client(timeout=ASK_TIMEOUT) as client:
                client.api(f"STREAM.UPDATE.{STREAM}", {**client.stream_info()["config"], **changes})
        except (OSError, NatsError):
            return False  # NATS is away just now, or the stream is
        return True

    def _refuses(self):
        try:
            with self.client(timeout=ASK_TIMEOUT) as client:
                client.store("nobodys", b'{"updated_at": 1.000000}')
        except (OSError, NatsError) as error:
            return "size exceeds" in str(error)
        return False

    def latest(self, keys):
        """What the stream holds: key -> us, 0 for nothing.  None: NATS does not say."""
        try:
            with self.client(timeout=ASK_TIMEOUT) as client:
                messages = {key: client.last_message(key) for key in keys}
        except (OSError, NatsError):
            return None
        return {key: us_of(message) if message else 0 for key, message in messages.items()}

    def close(self):
        for server in self.servers:
            server.kill()


def us_of(message):
    seconds, us = message.payload.removeprefix(b'{"updated_at": ').removesuffix(b"}").split(b".")
    assert len(us) == 6, message
    return int(seconds) * 10**6 + int(us)


class World:
    def __init__(self, directory, history, n_servers=1):
        self.history = history
        self.calm = threading.Event()  # nobody makes trouble any more
        self.nats = Nats(directory, n_servers)
        shim = build(directory)
        self.nodes = [Node(i, directory, history, self.nats.url, self.nats.options, shim) for i in range(N_NODES)]
        self.greetings = itertools.cycle(GREETINGS)
        self.silent = []  # all silent peers there have been

    def start(self):
        self.nats.start()
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait_ready()

    def close(self):
        problems = []
        for node in self.nodes:
            try:
                node.close()
            except (AssertionError, OSError) as error:
                problems.append(str(error))
        self.nats.close()
        for peer in self.silent:
            peer.close()
        assert not problems, "\n".join(problems)

    @contextlib.contextmanager
    def fault(self, what):
        fault = self.history.add(Fault(what, self.history.now()))
        yield
        fault.ended = self.history.now()

    # What can be done to NATS.  `pause`: for how long, seconds.

    def nats_killed(self, server, pause):
        with self.fault(f"nats-server killed for {pause:.1f} s"):
            server.kill()
            time.sleep(pause)
            server.start(wait=not self.nats.is_cluster)

    def nats_restarted(self, server, pause):
        with self.fault(f"nats-server stopped for {pause:.1f} s"):
            server.stop()
            time.sleep(pause)
            server.start(wait=not self.nats.is_cluster)

    def nats_frozen(self, server, pause):
        with self.fault(f"nats-server frozen for {pause:.1f} s"):
            server.freeze()
            time.sleep(pause)
            server.thaw()

    def nats_emptied(self, server, pause):
        with self.fault(f"nats-server restarted empty after {pause:.1f} s"):
            last = self.history.now()
            server.kill()
            if not self.nats.is_cluster:
                self.history.add(Loss("restarted empty", last, begun=last))
            shutil.rmtree(server.directory / "jetstream")
            time.sleep(pause)
            server.start(wait=not self.nats.is_cluster)

    def majority_frozen(self, _, pause):
        with self.fault(f"two nats-servers frozen for {pause:.1f} s"):
            for server in self.nats.servers[:2]:
                server.freeze()
            time.sleep(pause)
            for server in self.nats.servers[:2]:
                server.thaw()

    def nats_silent(self, server, pause):
        with self.fault(f"a silent server in the place of nats-server for {pause:.1f} s"):
            self._silence([server], pause)

    def majority_silent(self, _, pause):
        with self.fault(f"silent servers in the place of two nats-servers for {pause:.1f} s"):
            self._silence(self.nats.servers[:2], pause)

    def _silence(self, servers, pause):
        """Their addresses lead to peers that accept, say INFO or nothing, and no more.  These keep their connections
        when the servers are back: it is up to the nodes to give them up."""
        for server in servers:
            if self.nats.is_cluster:
                server.stop()  # see rounds.py
            else:
                server.kill()
        silent = [SilentServer(next(self.greetings), server.port) for server in servers]
        self.silent += silent
        time.sleep(pause)
        for peer, server in zip(silent, servers):
            peer.leave_address()
            server.start(wait=not self.nats.is_cluster)

    def jetstream_refuses(self, _, pause):
        with self.fault(f"JetStream refuses for {pause:.1f} s"):
            self.nats.refuse()
            time.sleep(pause)
            self.nats.take()

    def stream_deleted(self, *_):
        self._api("stream deleted", lambda client: client.delete_stream(), loses=True)

    def stream_purged(self, *_):
        self._api("stream purged", lambda client: client.purge_stream(), loses=True)

    def consumers_deleted(self, *_):
        self._api("consumers deleted", delete_consumers, loses=False)

    def _api(self, what, action, loses):
        """Through JetStream's API.  The loss is noted before, as it may happen though no answer comes, and for as
        long as it may come."""
        with self.fault(what):
            loss = Loss(what, last=float("inf"), begun=self.history.now())
            try:
                with self.nats.client(timeout=TIMEOUT if loses else ASK_TIMEOUT) as client:
                    if loses:
                        self.history.add(loss)
                    action(client)
            except (OSError, NatsError):
                pass  # NATS is away just now, or the stream is
            loss.last = self.history.now()

    # What can be done to a node

    def node_killed(self, node, pause):
        with self.fault(f"node {node.number} killed for {pause:.1f} s"):
            node.kill()
            time.sleep(pause)
            node.start()

    def node_restarted(self, node, pause):
        with self.fault(f"node {node.number} stopped for {pause:.1f} s"):
            node.stop()
            time.sleep(pause)
            node.start()

    def clock_behind(self, node, pause):
        self._clock_wrong(node, BEHIND_S, pause)

    def clock_ahead(self, node, pause):
        self._clock_wrong(node, AHEAD_S, pause)

    def _clock_wrong(self, node, offset_s, pause):
        """Of a node that has heard of NATS's clock: one that has not, since its start, orders by its own
        (doc/reliability.md), which the checker does not know of."""
        wait_until(node.is_on_nats, "the node does not reach NATS", READY_TIMEOUT)
        with self.fault(f"clock of node {node.number} wrong by {offset_s} s for {pause:.1f} s"):
            node.set_clock(offset_s)
            time.sleep(pause)
            node.set_clock(0)

    def disk_filled(self, node, pause):
        with self.fault(f"disk of node {node.number} full for {pause:.1f} s"):
            node.fill_disk()
            self.calm.wait(pause)
            node.clear_disk()


def delete_consumers(client):
    for name in client.api(f"CONSUMER.NAMES.{STREAM}").get("consumers") or ():
        client.api(f"CONSUMER.DELETE.{STREAM}.{name}")


def enter_mount_namespace(program, arguments):
    """Runs the program anew where it may mount disks, which are gone with it."""
    if os.environ.get("FLAGSSE_CHAOS_INSIDE"):
        return
    command = ["unshare", "--mount", "--propagation", "private"]
    if os.geteuid() != 0:
        command += ["--user", "--map-root-user"]
    os.environ["FLAGSSE_CHAOS_INSIDE"] = "1"
    os.execvp("unshare", [*command, program, *arguments])
