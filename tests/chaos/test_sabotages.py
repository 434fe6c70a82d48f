# SPDX-License-Identifier: BSD-3-Clause
"""The code that the self-test breaks is there: told at once, not after the minutes that the sabotages before it take."""
import pytest

from selftest import SABOTAGES, TOP


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda sabotage: sabotage.what)
def test_is_there(sabotage):
    assert (TOP / sabotage.file).read_text().count(sabotage.good) == 1
