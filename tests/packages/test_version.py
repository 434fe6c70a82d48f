# SPDX-License-Identifier: BSD-3-Clause
"""tools/version: each state of a clone has a version of its own, and package managers sort them as the commits follow."""
import os
import re
import shutil
import subprocess

import pytest

from tools import TOP, execute

SNAPSHOT = re.compile(r"0\.1\.0\+git(\d{8}T\d{6})\.([0-9a-f]{7})(\.dirty)?")
# Midnight in UTC, on 27 November 2026.
MIDNIGHT = 1795737600


class Clone:
    """A repository with as much in it as tools/version looks at."""

    def __init__(self, directory):
        self.directory = directory
        self.environment = {**os.environ, "HOME": str(directory.parent), "GIT_CONFIG_NOSYSTEM": "1",
                            "LC_ALL": "C.UTF-8", "TZ": "Pacific/Auckland"}
        for role in ("AUTHOR", "COMMITTER"):
            self.environment |= {f"GIT_{role}_NAME": "T", f"GIT_{role}_EMAIL": "t@example.org"}

    def git(self, *arguments, **options):
        return execute("git", *arguments, cwd=self.directory, env=self.environment, **options).stdout.strip()

    def commit(self, time):
        self.environment["GIT_COMMITTER_DATE"] = f"{time} +0000"
        self.git("commit", "--quiet", "--allow-empty", "--message", "Change")

    def version(self, **environment):
        result = execute(self.directory / "tools/version", cwd="/", env={**self.environment, **environment})
        assert result.stderr == ""
        return result.stdout.removesuffix("\n")


def fill(directory):
    (directory / "tools").mkdir(parents=True)
    (directory / "debian").mkdir()
    shutil.copy(TOP / "tools/version", directory / "tools")
    shutil.copy(TOP / "debian/changelog", directory / "debian")
    (directory / "configure.ac").write_text("AC_INIT([flagsse], [0.1.0])\n")


@pytest.fixture(name="clone")
def fixture_clone(tmp_path):
    clone = Clone(tmp_path / "clone")
    fill(clone.directory)
    clone.git("init", "--quiet", "--initial-branch=main")
    clone.git("add", ".")
    clone.commit(MIDNIGHT)
    return clone


def debian_sorts(older, newer):
    return execute("dpkg", "--compare-versions", older, "lt", newer, check=False).returncode == 0


def rpm_sorts(older, newer):
    return execute("rpm", "--eval", f"%{{lua:print(rpm.vercmp('{older}', '{newer}'))}}").stdout.strip() == "-1"


def check_order(versions):
    for older, newer in zip(versions, versions[1:]):
        assert debian_sorts(older, newer) and debian_sorts(f"{older}-1", f"{newer}-1"), (older, newer)
        assert rpm_sorts(older, newer), (older, newer)


def test_of_a_commit(clone):
    head = clone.git("rev-parse", "HEAD")
    assert clone.version() == f"0.1.0+git20261127T000000.{head[:7]}"


def test_sorts_as_commits_follow(clone):
    """Those that share a second, as after a rebase, and one whose author's clock is late, too; and upwards from what
    every build was called before, and from a release."""
    versions = ["0.1.0", "0.1.0+git0.unknown", clone.version()]
    for time in (MIDNIGHT + 1, MIDNIGHT + 1, MIDNIGHT + 1, MIDNIGHT - 3600, MIDNIGHT + 59, MIDNIGHT + 86400):
        clone.commit(time)
        versions.append(clone.version())
    assert all(SNAPSHOT.fullmatch(version) for version in versions[2:]), versions
    check_order([*versions, "0.1.1"])


def test_sorts_above_both_sides_of_a_merge(clone):
    clone.git("checkout", "--quiet", "-b", "side")
    clone.commit(MIDNIGHT + 20)
    side = clone.version()
    clone.git("checkout", "--quiet", "main")
    clone.commit(MIDNIGHT + 10)
    older = clone.version()
    clone.environment["GIT_COMMITTER_DATE"] = f"{MIDNIGHT + 15} +0000"
    clone.git("merge", "--quiet", "--no-edit", "side")
    check_order([older, side, clone.version()])


