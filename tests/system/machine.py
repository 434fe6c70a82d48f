# SPDX-License-Identifier: BSD-3-Clause
"""A Debian system in a container, booted, on a network of its own; commands run in it, clients come from outside.

Its directory is $FLAGSSE_SYSTEM.  There `./dev system` has put root.tar, the system without flagsse.
"""
import errno
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from wire import wait_until

SLOTS = 8  # so many runs can go on at once on one machine


def take_slot():
    """The lowest number that no other run has, and what holds it as long as we live."""
    for number in range(SLOTS):
        lock = open(f"/run/lock/flagsse-system-{number}", "w")  # pylint: disable=consider-using-with
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        return number, lock
    raise AssertionError(f"{SLOTS} runs of the system tests are going on already")


SLOT, SLOT_LOCK = take_slot()

# Of networks for documentation (RFC 5737) and of our own: nobody else has them.
OUTSIDE4, OUTSIDE6 = f"198.51.100.{4 * SLOT + 1}", f"fd5e:f1a6:55e:{SLOT}::1"
ADDRESS4, ADDRESS6 = f"198.51.100.{4 * SLOT + 2}", f"fd5e:f1a6:55e:{SLOT}::2"
PORT = 8088
SOCKET = "/run/flagsse.sock"

NETWORK = f"flagsse-system-{SLOT}"  # the container's network namespace
INTERFACE = f"flagsse-sys{SLOT}"  # our end of the cable to it
REBOOT = 133  # systemd-nspawn's exit status if the system inside asked for a reboot
TIMEOUT = 60  # seconds; only matters where something has failed

DIES_WITH_US = ("setpriv", "--pdeathsig", "TERM")  # put before a command
UNITS = ("flagsse.socket", "flagsse.service")
MESSAGES = Path(__file__).resolve().parents[2] / "src/base/messages.h"


def message_id(name):
    """The MESSAGE_ID= of that name in the source."""
    return re.search(rf'#define MESSAGE_{name} +"(\w+)"', MESSAGES.read_text())[1]


def execute(*command, check=True, timeout=TIMEOUT, **options):
    result = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=timeout, check=False,
        **({} if "input" in options else {"stdin": subprocess.DEVNULL}), **options)
    assert not check or result.returncode == 0, f"{command}: {result.returncode}\n{result.stdout}{result.stderr}"
    return result


def control_groups():
    """Where a group of its own can be made for a machine, in each hierarchy that systemd uses (cgroups(7)).

    Of what is in one group with it systemd-nspawn makes "payload": two machines at once would be in the same groups, and
    the systemd of each would remove those of the other.
    """
    roots = {"name=systemd": "/sys/fs/cgroup/systemd",
             "": "/sys/fs/cgroup/unified" if os.path.isdir("/sys/fs/cgroup/unified") else "/sys/fs/cgroup"}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, name, place = line.split(":", 2)
        if name in roots and os.path.exists(f"{roots[name]}{place}/cgroup.procs"):
            yield Path(f"{roots[name]}{place}") / NETWORK


def remove_group(top):
    """With those in it.  Whether it is gone: what has just ended may be there for a moment yet."""
    for group, _, _ in os.walk(top, topdown=False):
        try:
            os.rmdir(group)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
    return not top.exists()


