# SPDX-License-Identifier: BSD-3-Clause
"""contrib/: what can be checked without a cloud, a registry or a fleet.  tests/system runs the Ansible role."""
import json
import os
import re
import shlex
import shutil

import pytest
import yaml

from daemon import run
from tools import TOP, execute, hardening, publish_and_receive

CONTRIB = TOP / "contrib"


def test_ansible_syntax():
    environment = {**os.environ, "ANSIBLE_ROLES_PATH": str(CONTRIB / "ansible/roles"), "LC_ALL": "C.UTF-8"}
    result = execute("ansible-playbook", "--syntax-check", "-i", "flagsse,", CONTRIB / "ansible/playbook.yml",
                     env=environment)
    assert "WARNING" not in result.stderr, result.stderr


def defaults():
    return yaml.safe_load((CONTRIB / "ansible/roles/flagsse/defaults/main.yml").read_text())


def test_ansible_arguments():
    """Each variable of the role is specified, with the default that it has."""
    text = execute("ansible-doc", "--type", "role", "--json", "--roles-path", CONTRIB / "ansible/roles", "flagsse",
                   env={**os.environ, "LC_ALL": "C.UTF-8"}).stdout
    role = next(iter(json.loads(text).values()), None)
    assert role, "the role has no argument specs"
    options = role["entry_points"]["main"]["options"]
    assert options.keys() == defaults().keys()
    for name, default in defaults().items():
        assert options[name]["description"], name
        assert options[name].get("required") or options[name]["default"] == default, name


@pytest.mark.parametrize("name, value", [("flagsse_settings", "[nats]"), ("flagsse_listen", {"port": 8099}),
                                         ("flagsse_restart", "perhaps"), ("flagsse_settings", {"nats": "s3cret"})])
def test_ansible_refuses(tmp_path, name, value):
    """Before anything is done to a host; the token is not shown."""
    (tmp_path / "play.yml").write_text("- hosts: localhost\n  connection: local\n  roles: [flagsse]\n")
    variables = {"flagsse_token": "t0ken", name: value}
    result = execute("ansible-playbook", "--check", "-vvv", "-i", "localhost,", "-e", json.dumps(variables), tmp_path / "play.yml",
                     check=False, env={**os.environ, "ANSIBLE_ROLES_PATH": str(CONTRIB / "ansible/roles"),
                                       "LC_ALL": "C.UTF-8", "ANSIBLE_NOCOLOR": "1", "HOME": str(tmp_path)})
    assert result.returncode != 0 and name in result.stdout, result.stdout
    assert "changed=0" in result.stdout and "TASK [flagsse : The package" not in result.stdout, result.stdout
    assert "s3cret" not in result.stdout and "t0ken" not in result.stdout, result.stdout


def test_cloud_init_schema():
    result = execute("cloud-init", "schema", "--config-file", CONTRIB / "cloud-init/flagsse.yaml")
    assert "Valid cloud-config" in result.stdout + result.stderr


def test_cloud_init_settings(tmp_path, monkeypatch):
    """The file that it writes is one that flagsse takes."""
    monkeypatch.setenv("FLAGSSE", str(TOP / "build/src/flagsse"))
    document = yaml.safe_load((CONTRIB / "cloud-init/flagsse.yaml").read_text())
    settings = next(file for file in document["write_files"] if file["path"].endswith(".conf"))
    (tmp_path / "settings.conf").write_text(settings["content"])
    result = run("--check-file", tmp_path / "settings.conf")
    assert (result.returncode, result.stderr) == (0, "")
    (source,) = document["apt"]["sources"].values()
    (line,) = re.findall(r"^deb .*$", (TOP / "doc/fleets.md").read_text(), re.M)
    assert re.sub(r"\[.*?\]", "", source["source"]).lower() == re.sub(r"\[.*?\]", "", line)
    token = next(file for file in document["write_files"] if file["path"] == "/etc/flagsse/token")
    assert token["permissions"] == "0600" and settings["permissions"] == "0640"


@pytest.mark.parametrize("settings, enabled", [("[nats]\nurl = nats://nats-1.example.org:4222\n", True),
                                               ("[nats]\nurl = nats://:-)\n", False)])
