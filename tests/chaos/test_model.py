# SPDX-License-Identifier: BSD-3-Clause
"""The checker on the histories of a model."""
import pytest

from checker import check
from model import FAULTS, Model

N_RUNS = 300
N_SEARCHED = 3000  # some faults show seldom


def test_model():
    """No false alarm."""
    for seed in range(N_RUNS):
        assert check(Model(seed).run())[0] == [], f"seed {seed}"


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_the_model(fault):
    assert any(check(Model(seed, fault).run())[0] for seed in range(N_SEARCHED))