class Machine:
    def __init__(self, directory, package):
        self.directory = Path(directory)
        self.package = Path(package)
        self.root = self.directory / "machine"
        self.process = None
        self.lock = None
        self.cursor = ""
        self.logs = {}  # of what else runs in it: functions that give the text, by name

    # life

    def start(self):
        """Unpacks and boots it, without flagsse."""
        self.lock = open(self.directory / "lock", "w")  # pylint: disable=consider-using-with
        fcntl.flock(self.lock, fcntl.LOCK_EX)  # one at a time: it has one root
        self._clean()
        self.root.mkdir()
        execute(*DIES_WITH_US, "tar", "-C", self.root, "--numeric-owner", "-xpf", self.directory / "root.tar")
        (self.root / "etc/hostname").write_text("flagsse-test\n")
        (self.root / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
        shutil.copy(self.package, self.root / "root/flagsse.deb")
        self._make_network()
        self._boot()
        self.mark()

    def _make_network(self):
        execute("ip", "netns", "add", NETWORK)
        execute("ip", "link", "add", INTERFACE, "type", "veth", "peer", "name", "host0", "netns", NETWORK)
        for namespace, interface, address4, address6 in (
                ([], INTERFACE, OUTSIDE4, OUTSIDE6), (["-n", NETWORK], "host0", ADDRESS4, ADDRESS6)):
            execute("ip", *namespace, "address", "add", f"{address4}/30", "dev", interface)
            execute("ip", *namespace, "address", "add", f"{address6}/64", "dev", interface, "nodad")
            execute("ip", *namespace, "link", "set", interface, "up")
        execute("ip", "-n", NETWORK, "link", "set", "lo", "up")

    def _boot(self):
        groups = list(control_groups())
        for group in groups:
            group.mkdir(exist_ok=True)

        def enter():
            for group in groups:
                (group / "cgroup.procs").write_text(str(os.getpid()))

        with open(self.directory / "console.log", "ab") as console:
            # In a session of its own, so that a Ctrl-C reaches only us.
            self.process = subprocess.Popen(
                [*DIES_WITH_US, "systemd-nspawn", "--quiet", "--register=no", "--keep-unit",
                 "--boot", f"--directory={self.root}", "--machine=flagsse-test",
                 f"--network-namespace-path=/run/netns/{NETWORK}", "--link-journal=no", "--resolv-conf=off",
                 "--timezone=off", "--console=read-only"],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True,
                preexec_fn=enter)  # pylint: disable=subprocess-popen-preexec-fn
        wait_until(self._is_up, "the system does not boot; see console.log", TIMEOUT, 0.2)

    def _is_up(self):
        assert self.process.poll() is None, "systemd-nspawn has ended; see console.log"
        if not self._find_leader():
            return False
        return self.run("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded")

    def _find_leader(self):
        """The init process of the container: the child whose innermost pid is 1."""
        for child in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            try:
                status = Path(f"/proc/{child}/status").read_text()
            except OSError:
                continue
            if any(line.startswith("NSpid:") and line.endswith("\t1") for line in status.splitlines()):
                return child
        return None

    def reboot(self):
        self.run("systemctl", "reboot", check=False)
        assert self.process.wait(TIMEOUT) == REBOOT
        self._boot()

    def stop(self):
        """Ends it and leaves nothing of it, in whatever state it is."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)  # an orderly power-off
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(30)
        self._clean()
        if self.lock:
            self.lock.close()

    def _clean(self):
        for group in control_groups():
            wait_until(lambda group=group: remove_group(group), f"processes are left in {group}")
        execute("ip", "link", "delete", INTERFACE, check=False)
        execute("ip", "netns", "delete", NETWORK, check=False)
        if self.root.exists():
            execute("rm", "-rf", "--one-file-system", self.root)

    # commands in it

    def command(self, *words):
        """What to execute outside to run this inside."""
        leader = self._find_leader()
        assert leader, "the system is not running"
        return ["nsenter", "--target", leader, "--all", "--", "env", "-i", "LC_ALL=C.UTF-8", "HOME=/root",
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", *map(str, words)]

    def run(self, *words, **options):
        return execute(*self.command(*words), **options)

    def pid_outside(self, pid):
        """The number that a process inside has for us."""
        leader = self._find_leader()
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                text = status.read_text()
            except OSError:
                continue
            numbers = next((line.split()[1:] for line in text.splitlines() if line.startswith("NSpid:")), [])
            if len(numbers) > 1 and numbers[-1] == str(pid) and self._is_in(status.parent, leader):
                return int(numbers[0])
        raise AssertionError(f"no process {pid} in the system")

    @staticmethod
    def _is_in(process, leader):
        """Whether a process is of the same system as its init process."""
        namespace = os.readlink(f"/proc/{leader}/ns/pid")
        try:
            return os.readlink(process / "ns/pid") == namespace
        except OSError:
            return False

    def shell(self, script, **options):
        return self.run("sh", "-euc", script, **options)

    def systemctl(self, *words, **options):
        return self.run("systemctl", *words, **options)

    def property(self, name, unit="flagsse.service"):
        return self.systemctl("show", "--value", "-p", name, unit).stdout.strip()

    def active(self, unit="flagsse.service"):
        return self.systemctl("is-active", unit, check=False).stdout.strip()

    def wait_active(self, state, unit="flagsse.service", timeout=TIMEOUT):
        wait_until(lambda: self.active(unit) == state, f"{unit} does not become {state}", timeout, 0.1)

    def write(self, path, text, mode=0o644):
        path = self.root / path.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def exists(self, path):
        # Not from outside: /run is a file system of its own.
        return self.shell(f"test -e {path} || test -L {path}", check=False).returncode == 0

    def drop_in(self, unit, text):
        self.write(f"/etc/systemd/system/{unit}.d/test.conf", text)
        self.systemctl("daemon-reload")

    # the package

    def install(self, *options, package="/root/flagsse.deb"):
        return self.run(
            "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes", "--quiet",
            "-o", "Dpkg::Use-Pty=0", *options, package, timeout=120)

    def install_next_version(self, *options, settings=""):
        """The same package under a higher version, with other units, and with these settings added to its
        flagsse.conf; install("--allow-downgrades") undoes it."""
        unpacked = self.directory / "next"
        execute("rm", "-rf", unpacked)
        execute("dpkg-deb", "-R", self.package, unpacked)
        control = unpacked / "DEBIAN/control"
        control.write_text(re.sub(r"(?m)^(Version: .*)$", r"\1+next", control.read_text()))
        with open(unpacked / "etc/flagsse/flagsse.conf", "a") as conffile:
            conffile.write(settings)
        for unit in unpacked.rglob("systemd/system/flagsse*.service"):
            unit.write_text(unit.read_text() + "# Of the next version.\n")
        execute("dpkg-deb", "-b", unpacked, self.root / "root/flagsse-next.deb")
        return self.install(*options, package="/root/flagsse-next.deb")

    def remove(self, how):
        return self.run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", how, "--yes", "--quiet", "flagsse",
                        timeout=120)

    def is_installed(self):
        result = self.run("dpkg-query", "-W", "-f", "${db:Status-Status}", "flagsse", check=False)
        return result.stdout == "installed"

    def reset(self):
        """As after a fresh installation, but that the journal goes on."""
        self.systemctl("stop", *UNITS, "nats-server.service", check=False)
        self.shell("rm -rf /etc/systemd/system/flagsse.* /etc/systemd/system/*/flagsse.* /etc/flagsse/token"
                   " /etc/flagsse/flagsse.env /etc/flagsse/conf.d/* /var/lib/flagsse /var/lib/flagsse-instances"
                   " /root/started")
        self.systemctl("daemon-reload")
        self.systemctl("reset-failed", check=False)
        if not self.is_installed():
            self.install()
        self.mark()

    # the journal

    def mark(self):
        """journal() gives what comes from now on."""
        self.run("journalctl", "--sync")
        text = self.run("journalctl", "-n", "0", "--show-cursor").stdout
        self.cursor = text.partition("-- cursor: ")[2].strip()

    def journal(self, **fields):
        """The entries of flagsse.service with such fields, its own and systemd's about it, as dictionaries."""
        self.run("journalctl", "--sync")
        # Without a match for journalctl, which would pass over the first entry after the cursor.
        text = self.run("journalctl", "-o", "json", "--all", f"--after-cursor={self.cursor}").stdout
        entries = [json.loads(line) for line in text.splitlines()]
        return [entry for entry in entries
                if "flagsse.service" in (entry.get("_SYSTEMD_UNIT"), entry.get("UNIT"))
                and all(entry.get(name) == value for name, value in fields.items())]

    def messages(self):
        return [str(entry.get("MESSAGE")) for entry in self.journal()]

    def last_messages(self):
        return "\n".join(self.messages()[-60:])

    def wait_message(self, text, timeout=TIMEOUT):
        def found():
            return next((message for message in self.messages() if text in message), None)
        return wait_until(found, f"no message in the journal with {text!r}", timeout, 0.2)

    def status_text(self):
        return self.property("StatusText")

    def wait_status(self, text, timeout=TIMEOUT):
        return wait_until(lambda: text in self.status_text() and self.status_text(),
                          f"the status never says {text!r}", timeout, 0.2)


class Watch:
    """`curl -N` on a stream, wherever it runs."""

    def __init__(self, command, url, *options):
        self.process = subprocess.Popen(
            [*command, "curl", "-sSN", "--noproxy", "*", *options, url], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.text = b""

    def read(self):
        """All that has come."""
        self.text += self.process.stdout.read() or b""
        return self.text

    def wait_for(self, text, timeout=TIMEOUT):
        def found():
            return text in self.read()
        wait_until(found, f"curl does not get {text!r}", timeout)

    def end(self):
        """Its exit status after the stream has ended."""
        deadline = time.monotonic() + TIMEOUT
        while self.process.poll() is None and time.monotonic() < deadline:
            self.text += self.process.stdout.read() or b""
            time.sleep(0.02)
        self.text += self.process.stdout.read() or b""
        return self.process.poll()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()
