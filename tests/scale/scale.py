#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""./dev scale: very many streams, in a virtual machine.

There root may have as many descriptors as it likes, whatever limits it here.  The machine is emulated, which works
everywhere (KVM may be there and not work): its clock says nothing, but what it counts is true.  What counts are lost
streams, lost updates, and memory.
"""
import argparse
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

MEMORY_PER_STREAM_MAX = 128  # bytes of user memory, as in tests/service/test_scale.py
LEFT_KIB_MAX = 2048  # that may stay with flagsse once all streams are gone
# Of the machine: itself, and what the kernel needs for both ends of each stream.
BASE_MIB, STREAM_KIB = 1024, 12
BASE_S, STREAMS_PER_S = 300, 100  # how long it may take, where all is emulated


def parse():
    parser = argparse.ArgumentParser(prog="./dev scale", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--streams", type=int, default=100_000, help="how many (100000)")
    parser.add_argument("--kvm", action="store_true", help="do not emulate the machine")
    parser.add_argument("--kernel", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--initrd", type=Path, required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.streams < 1:
        parser.error("--streams takes a number above 0")
    options.memory_mib = BASE_MIB + options.streams * STREAM_KIB // 1024
    return options


def check_memory(needed_mib):
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    available_mib = int(fields["MemAvailable"].split()[0]) // 1024
    if available_mib < needed_mib:
        sys.exit(f"scale: it takes {needed_mib} MiB of memory, and {available_mib} are available")


def boot(options):
    """What the machine says, by name: a list of values each.  All that it prints is shown if it does not end well."""
    machine = subprocess.Popen(
        ["qemu-system-x86_64", "-accel", "kvm" if options.kvm else "tcg,thread=multi", "-smp", str(os.cpu_count()),
         "-m", str(options.memory_mib), "-kernel", options.kernel, "-initrd", options.initrd,
         "-append", f"console=ttyS0 quiet panic=-1 streams={options.streams}",
         "-display", "none", "-serial", "stdio", "-monitor", "none", "-nic", "none", "-no-reboot"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    watch = threading.Timer(BASE_S + options.streams / STREAMS_PER_S, machine.kill)
    watch.start()
    told, lines = {}, []
    try:
        for line in machine.stdout:
            lines.append(line.rstrip())
            words = lines[-1].split(" ", maxsplit=2)
            if words[0] == "scale:" and len(words) == 3:
                print(lines[-1], flush=True)
                told.setdefault(words[1], []).append(json.loads(words[2]))
    finally:
        watch.cancel()
        machine.kill()
        machine.wait()
    if "status" not in told:
        sys.exit("\n".join(["scale: the machine has not come to its end; it said:", *lines[-60:]]))
    return told


def check(streams, told):
    """(what, figure, what it must be, whether it is)."""
    opened, updates = told["open"][0], told["update"]
    user = (told["user_after"][0] - told["user_before"][0]) * 1024 / streams
    kernel = (told["kernel_after"][0] - told["kernel_before"][0]) * 1024 / streams
    left_kib = told["user_end"][0] - told["user_before"][0]
    reached = [update["got"] if update["status"] == 200 else 0 for update in updates]
    return [
        ("streams opened", opened["open"], streams, opened["open"] == streams),
        ("streams lost", opened["lost"], 0, opened["lost"] == 0),
        *((f"streams that have update {i}", got, streams, got == streams) for i, got in enumerate(reached, 1)),
        ("streams that flagsse counts", told["streams"][0], streams, told["streams"][0] == streams),
        ("user memory of a stream, bytes", round(user), f"at most {MEMORY_PER_STREAM_MAX}",
         user <= MEMORY_PER_STREAM_MAX),
        ("kernel memory of a stream, both ends, bytes", round(kernel), "", True),
        ("user memory left once all are gone, KiB", left_kib, f"at most {LEFT_KIB_MAX}", left_kib <= LEFT_KIB_MAX),
        ("exit status", told["status"][0], 0, told["status"][0] == 0)]


def main():
    options = parse()
    check_memory(options.memory_mib)
    print(f"{options.streams} streams, in a machine of {options.memory_mib} MiB", flush=True)
    rows = check(options.streams, boot(options))
    width = max(len(row[0]) for row in rows)
    print()
    for what, figure, must_be, good in rows:
        print(f"  {what:<{width}}  {figure:>9}  {must_be:>15}{'' if good else '  MISSED'}".rstrip())
    if not all(row[3] for row in rows):
        sys.exit("scale: see what is missed above")


main()
