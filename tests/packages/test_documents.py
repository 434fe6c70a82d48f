# SPDX-License-Identifier: BSD-3-Clause
"""The documents: their links lead somewhere, and what they tell somebody to type or to write is tried by a test."""
import re

import pytest

from documents import blocks, example
from tools import TOP, execute

DOCUMENTS = ["README.md", "HACKING.md", "NEWS.md", *(f"doc/{path.name}" for path in sorted((TOP / "doc").glob("*.md")))]

# Each block, by a part of it that no other of its document has, and the file that tries it.
TRIED = {
    "README.md": {
        "./dev run ": "tools/bare.sh",
        "$ curl -N": "tests/service/test_documents.py",
        "$ curl -X POST": "tests/service/test_documents.py",
        "event: ": "tests/service/test_documents.py",
        "apt install": "tests/system/test_package.py",
        "type = local": "tests/service/test_documents.py",
        "/etc/flagsse/token": "tests/system/test_package.py",
    },
    "HACKING.md": {
        "./dev lint": "tests/packages/test_hacking.py",
        "./bootstrap": "tests/packages/test_hacking.py",
        "update-settings": "tests/packages/test_hacking.py",
    },
    "doc/install.md": {
        "./bootstrap && ./configure": "tests/packages/test_without_check.py",
        "jetstream {": "tests/system/test_recovery.py",
        "sudo apt install autoconf": "tests/packages/test_documents.py",
        "token_file = ": "tests/service/test_documents.py",
        "--check-config": "tests/service/test_documents.py",
    },
    "doc/operations.md": {
        "max_streams = ": "tests/service/test_documents.py",
        "--print-config": "tests/service/test_documents.py",
    },
    "doc/proxies.md": {
        "server_name": "tests/system/proxies.py",
        "listen flagsse": "tests/proxies/fronts.py",
        "return (pipe)": "tests/system/proxies.py",
        "ProxyPass": "tests/proxies/fronts.py",
        "reverse_proxy": "tests/proxies/fronts.py",
        "proxy.reverse": "tests/proxies/fronts.py",
        "accept = ": "tests/proxies/fronts.py",
        "frontend": "tests/proxies/fronts.py",
        "proxy.server": "tests/proxies/fronts.py",
        "cache_peer": "tests/proxies/fronts.py",
    },
    "doc/fleets.md": {
        "apt-ftparchive": "tests/system/test_fleet.py",
        "signed-by": "tests/system/test_fleet.py",
        "rpm --define": "tests/packages/test_rpm.py",
        "/etc/sysusers.d": "tests/system/test_instances.py",
        "systemctl reload flagsse &&": "tests/packages/test_documents.py",
        "readlink": "tests/service/test_documents.py",
    },
    "doc/migration.md": {
        "mirror": "tests/system/test_migration.py",
    },
}

# Likewise, and why no test tries it to the letter.
NOT_TRIED = {
    "doc/install.md": {
        "sudo dnf install autoconf": "no Fedora here, and the document says so",
        "systemd-sysusers": "the scripts of the packages do both",
        "useradd": "needs a machine without the package",
        "SSE_SERVER_BASE_URL": "Flagsmith's settings",
    },
    "doc/architecture.md": {
        "--only fan_out": "tools to look with; the bench itself runs in CI's stage `bench`",
    },
    "doc/operations.md": {
        "MemoryMax=": "systemd's setting",
        "FLAGSSE_ENVIRONMENT=": "tests/system/test_socket.py asks the journal for this field in its own way",
    },
    "doc/proxies.md": {
        "cluster: flagsse": "Envoy is not in Debian, and the document says so",
    },
    "doc/fleets.md": {
        "repo_gpgcheck": "no dnf here",
        "semanage": "no SELinux here, and the document says so",
        "systemctl stop flagsse.socket": "tests/system does both in its own way",
        "apt install flagsse ": "tests/system/test_package.py upgrades in its own way",
        "systemctl edit flagsse@NAME.socket": "opens an editor",
    },
}


def text_of(document):
    """Without its blocks."""
    return re.sub(r"^( *)```\w*\n.*?^\1```$", "", (TOP / document).read_text(), flags=re.M | re.S)


def anchors(document):
    """Those of its headings, as GitHub and GitLab make them."""
    headings = re.findall(r"^#+ (.*)$", text_of(document), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(document):
    """Those to files and headings of this tree: [(file, or "" for this document; anchor, or "")]."""
    targets = re.findall(r"\]\(([^)\s]+)\)", text_of(document))
    return [target.partition("#")[::2] for target in targets if not re.match(r"[a-z]+:", target)]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links(document):
    for file, anchor in links(document):
        path = ((TOP / document).parent / file).resolve() if file else TOP / document
        assert path.exists() and TOP in path.parents, f"{document}: there is no {file}"
        if anchor:
            assert anchor in anchors(path.relative_to(TOP)), f"{document}: {file} has no heading {anchor}"


def test_links_are_found():
    """There are documents, and what is compared above is not nothing."""
    assert ("doc/install.md", "") in links("README.md")
    assert ("../README.md", "install-it") in links("doc/install.md")
    assert "1-nats-with-jetstream" in anchors("doc/install.md")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_block_is_tried(document):
    tried, not_tried = TRIED.get(document, {}), NOT_TRIED.get(document, {})
    marks = [*tried, *not_tried]
    found = [[mark for mark in marks if mark in text] for _, text in blocks(document)]
    for (_, text), of_block in zip(blocks(document), found):
        assert len(of_block) == 1, f"{document}: {of_block} for this block; name the test that tries it:\n{text}"
    assert sorted(sum(found, [])) == sorted(marks), f"{document} has another number of blocks"
    for mark, test in tried.items():
        source = (TOP / test).read_text()
        assert document in source, f"{test} does not read {document}, in which {mark} is"


def test_readme_is_short():
    assert len((TOP / "README.md").read_text().splitlines()) <= 200


def test_packages_to_build_with():
    """Those of doc/install.md are those that ./dev installs, but for Check."""
    command = re.sub(r"\\\n| #.*", " ", example("sh", "sudo apt install autoconf", "doc/install.md"))
    needed = execute("bash", "-c", '. tools/common.sh; echo "${PACKAGES_BUILD[@]}"', cwd=TOP).stdout.split()
    assert sorted([*command.split()[3:], "check"]) == sorted(needed)


def test_command_after_a_refused_upgrade():
    """It is the one that the packages print."""
    printed = re.search(r'what_to_run="(.*)"', (TOP / "systemd/units-to-restart.in").read_text())[1]
    block = example("sh", "systemctl reload flagsse &&", "doc/fleets.md")
    assert block.replace("sudo ", "") == printed.replace("$name", "flagsse") + "\n"
