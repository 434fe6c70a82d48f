# SPDX-License-Identifier: BSD-3-Clause
"""What the documents tell an administrator to write, for tests that do so; only what a test must change is changed."""
import re
import textwrap
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
NAME = "realtime.example.org"  # the public name, in all of them


def blocks(document):
    """All blocks of a document, those within a list too: [(language, text)]."""
    found = re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", (TOP / document).read_text(), re.M | re.S)
    return [(language, textwrap.dedent(text)) for _, language, text in found]


def example(language, mark, document):
    """The block of a document in this language that has the mark in it."""
    marked = [text for written_in, text in blocks(document) if written_in == language and mark in text]
    assert len(marked) == 1, f"{document} has {len(marked)} blocks of {language} with {mark}"
    return marked[0]


def replace(text, *pairs):
    """Each of them must be there, once."""
    for old, new in pairs:
        assert text.count(old) == 1, f"not once {old!r} in:\n{text}"
        text = text.replace(old, new)
    return text
