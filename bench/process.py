# SPDX-License-Identifier: BSD-3-Clause
"""What the kernel tells of processes: CPU, memory, wake-ups."""
from pathlib import Path


def _tasks(pids):
    for pid in pids:
        yield from Path(f"/proc/{pid}/task").iterdir()


def cpu_us(pids):
    """Microseconds of CPU, user's and kernel's, of all threads that live."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in _tasks(pids)) / 1000


def switches(pids):
    """How often a thread went to sleep: as often it is woken up."""
    total = 0
    for task in _tasks(pids):
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches:"):
                total += int(line.split()[1])
    return total


def _rolled_up(pids, name):
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(f"{name}:"):
                total += int(line.split()[1]) * 1024
    return total


def pss(pids):
    """Bytes of memory that are the processes' own, and their shares of what they share."""
    return _rolled_up(pids, "Pss")


def anonymous(pids):
    """Bytes of the same that are in no file.  The rest are pages of files: the kernel can drop them."""
    return _rolled_up(pids, "Pss_Anon")


def kernel_memory():
    """Bytes that the kernel holds in small pieces: sockets, watches, descriptors; the whole system's."""
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return sum(int(fields[name].split()[0]) * 1024 for name in ("Slab", "KernelStack", "PageTables"))


def children(pid):
    """The process and those that it has started."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [pid] + [child for word in text.split() for child in children(int(word))]


def load():
    return float(Path("/proc/loadavg").read_text().split()[0])
