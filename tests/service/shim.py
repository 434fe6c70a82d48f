# SPDX-License-Identifier: BSD-3-Clause
"""Lets memory, disk, clock, threads, nats.c and libmicrohttpd of a daemon go wrong: shim.c, preloaded into it."""
import mmap
import os
import struct
import subprocess
from pathlib import Path

from daemon import under_sanitizer

FIELDS = ("clock_offset_s", "disk_stalls", "fail_at", "failures", "nats_leaks", "mhd_restless", "nats_hang",
          "shard_hang", "renames_stall", "sync_fails_at", "no_thread_at", "nats_fail_at")


def build(directory):
    """Compiles it.  A sanitizer has an allocator of its own, which is left alone."""
    library = Path(directory) / "shim.so"
    options = ["-DWITHOUT_MEMORY"] if under_sanitizer() else []
    subprocess.run([os.environ.get("CC", "cc"), "-O1", "-D_GNU_SOURCE", "-fPIC", "-shared", *options, "-o",
                    str(library), str(Path(__file__).with_name("shim.c")), "-ldl"], check=True)
    return library


class Shim:
    """Its fields are read and set as attributes: shim.disk_stalls = 1."""

    def __init__(self, directory, library):
        path = Path(directory) / "shim"
        path.write_bytes(bytes(8 * len(FIELDS)))
        with open(path, "r+b") as file:
            object.__setattr__(self, "memory", mmap.mmap(file.fileno(), 0))
        object.__setattr__(self, "env", {
            "LD_PRELOAD": str(library), "FLAGSSE_SHIM": str(path),
            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"})

    def __getattr__(self, name):
        return struct.unpack_from("q", self.memory, 8 * FIELDS.index(name))[0]

    def __setattr__(self, name, value):
        struct.pack_into("q", self.memory, 8 * FIELDS.index(name), value)
