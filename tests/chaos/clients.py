# SPDX-License-Identifier: BSD-3-Clause
"""Publishers and readers, a thread each.  They write down what they see, and judge nothing."""
import concurrent.futures
import random
import socket
import struct
import threading
import time

from daemon import fresh_time_us, isoformat
from history import (PUBLISHED, QUEUED, REFUSED, STALE, UNKNOWN, UNSENT, WRONG, Publication, Refusal, Subscription)
from sse import Event, Malformed, Refused, Stream

HOUR_US = 3600 * 10**6
SLOWEST_US = 5 * 10**6  # of the transactions
N_AT_ONCE = 3


class Client(threading.Thread):
    """Runs turn() until it is told to stop; what goes wrong in it is kept for the main thread."""

    def __init__(self, name, seed):
        super().__init__(name=name, daemon=True)
        self.random = random.Random(seed)
        self.stopping = threading.Event()
        self.error = None

    def run(self):
        try:
            while not self.stopping.is_set():
                self.turn()
        except BaseException as error:  # not lost with the thread
            self.error = error
            raise
        finally:
            self.leave()

    def leave(self):
        pass

    def stop(self):
        self.stopping.set()
        self.join()
        if self.error:
            raise self.error


class Publisher(Client):
    """As Flagsmith publishes: a connection each time, from several processes.  Some are late, as their transactions
    were slow, some come again, some clocks are ahead, and now and then several publish at once."""

    LATE, AGAIN, AT_ONCE = 0.25, 0.1, 0.1  # how often, of 1

    def __init__(self, number, seed, world, keys, ahead_keys, pause):
        super().__init__(f"publisher-{number}", seed)
        self.world = world
        self.history = world.history
        self.keys = keys
        self.ahead_keys = ahead_keys
        self.pause = pause  # the longest, seconds
        self.last = {}  # key -> us

    def turn(self):
        key = self.random.choice(self.keys)
        count = N_AT_ONCE if self.random.random() < self.AT_ONCE else 1
        updates = [(self._some_node(), key, self._some_time(key)) for _ in range(count)]
        outcomes = publish_at_once(self.world, updates)
        self.last[key] = updates[-1][2]
        if UNSENT in outcomes:
            self.stopping.wait(0.02)  # as a load balancer: the next one soon
            return
        self.stopping.wait(self.random.uniform(0, self.pause))

    def _some_node(self):
        return self.random.randrange(len(self.world.nodes))

    def _some_time(self, key):
        us = fresh_time_us()
        dice = self.random.random()
        if key in self.ahead_keys and dice < 0.5:
            return us + HOUR_US
        dice = self.random.random()
        if dice < self.LATE:
            return us - self.random.randrange(SLOWEST_US)
        if dice < self.LATE + self.AGAIN:
            return self.last.get(key, us)
        return us


class LatePublisher(Client):
    """Publishes an update of each of its environments, and then an older one, which is the last for long."""

    def __init__(self, seed, world, keys, longest):
        super().__init__("publisher-late", seed)
        self.world = world
        self.keys = list(keys)
        self.longest = longest  # seconds between the two

    def turn(self):
        if not self.keys:
            self.stopping.wait()
            return
        key = self.keys.pop()
        younger = fresh_time_us()
        self._publish(key, younger)
        self.stopping.wait(self.random.uniform(0, self.longest))
        self._publish(key, younger - self.random.randrange(1, SLOWEST_US))

    def _publish(self, key, us):
        """Tries both nodes; a third time is for what has come back."""
        first = self.random.randrange(len(self.world.nodes))
        for i in range(3):
            if publish(self.world, (first + i) % len(self.world.nodes), key, us).outcome in (PUBLISHED, QUEUED, STALE):
                return


def publish_at_once(world, updates):
    """`updates`: (node, key, us).  How it went."""
    with concurrent.futures.ThreadPoolExecutor(len(updates)) as pool:
        return [publication.outcome for publication in pool.map(lambda update: publish(world, *update), updates)]


