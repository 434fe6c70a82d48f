# SPDX-License-Identifier: BSD-3-Clause
"""The RPM packages, as far as a Debian machine can judge: no dnf, no SELinux, no systemd of Fedora's."""
import gzip
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from daemon import Daemon
from tools import TOP, execute, only, publish_and_receive

RPMLINT = Path(__file__).with_name("rpmlint.toml")
FILES = {
    "/etc/flagsse", "/etc/flagsse/conf.d", "/etc/flagsse/flagsse.conf", "/usr/bin/flagsse",
    "/usr/lib/systemd/catalog/flagsse.catalog", "/usr/lib/systemd/system/flagsse.service",
    "/usr/libexec/flagsse", "/usr/libexec/flagsse/units-to-restart",
    "/usr/lib/systemd/system/flagsse.socket", "/usr/lib/systemd/system/flagsse@.service",
    "/usr/lib/systemd/system/flagsse@.socket", "/usr/lib/sysusers.d/flagsse.conf",
    "/usr/share/bash-completion/completions/flagsse", "/usr/share/zsh/site-functions/_flagsse",
    "/usr/share/man/man5/flagsse.conf.5", "/usr/share/man/man7/flagsse-http.7", "/usr/share/man/man8/flagsse.8",
}


@pytest.fixture(scope="module", name="package")
def fixture_package(packages):
    return only((packages / "rpm").glob("flagsse-*.x86_64.rpm"))


@pytest.fixture(scope="module", name="root")
def fixture_root(package, tmp_path_factory):
    """Installed by rpm, into a directory that has no shell for the scriptlets."""
    root = tmp_path_factory.mktemp("root")
    execute("rpm", "--root", root, "--initdb")
    execute("rpm", "--root", root, "--install", "--nodeps", "--noscripts", package)
    return root


def test_rpmlint(packages):
    specs = sorted((TOP / "rpm").glob("*.spec"))
    assert [spec.name for spec in specs] == ["flagsse.spec", "libnats.spec"]
    result = execute("rpmlint", "--config", RPMLINT, *(packages / "rpm").glob("*.rpm"), *specs, check=False)
    assert result.returncode == 0 and " 0 errors, 0 warnings" in result.stdout, result.stdout


def test_files(package):
    listed = execute("rpm", "--query", "--package", "--queryformat", "[%{FILENAMES} %{FILEFLAGS:fflags}|%{FILEUSERNAME}"
                     "\n]", package).stdout.splitlines()
    files = {line.split(" ")[0]: line.split(" ")[1] for line in listed}
    documents = {name for name in files if name.startswith(("/usr/share/doc/", "/usr/share/licenses/"))}
    # Debian's rpm makes links to build ids, and does not compress manual pages.
    rest = {name.removesuffix(".gz") for name in set(files) - documents if "/.build-id" not in name}
    assert rest == FILES
    assert files["/etc/flagsse/flagsse.conf"] == "cn|root"  # a configuration file that is not replaced
    assert all(flags.endswith("|root") for flags in files.values())
    for name in ("README.md", "doc/update.svg", "contrib/ansible/playbook.yml"):
        assert any(document.endswith(f"/{name}") for document in documents), name


def scriptlet(package, name):
    """Its text, by rpm's own name of it."""
    return execute("rpm", "--query", "--package", "--queryformat", f"%{{{name}}}", package).stdout


