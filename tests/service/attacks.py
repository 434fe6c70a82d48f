# SPDX-License-Identifier: BSD-3-Clause
"""What an attack is made of, and the honest clients that must not notice it."""
import json
import os
import resource
import select
import socket
import subprocess
import sys
import time
from pathlib import Path

from daemon import under_sanitizer
from test_churn import descriptors
from test_scale import pss
from wire import parse_metrics, wait_until

IP_BIND_ADDRESS_NO_PORT = 24

# The daemon's memory after an attack, above what it was before: malloc() keeps some of what the crowd had.
GROWTH = 6 * 2**20
# In half a second, of one core: with a thousand streams that have nothing to do.
IDLE_CPU = 0.15 if under_sanitizer() else 0.05


def cpu_seconds(pid):
    """What the process has used of all cores."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_during(pid, seconds):
    before = cpu_seconds(pid)
    time.sleep(seconds)
    return cpu_seconds(pid) - before


def raise_descriptor_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def assert_alive(daemon, seconds=5):
    """A daemon that no longer answers is killed first: it may never end by itself."""
    try:
        with daemon.connect(timeout=seconds) as connection:
            assert connection.request("GET", "/livez").status == 200
    except (OSError, EOFError) as error:
        cpu = cpu_during(daemon.pid, 1)
        daemon.kill()
        raise AssertionError(f"/livez is not served ({error}); flagsse used {cpu:.2f} s of a core in 1 s") from None


def connections(daemon):
    """That HTTP has in hand, without the one that asks; None if there is no answer in a second."""
    try:
        with daemon.connect(timeout=1) as connection:
            return parse_metrics(connection.request("GET", "/metrics").body.decode())["flagsse_http_connections"] - 1
    except (OSError, EOFError):
        return None


def wait_connections(daemon, most, seconds, what):
    """Waits until HTTP has in hand no more than so many."""
    seen = []

    def few():
        seen.append(connections(daemon))
        return seen[-1] is not None and seen[-1] <= most
    wait_until(few, lambda: f"{what}: {seen[-1]} connections", seconds, 0.2)


class Company:
    """A thousand subscribers, a publisher and a prober: honest.py."""

    STREAMS = 1000

    def __init__(self, daemon, source="127.0.0.1"):
        self.daemon = daemon
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("honest.py")), str(daemon.address[1]), daemon.token,
             str(self.STREAMS), source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def __enter__(self):
        try:
            answer = self.tell("open")
            assert answer["streams"] == self.STREAMS, answer
            self.usage_before = self.usage()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def usage(self):
        """Memory and descriptors at their lowest: publishing goes on, and memory is given back a moment later."""
        samples = []
        for _ in range(15):
            samples.append((pss(self.daemon.pid), descriptors(self.daemon)))
            time.sleep(0.1)
        return tuple(map(min, zip(*samples)))

    def check_undisturbed(self):
        """The attack is over: nobody has noticed it, and nothing is left of it."""
        report = self.tell("finish")
        self._check_report(report)
        self._check_traces()

    def _check_report(self, report):
        asked = report["asked"]
        assert asked > 20, "the attack was too short to tell"
        served = {kind: len(times) for kind, times in report["times"].items()}
        what = (f"{report['streams']} of {self.STREAMS} streams are left, {report['behind']} lack an update; of "
                f"{asked} each, served: {served}; {len(report['problems'])} problems: {report['problems'][:3]}")
        print(what)
        assert (report["streams"], report["cut"], report["behind"]) == (self.STREAMS, 0, 0), what
        assert served == {"publish": asked, "livez": asked}, what
        for kind, times in report["times"].items():
            times.sort()
            print(f"{kind}: median {times[asked // 2]:.3f} s, 95 % {times[asked * 95 // 100]:.3f} s, "
                  f"longest {times[-1]:.3f} s")
            # What other processes of this machine cost the slowest ones is no fault of the daemon's.
            assert times[asked // 2] <= 0.5, f"{kind} took too long: {times[asked // 2:]}"

    def _check_traces(self):
        pid = self.daemon.pid
        memory, files = self.usage_before
        wait_connections(self.daemon, 0, 15, "left behind")
        wait_until(lambda: cpu_during(pid, 0.5) <= IDLE_CPU, "flagsse does not come to rest", 10)
        wait_until(lambda: descriptors(self.daemon) <= files, f"there were {files} descriptors before", 5)
        if not under_sanitizer():  # whose quarantine keeps what is freed
            wait_until(lambda: pss(pid) <= memory + GROWTH,
                       lambda: f"memory has grown from {memory} to {pss(pid)} bytes", 10)


class Attacker:
    """One connection.  Times are seconds since it was begun; None: not yet."""

    def __init__(self, sock):
        self.sock = sock
        self.begun = time.monotonic()
        self.received = b""
        self.answered = None  # the first byte
        self.ended = None
        self.by_reset = False

    def receive(self, data):
        if self.answered is None:
            self.answered = time.monotonic() - self.begun
        self.received += data


class Attackers:
    """Very many connections of one client, each of which sends `data` and then waits.

    Those that do not read have a window as small as the kernel allows, so that nearly nothing is sent to them.
    """

    CONNECTING = 500  # at a time
    AGAIN = 500  # at most, in a second

    def __init__(self, address, count, data, *, source="127.0.0.1", reads=True, again=False):
        raise_descriptor_limit()
        self.address = address
        self.count = count
        self.data = data
        self.source = source
        self.reads = reads
        self.again = again  # one that has been ended comes back
        self.epoll = select.epoll()
        self.open = {}  # descriptor -> Attacker, connected or not
        self.connecting = set()
        self.everyone = []  # in the order of their connecting
        self.credit, self.credited = 0, time.monotonic()  # how many may come back by now

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.leave()
        self.epoll.close()

    def leave(self):
        for attacker in self.open.values():
            attacker.sock.close()
        self.open.clear()
        self.connecting.clear()

    def shut_down(self):
        """Each says that it will send no more, and goes on reading."""
        for attacker in self.open.values():
            attacker.sock.shutdown(socket.SHUT_WR)

    def _connect(self):
        sock = socket.socket()
        sock.setblocking(False)
        if not self.reads:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((self.source, 0))
        try:
            sock.connect(self.address)
        except BlockingIOError:
            pass
        attacker = Attacker(sock)
        self.open[sock.fileno()] = attacker
        self.everyone.append(attacker)
        self.connecting.add(sock.fileno())
        self.epoll.register(sock, select.EPOLLOUT)

    def _end(self, fd, by_reset=False):
        attacker = self.open.pop(fd)
        self.connecting.discard(fd)
        self.epoll.unregister(fd)
        attacker.sock.close()
        attacker.ended = time.monotonic() - attacker.begun
        attacker.by_reset = by_reset

    def _act(self, fd, events):
        attacker = self.open[fd]
        try:
            if fd in self.connecting and events & select.EPOLLOUT:
                attacker.sock.send(self.data)
                self.connecting.discard(fd)
                self.epoll.modify(fd, select.EPOLLIN if self.reads else select.EPOLLRDHUP)
                return
            data = attacker.sock.recv(65536) if self.reads else b""
        except OSError:
            self._end(fd, by_reset=True)
            return
        if data:
            attacker.receive(data)
        else:
            self._end(fd)

    def turn(self, seconds=0.1):
        """What happens in so many seconds, at most 0.1 s."""
        for fd, events in self.epoll.poll(min(seconds, 0.1)):
            self._act(fd, events)
        if self.again and len(self.everyone) >= self.count:
            self._come_back()

    def _come_back(self):
        now = time.monotonic()
        self.credit = min(self.AGAIN / 10, self.credit + (now - self.credited) * self.AGAIN)
        self.credited = now
        while self.credit >= 1 and len(self.open) < self.count:
            self.credit -= 1
            self._connect()

    def attack(self, seconds=30):
        """Connects all; some may have been ended already."""
        deadline = time.monotonic() + seconds
        while (len(self.everyone) < self.count or self.connecting) and time.monotonic() < deadline:
            while len(self.everyone) < self.count and len(self.connecting) < self.CONNECTING:
                self._connect()
            self.turn(0.05)
        assert len(self.everyone) >= self.count and not self.connecting, "they cannot even connect"

    def wait(self, seconds, byte=b""):
        """Goes on for so long; each sends the byte once a second."""
        deadline = time.monotonic() + seconds
        next_byte = time.monotonic() + 1
        while (now := time.monotonic()) < deadline:
            if byte and now >= next_byte:
                next_byte += 1
                self._trickle(byte)
            self.turn(deadline - now)

    def count_answered(self):
        return sum(attacker.answered is not None for attacker in self.everyone)

    def wait_answered(self, seconds):
        """Waits until each of them has been answered."""
        deadline = time.monotonic() + seconds
        while self.open and self.count_answered() < len(self.everyone) and time.monotonic() < deadline:
            self.turn()
        answered = self.count_answered()
        assert answered == len(self.everyone), f"{answered} of {len(self.everyone)} are answered in {seconds} s"

    def wait_ended(self, seconds):
        """Waits until each of them has been ended."""
        deadline = time.monotonic() + seconds
        while self.open and time.monotonic() < deadline:
            self.turn()
        assert not self.open, f"{len(self.open)} connections of {self.count} are still open after {seconds} s"

    def _trickle(self, byte):
        for fd, attacker in list(self.open.items()):
            if fd in self.connecting:
                continue
            try:
                attacker.sock.send(byte)
            except OSError:
                self._end(fd, by_reset=True)