def test_of_a_tree_with_changes(clone):
    """It says so, and sorts between its commit and the next; a file that git does not know is no change."""
    clean = clone.version()
    (clone.directory / "notes").write_text("mine\n")
    assert clone.version() == clean
    text = (clone.directory / "debian/changelog").read_text()
    (clone.directory / "debian/changelog").write_text(text + "\n")
    dirty = clone.version()
    assert dirty == f"{clean}.dirty"
    clone.git("add", "debian")
    assert clone.version() == dirty
    clone.commit(MIDNIGHT + 1)
    check_order([clean, dirty, clone.version()])


def test_of_a_release(clone):
    """Its tag, of this very version, on this very commit."""
    clone.git("tag", "v0.0.9")
    assert SNAPSHOT.fullmatch(clone.version())
    clone.git("tag", "--annotate", "--message", "Release", "v0.1.0")
    assert clone.version() == "0.1.0"
    (clone.directory / "configure.ac").write_text("AC_INIT([flagsse], [0.1.0])\n\n")
    assert SNAPSHOT.fullmatch(clone.version())[3] == ".dirty"
    clone.git("checkout", "--quiet", ".")
    clone.commit(MIDNIGHT + 1)
    assert SNAPSHOT.fullmatch(clone.version())


def test_in_a_shallow_clone_and_a_worktree(clone):
    for minute in range(1, 5):
        clone.commit(MIDNIGHT + 60 * minute)
    shallow, worktree = Clone(clone.directory.parent / "shallow"), Clone(clone.directory.parent / "worktree")
    clone.git("clone", "--quiet", "--depth=1", f"file://{clone.directory}", shallow.directory)
    clone.git("worktree", "add", "--quiet", worktree.directory, "HEAD")
    assert clone.version() == shallow.version() == worktree.version()


def test_in_the_clone_of_somebody_else(clone):
    """git by itself refuses to look there.  Its index stays as it is, whose owner has to be able to write it."""
    version = clone.version()
    other = {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}
    result = subprocess.run(["git", "status"], cwd=clone.directory, env={**clone.environment, **other},
                            capture_output=True, text=True, check=False)
    assert "dubious ownership" in result.stderr
    index = clone.directory / ".git/index"
    # Now what git knows of this file is out of date, and it would like to write that down.
    os.utime(clone.directory / "configure.ac", (1, 1))
    before = index.stat()
    assert clone.version(**other) == version
    after = index.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_in_a_hook_of_another_repository(clone, tmp_path):
    version = clone.version()
    other = Clone(tmp_path / "other")
    fill(other.directory)
    other.git("init", "--quiet")
    other.git("add", ".")
    other.commit(MIDNIGHT + 100)
    assert clone.version(GIT_DIR=str(other.directory / ".git"), GIT_INDEX_FILE="nowhere") == version


def without_git(directory):
    """A PATH that lacks it."""
    directory.mkdir()
    for name in ("sh", "sed", "date", "dirname", "awk", "cat", "grep"):
        (directory / name).symlink_to(shutil.which(name))
    return str(directory)


@pytest.mark.parametrize("why", ["git is missing", "its repository is gone", "there is none", "no commit yet",
                                 "it lies in another repository"])
def test_unknown(clone, tmp_path, why):
    environment, inner = {}, clone
    if why == "git is missing":
        environment = {"PATH": without_git(tmp_path / "bin")}
    elif why == "its repository is gone":
        shutil.rmtree(clone.directory / ".git")
        (clone.directory / ".git").write_text("gitdir: /nowhere\n")
    elif why == "there is none":
        shutil.rmtree(clone.directory / ".git")
    elif why == "no commit yet":
        shutil.rmtree(clone.directory / ".git")
        clone.git("init", "--quiet")
    else:
        inner = Clone(clone.directory / "imported")
        fill(inner.directory)
    assert inner.version(**environment) == "0.1.0+git0.unknown"


def test_of_a_tarball(clone):
    """What `make dist` wrote there, whatever repository somebody keeps it in."""
    (clone.directory / ".tarball-version").write_text("0.1.0+git20260101T000000.0123456\n")
    os.utime(clone.directory / ".tarball-version", (12345, 12345))
    assert clone.version() == "0.1.0+git20260101T000000.0123456"
    assert execute(clone.directory / "tools/version", "--epoch").stdout == "12345\n"
