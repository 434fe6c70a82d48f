# SPDX-License-Identifier: BSD-3-Clause
"""The Debian packages, by themselves; tests/system tries them in a running system."""
import hashlib
import os
import subprocess

import pytest

from tools import TOP, execute, hardening, only


@pytest.fixture(scope="module", name="package")
def fixture_package(packages):
    return only(packages.glob("flagsse_*.deb"))


@pytest.fixture(scope="module", name="root")
def fixture_root(package, tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    execute("dpkg-deb", "-x", package, root)
    return root


def lintian(file, *options):
    """Its findings, but for an override that only releases need."""
    result = execute("lintian", "--allow-root", *options, file, check=False)
    return [line for line in result.stdout.splitlines()
            if not line.startswith(("I: flagsse: unused-override initial-upload-closes-no-bugs ", "N: "))] + [result.stderr]


def test_lintian(packages):
    """Nothing, however small, of the source and the binaries as they are uploaded: by the .changes, which names all;
    nothing either where somebody looks at one by itself.  Each override has its reason beside it."""
    assert lintian(only(packages.glob("*.changes")), "--display-info", "--pedantic") == [""]
    files = [only(packages.glob("*.dsc")), *packages.glob("*.deb")]
    assert len(files) == 3
    for file in files:
        assert lintian(file) == [""]


def test_overrides_have_reasons():
    for file in (TOP / "debian/flagsse.lintian-overrides", TOP / "debian/source/lintian-overrides"):
        before = ""
        for line in file.read_text().splitlines():
            assert line.startswith("#") or before.startswith("#"), line
            before = line


def test_hardening(packages, root):
    assert hardening(root / "usr/bin/flagsse") == {
        "PIE", "RELRO", "BIND_NOW", "no executable stack", "stack protector", "fortify"}
    result = execute("blhc", "--bindnow", packages / "flagsse.build", check=False)
    assert (result.returncode, result.stdout) == (0, ""), result.stdout


def test_program_without_hardening_is_noticed(tmp_path):
    (tmp_path / "plain.c").write_text("int main(void) { return 0; }\n")
    execute("gcc", "-no-pie", "-O0", "-U_FORTIFY_SOURCE", "-fno-stack-protector", "-Wl,-z,norelro", "-Wl,-z,lazy",
            "-Wl,-z,execstack", "-o", tmp_path / "plain", tmp_path / "plain.c")
    assert hardening(tmp_path / "plain") == set()


def test_contents(root):
    files = {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}
    for name in ("usr/bin/flagsse", "usr/libexec/flagsse/units-to-restart", "etc/flagsse/flagsse.conf",
                 "usr/lib/sysusers.d/flagsse.conf", "usr/share/bash-completion/completions/flagsse",
                 "usr/share/zsh/vendor-completions/_flagsse",
                 "usr/lib/systemd/catalog/flagsse.catalog", "usr/share/man/man8/flagsse.8.gz",
                 "usr/share/man/man5/flagsse.conf.5.gz", "usr/share/man/man7/flagsse-http.7.gz",
                 "usr/share/doc/flagsse/README.md",
                 "usr/share/doc/flagsse/changelog.gz", "usr/share/doc/flagsse/examples/ansible/playbook.yml"):
        assert name in files, name
    units = {path.name for path in root.rglob("systemd/system/*")}
    assert units == {"flagsse.service", "flagsse.socket", "flagsse@.service", "flagsse@.socket"}
    assert (root / "etc/flagsse/conf.d").is_dir()


def test_nothing_points_to_where_it_was_built(packages, root):
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert str(packages).encode() not in path.read_bytes(), path


def digests(directory):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in directory.iterdir() if path.suffix in (".deb", ".dsc", ".xz")}


def test_reproducible(packages, tmp_path):
    """The same bytes from the source package, elsewhere, later, by somebody with other habits; and its own tests pass."""
    other = tmp_path / "somewhere else".replace(" ", "-") / "deeper"
    other.mkdir(parents=True)
    # (That copies the upstream tarball beside it, too.)
    execute("dpkg-source", "--extract", only(packages.glob("*.dsc")), other / "source", cwd=other)
    environment = {**os.environ, "TZ": "Pacific/Auckland", "LC_ALL": "C.UTF-8", "HOME": str(other),
                   "DEB_BUILD_OPTIONS": "parallel=1"}
    for name in ("SOURCE_DATE_EPOCH", "CFLAGS", "LDFLAGS"):
        environment.pop(name, None)
    result = subprocess.run(
        ["dpkg-buildpackage", "--build=full", "--unsigned-source", "--unsigned-changes", "--unsigned-buildinfo"],
        cwd=other / "source", env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900,
        umask=0o077, check=False)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert "# FAIL:  0\n" in result.stdout
    first, second = digests(packages), digests(other)
    assert len(first) == 4 and first == second


def test_version(package, root):
    """That of the tree, which the installed program says, too."""
    version = execute("dpkg-deb", "-f", package, "Version").stdout.strip()
    assert version.rpartition("-")[0] == execute(TOP / "tools/version").stdout.strip()
    said = execute(root / "usr/bin/flagsse", "--version").stdout.splitlines()[0]
    assert said == f"flagsse {version.rpartition('-')[0]}"