def test_cloud_init_enables_what_can_run(tmp_path, settings, enabled):
    """Its commands as cloud-init runs them: in one script, where a failed command does not keep the next from running."""
    document = yaml.safe_load((CONTRIB / "cloud-init/flagsse.yaml").read_text())
    script = execute("/usr/bin/python3", "-c", "import json, sys; from cloudinit.util import shellify;"
                     "print(shellify(json.loads(sys.argv[1])))", json.dumps(document["runcmd"])).stdout
    (tmp_path / "settings.conf").write_text(settings)
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f"#!/bin/sh\necho \"$@\" >>{tmp_path}/called\n")
    systemctl.chmod(0o755)
    (tmp_path / "script").write_text(
        script.replace("/etc/flagsse/conf.d/50-cloud-init.conf", str(tmp_path / "settings.conf")))
    result = execute("sh", tmp_path / "script", check=False,
                     env={**os.environ, "PATH": f"{tmp_path}:{TOP}/build/src:{os.environ['PATH']}"})
    called = (tmp_path / "called").read_text() if (tmp_path / "called").exists() else ""
    assert called == ("enable --now flagsse.socket\n" if enabled else ""), result.stderr
    assert (result.returncode == 0) == enabled, "cloud-init reports the status of the script"


def test_publishing_names_what_it_needs():
    """In doc/fleets.md, before the commands of each kind of repository."""
    text = (TOP / "doc/fleets.md").read_text()
    for installing, command in (("apt install apt-utils gnupg", "apt-ftparchive"), ("dnf install rpmdevtools", "createrepo_c rep")):
        (line,) = re.findall(rf"sudo {installing}.*", text)
        assert "gnupg" in line and text.index(line) < text.index(command), line


def instructions(text):
    """[(keyword, rest)] of a Containerfile, continued lines joined."""
    lines = re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", text)).splitlines()
    return [tuple(line.split(None, 1)) for line in lines if line.strip()]


def test_containerfile_build(tmp_path, monkeypatch):
    """Its commands that build, in directories of the test's, and the program that the image gets.  Without `make check`,
    which test_debian.py has."""
    shutil.copytree(TOP, tmp_path / "source", ignore=shutil.ignore_patterns("build", ".git", "autom4te.cache"))
    (tmp_path / "build").mkdir()
    found = instructions((CONTRIB / "Containerfile").read_text())
    end = next(i for i, line in enumerate(found) if i > 0 and line[0] == "FROM")
    for keyword, command in found[2:end]:
        assert keyword in ("RUN", "COPY", "WORKDIR")
        if keyword != "RUN":
            continue
        assert "make check" not in command or " make check && " in command
        for directory in ("source", "build", "install"):
            command = re.sub(rf"(?<=[ =])/{directory}\b|^/{directory}\b", str(tmp_path / directory), command)
        execute("sh", "-euc", command.replace(" make check && ", " "), cwd=tmp_path / "build", timeout=900)
    copied = [line.split()[1] for keyword, line in found[end:] if keyword == "COPY"]
    assert copied == ["/install/usr/bin/flagsse", "/install/etc/flagsse"]
    for path in copied:
        assert (tmp_path / path.lstrip("/")).exists(), path
    assert not list((tmp_path / "install").rglob("*.service"))
    program = tmp_path / "install/usr/bin/flagsse"
    assert hardening(program) == {"PIE", "RELRO", "BIND_NOW", "no executable stack", "stack protector", "fortify"}
    publish_and_receive(program, tmp_path, monkeypatch)


def test_containerfile():
    """Its instructions and packages; nothing here can build a container image."""
    found = instructions((CONTRIB / "Containerfile").read_text())
    keywords = [keyword for keyword, _ in found]
    assert set(keywords) <= {"FROM", "RUN", "COPY", "WORKDIR", "USER", "EXPOSE", "VOLUME", "STOPSIGNAL", "ENTRYPOINT"}
    assert keywords.count("FROM") == 2 and keywords[-1] == "ENTRYPOINT"
    common = (TOP / "tools/common.sh").read_text()
    needed = set(re.search(r"PACKAGES_BUILD=\((.*?)\)", common, re.S)[1].split())
    runs = [rest for keyword, rest in found if keyword == "RUN"]
    for command in runs:
        execute("sh", "-n", "-c", command)
    assert needed <= set(shlex.split(runs[0]))
    installed = {word for word in shlex.split(next(command for command in runs if "libnats3" in command))
                 if word.startswith("lib")}
    depends = execute("dpkg-deb", "-f", next((TOP / "build/packages").glob("flagsse_*.deb")), "Depends").stdout
    libraries = {re.split(r"[ (|]", item.strip())[0] for item in depends.split(",")}
    assert installed == {name for name in libraries if name.startswith("lib") and name != "libc6"}