class Scriptlets:
    """Runs a package's scriptlets, without a systemd: a stand-in for systemctl writes down what it is asked, and tells of
    the units that run, {name: main PID}."""

    def __init__(self, package, root, directory):
        self.package = package
        self.directory = directory
        self.running = {}
        self.log = directory / "systemctl.log"
        self._write("systemctl", f"""echo "$*" >>{self.log}
            case $1 in
            list-units) cut -d ' ' -f 1 {directory}/running | sed 's/$/ loaded active running/' ;;
            show) while read -r unit pid; do [ "$unit" != "$4" ] || echo "$pid"; done <{directory}/running ;;
            esac""")
        self._write("logger", f"cat >>{directory}/journal")
        script = (root / "usr/libexec/flagsse/units-to-restart").read_text()
        assert script.count("=/usr/bin/flagsse\n") == 1
        self._write("units-to-restart", script.replace("=/usr/bin/flagsse\n", f"={root}/usr/bin/flagsse\n"))

    def _write(self, name, text):
        path = self.directory / name
        path.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def run(self, name, argument):
        """What it asks of systemctl, besides which units run; and what it says."""
        (self.directory / "running").write_text("".join(f"{unit} {pid}\n" for unit, pid in self.running.items()))
        self.log.write_text("")
        # As if a systemd ran.
        text = scriptlet(self.package, name).replace("-d /run/systemd/system", f"-d {self.directory}")
        text = text.replace("/usr/libexec/flagsse/", f"{self.directory}/")
        result = execute("sh", "-e", "-c", text, "scriptlet", argument,
                         env={**os.environ, "PATH": f"{self.directory}:{os.environ['PATH']}"})
        asked = [line for line in self.log.read_text().splitlines() if not line.startswith(("list-units ", "show "))]
        return asked, result.stderr


@pytest.fixture(name="scriptlets")
def fixture_scriptlets(package, root, tmp_path):
    return Scriptlets(package, root, tmp_path)


def test_scriptlets(scriptlets):
    """A first installation enables nothing by itself, a removal stops what runs; what does not run is not restarted."""
    assert scriptlets.run("POSTIN", 1) == (["--no-reload preset flagsse.socket flagsse.service"], "")
    assert scriptlets.run("POSTIN", 2) == ([], "")
    assert scriptlets.run("PREUN", 1) == ([], "")
    assert scriptlets.run("PREUN", 0) == ([
        "--no-reload disable --now flagsse.service flagsse.socket",
        "--no-reload disable flagsse@.service flagsse@.socket", "stop flagsse@*.service flagsse@*.socket"], "")
    assert scriptlets.run("POSTUN", 1) == (["daemon-reload"], "")
    assert scriptlets.run("POSTUN", 0) == ([], "")


def test_upgrade_restarts_what_could_start_again(scriptlets, root, tmp_path, monkeypatch):
    """Of two processes that run, one whose configuration has got a mistake: that goes on, and it is said, with what to
    run; the other is restarted.  When it is mended, so is the first."""
    monkeypatch.setenv("FLAGSSE", str(root / "usr/bin/flagsse"))
    monkeypatch.setenv("FLAGSSE_SANITIZER", "")
    units = {"flagsse.service": Daemon(tmp_path / "one"), r"flagsse@eu\x2f1.service": Daemon(tmp_path / "two")}
    try:
        for unit, daemon in units.items():
            scriptlets.running[unit] = daemon.start().pid
        assert scriptlets.run("POSTUN", 1) == (["daemon-reload", "try-restart " + " ".join(units)], "")

        bad, settings = units[r"flagsse@eu\x2f1.service"], tmp_path / "two/flagsse.conf"
        before = settings.read_text()
        settings.write_text(before + "[streams]\nkeepalive = never\n")
        asked, said = scriptlets.run("POSTUN", 1)
        assert asked == ["daemon-reload", "try-restart flagsse.service"]
        assert r"flagsse: flagsse@eu\x2f1.service is NOT restarted" in said and "streams.keepalive" in said
        name = r"'flagsse@eu\x2f1.service'"
        assert said.splitlines()[-1] == f"  systemctl reload {name} && systemctl restart {name}"
        assert "Not restarted after the upgrade" in (tmp_path / "journal").read_text()
        assert bad.get("/livez").status == 200

        settings.write_text(before)
        assert scriptlets.run("POSTUN", 1) == (["daemon-reload", "try-restart " + " ".join(units)], "")
    finally:
        for daemon in units.values():
            daemon.stop()


def test_installation(root, package):
    execute("rpm", "--root", root, "--verify", "--nodeps", "--noscripts", "flagsse")
    unit = (root / "usr/lib/systemd/system/flagsse.service").read_text()
    assert "ExecStart=/usr/bin/flagsse\n" in unit and not re.search(r"@\w+@", unit)
    # An upgrade leaves what an administrator has changed, and a removal keeps it.
    settings = root / "etc/flagsse/flagsse.conf"
    settings.write_text(settings.read_text() + "# mine\n")
    execute("rpm", "--root", root, "--upgrade", "--force", "--nodeps", "--noscripts", package)
    assert settings.read_text().endswith("# mine\n")