def publish(world, number, key, us):
    """Publishes once and writes down how it went."""
    history = world.history
    publication = history.add(
        Publication(key, us, number, sent=history.now(), wall=time.time_ns() // 1000))
    try:
        response = world.nodes[number].daemon.post(key, b'{"updated_at": "%s"}' % isoformat(us).encode())
    except ConnectionRefusedError:
        outcome, detail = UNSENT, ""
    except (OSError, EOFError) as error:
        timed_out = isinstance(error, TimeoutError)
        outcome, detail = (WRONG if timed_out else UNKNOWN), repr(error)
    except AssertionError as error:
        outcome, detail = WRONG, str(error)  # not what every answer has to be like
    else:
        outcome, detail = outcome_of(response)
    publication.wall_answered = time.time_ns() // 1000
    publication.answered = history.now()
    publication.detail = detail
    publication.outcome = outcome
    return publication


def outcome_of(response):
    if response.status == 503:
        return REFUSED, response.detail
    status = response.json().get("status")
    if (response.status, status) in ((200, PUBLISHED), (200, STALE), (202, QUEUED)):
        return status, ""
    return WRONG, repr(response)


class WatchedStream(Stream):
    """A stream that may be cut, which its reader wants to know and not to fail by."""

    cut = False

    def receive(self, timeout=0.0):
        try:
            return super().receive(timeout)
        except ConnectionResetError:
            self.ended = self.cut = True
        except Malformed:
            if not self.ended:
                raise
            self.cut = True  # the connection's end is not the stream's
        return False


class Reader(Client):
    """Reads one environment on one node, for ever: after each end it connects again."""

    def __init__(self, name, seed, world, number, key):
        super().__init__(name, seed)
        self.world = world
        self.history = world.history
        self.number = number  # of the node
        self.key = key
        self.stream = None
        self.subscription = None
        self.last_id = 0

    def turn(self):
        if self.stream is None:
            self.connect(self.number)
        else:
            self.read()

    def connect(self, number, **options):
        """Subscribes, if the node is there."""
        node = self.world.nodes[number]
        life = node.life
        if life.ended:
            self.stopping.wait(0.05)
            return
        if self.last_id:
            options["headers"] = (("Last-Event-ID", str(self.last_id)),)
        asked = self.history.now()
        try:
            stream = WatchedStream(node.daemon.address, self.key, **options)
        except (OSError, EOFError, Refused) as error:
            self.history.add(Refusal(number, life.number, self.history.now(), repr(error)))
            self.stopping.wait(0.1)
            return
        except AssertionError as error:
            self.history.add(Subscription(self.key, number, life.number, self.history.now(),
                                          ended=self.history.now(), how=f"malformed: {error}"))
            self.stopping.wait(0.1)
            return
        self.subscription = Subscription(self.key, number, life.number, self.history.now(), self.last_id,
                                         asked=asked)
        self.stream = stream
        self.take()
        self.history.add(self.subscription)

    def take(self):
        """What has come."""
        now = self.history.now()
        for block in self.stream.blocks:
            if isinstance(block, Event):
                self.subscription.receipts.append((now, block.id))
        self.stream.blocks.clear()

    def read(self):
        try:
            self.stream.receive(0.2)
            self.take()
        except Malformed as error:
            self.end(f"malformed: {error}")
            return
        if self.stream.ended:
            self.end("cut" if self.stream.cut else "clean")

    def end(self, how):
        self.subscription.how = how
        self.subscription.ended = self.history.now()
        self.stream.close()
        self.stream = None

    def leave(self):
        if self.stream is not None:
            self.end("left")


class Wanderer(Reader):
    """A reader in bad company: goes from node to node, stalls, resets, reads little by little, says what it has."""

    KINDS = ({}, {"version": "1.0"}, {"receive_buffer": 2048})

    def turn(self):
        if self.stream is None:
            self.connect(self.random.randrange(len(self.world.nodes)), **self.random.choice(self.KINDS))
            return
        self.read()
        if self.stream is None or self.world.calm.is_set():
            return
        dice = self.random.random()
        if dice < 0.03:
            self.world.calm.wait(self.random.uniform(0, 3))  # stalls; but not while it should be quiet
        elif dice < 0.06:
            self.stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.depart()
        elif dice < 0.1:
            self.depart()

    def depart(self):
        self.last_id = self.random.choice((0, self.subscription.last))
        self.end("left")
