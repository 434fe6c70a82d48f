# SPDX-License-Identifier: BSD-3-Clause
"""`make install` from source: the journal's index of catalogs is made again, where that can be done."""
import os
import shutil

import pytest

from tools import TOP, execute

BUILD = TOP / "build"
READ = "/usr/lib/systemd/catalog"


class Journalctl:
    """Stands in for the real one: it would change this machine."""

    def __init__(self, directory, status):
        self.log = directory / "asked"
        self.directory = directory
        self.log.touch()
        (directory / "journalctl").write_text(f'#!/bin/sh\necho "$*" >>{self.log}\nexit {status}\n')
        (directory / "journalctl").chmod(0o755)

    def make(self, *arguments):
        """What make says, and what was asked of journalctl."""
        environment = {**os.environ, "PATH": f"{self.directory}:{os.environ['PATH']}"}
        said = execute("make", "-C", BUILD, "--no-print-directory", *arguments, env=environment).stdout
        return said, self.log.read_text().splitlines()


@pytest.fixture(name="journalctl")
def fixture_journalctl(tmp_path):
    def make(status=0):
        directory = tmp_path / "bin"
        directory.mkdir()
        return Journalctl(directory, status)
    return make


@pytest.mark.parametrize("hook", ["install-data-hook", "uninstall-hook"])
def test_catalog_is_read_again(journalctl, hook):
    said, asked = journalctl().make(hook, f"catalogdir={READ}")
    assert asked == ["--update-catalog"] and "stays as it is" not in said


def test_catalog_of_others_than_root(journalctl):
    """It fails, and what is installed is installed."""
    said, asked = journalctl(status=1).make("install-data-hook", f"catalogdir={READ}")
    assert asked == ["--update-catalog"]
    assert said.endswith("as root, run: journalctl --update-catalog.\n")


def test_catalog_for_a_package(journalctl, tmp_path):
    said, asked = journalctl().make("install-data", f"DESTDIR={tmp_path}/root")
    assert asked == [] and "root has to run: journalctl --update-catalog.\n" in said
    (catalog,) = (tmp_path / "root").rglob("flagsse.catalog")
    assert catalog.is_file()
    shutil.rmtree(tmp_path / "root")


def test_catalog_elsewhere(journalctl, tmp_path):
    said, asked = journalctl().make("install-data-hook", f"catalogdir={tmp_path}")
    assert asked == [] and f"reads no catalog in {tmp_path}" in said


def test_manual_installation_is_told_of_it():
    assert "journalctl --update-catalog" in (TOP / "doc/install.md").read_text()