def test_daemon_of_the_package_runs(root, tmp_path, monkeypatch):
    publish_and_receive(root / "usr/bin/flagsse", tmp_path, monkeypatch)
    text = subprocess.run([root / "usr/bin/flagsse", "--version"], capture_output=True, text=True, check=True).stdout
    version = execute("rpm", "--query", "--root", root, "--queryformat", "%{version}", "flagsse").stdout
    assert text.startswith(f"flagsse {version}\n") and version == execute(TOP / "tools/version").stdout.strip()


@pytest.fixture(name="keyring")
def fixture_keyring(tmp_path):
    """gpg's, with a key that has the name in doc/fleets.md."""
    directory = tmp_path / "keyring"
    directory.mkdir(mode=0o700)
    environment = {**os.environ, "GNUPGHOME": str(directory), "HOME": str(directory), "LC_ALL": "C.UTF-8"}
    # Debian's rpm looks for gpg2.
    (directory / ".rpmmacros").write_text("%__gpg /usr/bin/gpg\n")
    execute("gpg", "--batch", "--passphrase", "", "--quick-generate-key", "owner@example.org", "rsa3072",
            env=environment)
    yield environment
    execute("gpgconf", "--kill", "all", env=environment)


def test_signed_repository(packages, tmp_path, keyring):
    """By the commands of doc/fleets.md, from where the packages are there: the index names them, and of both the
    signature is good, until a byte is changed."""
    text = (TOP / "doc/fleets.md").read_text()
    commands = re.search(r"^rpm --define .*?(?=^```)", text, re.M | re.S)[0]
    repository = tmp_path / "repository"
    repository.mkdir()
    for file in (packages / "rpm").glob("*.rpm"):
        shutil.copy(file, repository)
    execute("sh", "-euc", commands, cwd=tmp_path, env=keyring)
    execute("gpg", "--verify", repository / "repodata/repomd.xml.asc", repository / "repodata/repomd.xml", env=keyring)
    with gzip.open(only((repository / "repodata").glob("*primary.xml.gz"))) as index:
        assert b"<name>flagsse</name>" in index.read()
    public = tmp_path / "key.asc"
    public.write_text(execute("gpg", "--armor", "--export", env=keyring).stdout)
    check = ("rpmkeys", "--dbpath", tmp_path / "keys")
    package = only(repository.glob("flagsse-*.x86_64.rpm"))
    assert "SIGNATURES NOT OK" in execute(*check, "--checksig", package, check=False).stdout
    execute(*check, "--import", public)
    assert execute(*check, "--checksig", package).stdout.endswith(": digests signatures OK\n")
    with open(package, "r+b") as file:
        file.seek(-100, os.SEEK_END)
        file.write(b"changed")
    assert execute(*check, "--checksig", package, check=False).returncode != 0


def test_libnats_spec():
    """Its source cannot be had here, so it is not built.  What it lists is what Debian's package of the same library
    has, which comes from the same installation rules."""
    listed = execute("dpkg", "--listfiles", "libnats-dev").stdout.splitlines()
    spec = (TOP / "rpm" / "libnats.spec").read_text()
    for pattern, name in (("%{_includedir}/nats.h", "/usr/include/nats.h"),
                          ("%{_includedir}/nats/", "/usr/include/nats/nats.h"),
                          ("%{_libdir}/libnats.so", "/libnats.so"),
                          ("%{_libdir}/pkgconfig/libnats.pc", "/pkgconfig/libnats.pc"),
                          ("%{_libdir}/cmake/cnats/", "/cmake/cnats/cnats-config.cmake")):
        assert f"\n{pattern}\n" in spec
        assert any(path.endswith(name) for path in listed), name
    names = execute("rpmspec", "--query", "--queryformat", "%{name}\n", TOP / "rpm" / "libnats.spec").stdout.split()
    assert names == ["libnats", "libnats-devel"]
