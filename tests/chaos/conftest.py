# SPDX-License-Identifier: BSD-3-Clause
"""Lets the tests find what they test."""
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "service")]
