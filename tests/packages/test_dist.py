# SPDX-License-Identifier: BSD-3-Clause
"""`make dist`: what belongs to the source, and the same bytes of the same commit."""
import os
import shutil
import tarfile

import pytest

from tools import TOP, execute, only

# What bootstrap and tools/stamp make, which git does not have.
MADE = {"Makefile.in", "aclocal.m4", "configure", ".tarball-version"}


def git(*arguments, cwd=TOP):
    identity = {f"GIT_{role}_{what}": "t@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return execute("git", "-c", "safe.directory=*", *arguments, cwd=cwd, env={**os.environ, **identity}).stdout


@pytest.fixture(scope="module", name="repository")
def fixture_repository(tmp_path_factory):
    """This tree as a commit, with what is not committed here."""
    directory = tmp_path_factory.mktemp("repository")
    git("init", "--quiet", cwd=directory)
    for name in git("ls-files", "--cached").splitlines():
        if (TOP / name).exists():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TOP / name, directory / name)
    git("add", "--all", "--force", cwd=directory)
    git("commit", "--quiet", "--message", "This tree", cwd=directory)
    return directory


def make_dist(repository, directory, umask, build):
    """The tarball that somebody with this umask makes, where things lie about in the source and the build."""
    options = {"umask": umask, "cwd": directory}
    execute("git", "clone", "--quiet", repository, "source", **options)
    source = directory / "source"
    execute("./bootstrap", umask=umask, cwd=source)
    (source / build).mkdir(exist_ok=True)
    options["cwd"] = source / build
    execute(source / "configure", "--quiet", **options)
    for name in ("bench/client", "bench/client.o", "bench/notes", "tests/service/__pycache__/conftest.pyc",
                 "tests/service/.left.py.swp", "doc/draft.md~"):
        for place in (source, source / build):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text("left\n")
    execute("make", "dist", **options)
    return only((source / build).glob("flagsse-*.tar.gz"))


@pytest.fixture(scope="module", name="tarballs")
def fixture_tarballs(repository, tmp_path_factory):
    """Two, of people with other habits: one builds in the tree itself."""
    return [make_dist(repository, tmp_path_factory.mktemp("dist"), umask, build)
            for umask, build in ((0o002, "build"), (0o077, "."))]


def test_holds_the_source(tarballs, repository):
    """All of the clone but what is the clone's own, and nothing that lies about."""
    tracked = set(git("ls-files", cwd=repository).splitlines())
    for tarball in tarballs:
        with tarfile.open(tarball) as archive:
            files = {member.name.partition("/")[2] for member in archive if not member.isdir()}
        made = {name for name in files if name in MADE or name.startswith("build-aux/")}
        assert files - made == tracked - {".gitignore"} - {name for name in tracked if name.startswith(".ci/")}


def test_same_bytes(tarballs):
    first, second = tarballs
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()


def test_owner_modes_and_times(tarballs, repository):
    epoch = int(git("log", "-1", "--format=%ct", cwd=repository))
    with tarfile.open(tarballs[0]) as archive:
        for member in archive:
            assert (member.uid, member.gid, member.mtime) == (0, 0, epoch), member.name
            assert member.mode & ~0o111 == 0o644 and member.mode & 0o111 in (0, 0o111), member.name


def test_tarball_makes_itself_again(tarballs, tmp_path):
    """With its version, without git and its commit: the same bytes once more."""
    execute("tar", "-xzf", tarballs[0], cwd=tmp_path)
    source = only(tmp_path.iterdir())
    (tmp_path / "build").mkdir()
    execute(source / "configure", "--quiet", cwd=tmp_path / "build")
    execute("make", "dist", cwd=tmp_path / "build")
    made = only((tmp_path / "build").glob("flagsse-*.tar.gz"))
    assert made.name == tarballs[0].name and made.read_bytes() == tarballs[0].read_bytes()


def test_packages_have_its_version(tarballs, tmp_path):
    """The packages that somebody makes of it by hand, too."""
    execute("tar", "-xzf", tarballs[0], cwd=tmp_path)
    source = only(tmp_path.iterdir())
    version = tarballs[0].name.removeprefix("flagsse-").removesuffix(".tar.gz")
    assert (source / ".tarball-version").read_text() == f"{version}\n"
    assert execute("dpkg-parsechangelog", "-S", "Version", cwd=source).stdout == f"{version}-1\n"
    spec = execute("rpmspec", "--load", TOP / "tools/rpm-macros", "--query", "--srpm", "--queryformat",
                   "%{version} %{changelogname}", source / "rpm/flagsse.spec").stdout
    assert spec.startswith(f"{version} ") and spec.endswith(f"- {version}-1")
    execute(source / "tests/check-versions")


def test_build_follows_the_commit(tarballs):
    """By make alone, without configure; and nothing is compiled again where the commit is the same."""
    build = tarballs[0].parent
    program, told = build / "src/base/version.c", build / "config.status"

    def make():
        execute("make", "src/base/version.c", cwd=build)
        return program.read_text(), program.stat().st_mtime_ns, told.stat().st_mtime_ns

    before = make()
    assert make() == before
    git("commit", "--quiet", "--allow-empty", "--message", "Next", cwd=build.parent)
    after = make()
    hashed = git("rev-parse", "HEAD", cwd=build.parent)[:7]
    assert f'.{hashed}"' in after[0] and after[2] == before[2]
