# SPDX-License-Identifier: BSD-3-Clause
"""Check, the library, is for the tests alone: who only builds and installs, as doc/install.md has it, does not need it."""
import os

import pytest

from documents import example
from tools import TOP, execute, only


@pytest.fixture(scope="module", name="environment")
def fixture_environment(tmp_path_factory):
    """One where pkg-config finds all libraries but Check."""
    directory = tmp_path_factory.mktemp("pkg-config")
    searched = execute("pkg-config", "--variable=pc_path", "pkg-config").stdout.strip().split(":")
    for place in reversed([place for place in searched if os.path.isdir(place)]):
        for name in os.listdir(place):
            if name != "check.pc":
                (directory / name).unlink(missing_ok=True)
                (directory / name).symlink_to(f"{place}/{name}")
    environment = {**os.environ, "PKG_CONFIG_LIBDIR": str(directory), "LC_ALL": "C.UTF-8"}
    assert execute("pkg-config", "--exists", "check", env=environment, check=False).returncode != 0
    return environment


@pytest.fixture(scope="module", name="build")
def fixture_build(environment, packages, tmp_path_factory):
    """The source, built and installed below "root" by the very command; quicker than by default, and sudo is nobody."""
    directory = tmp_path_factory.mktemp("source")
    execute("tar", "-xzf", only(packages.glob("flagsse_*.orig.tar.gz")), "--strip-components=1", cwd=directory)
    (directory / "bin").mkdir()
    (directory / "bin/sudo").write_text('#!/bin/sh\nexec "$@"\n')
    (directory / "bin/sudo").chmod(0o755)
    execute("bash", "-c", example("sh", "./bootstrap && ./configure", "doc/install.md"), cwd=directory,
            env={**environment, "PATH": f"{directory}/bin:{os.environ['PATH']}", "CFLAGS": "-O0", "MAKEFLAGS": "-j2",
                 "DESTDIR": f"{directory}/root"})
    return directory


def test_builds_and_installs(build):
    root = build / "root"
    assert execute(root / "usr/bin/flagsse", "--version").stdout.startswith("flagsse ")
    assert (root / "etc/flagsse/flagsse.conf").read_text() == (TOP / "etc/flagsse/flagsse.conf").read_text()
    installed = {path.name for path in root.rglob("*")}
    assert {"flagsse.8", "flagsse.conf.5", "flagsse-http.7", "flagsse.service", "flagsse.socket", "flagsse@.service",
            "flagsse@.socket", "flagsse.catalog", "_flagsse"} <= installed


@pytest.mark.parametrize("target", ["check", "check-valgrind"])
def test_tests_say_what_they_need(build, target):
    result = execute("make", target, cwd=build, check=False)
    assert result.returncode != 0
    assert "The unit tests need Check (Debian: apt install check; Fedora: dnf install check-devel)" in result.stderr


def test_packages_without_tests(tmp_path):
    """Neither asks for it where no tests are to be run."""
    (tmp_path / "status").touch()  # nothing is installed
    for profiles, needed in (("", True), ("nocheck", False)):
        result = execute("dpkg-checkbuilddeps", f"--admindir={tmp_path}", f"-P{profiles}",
                         TOP / "debian/control", check=False)
        unmet = result.stderr.replace(",", " ").split()
        assert "libnats-dev" in unmet and ("check" in unmet) == needed, result.stderr
    for options, needed in ((), True), (("--without", "check"), False):
        wanted = execute("rpmspec", "--load", TOP / "tools/rpm-macros", "--query", "--buildrequires", *options,
                         TOP / "rpm/flagsse.spec").stdout
        assert "pkgconfig(libnats)" in wanted and ("pkgconfig(check)" in wanted) == needed
