# SPDX-License-Identifier: Apache-2.0
"""Ranks and their correlation, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seal_attention.probing.ranks import ranks, spearman


def test_equal_values_share_the_mean_of_their_ranks() -> None:
    assert ranks([[3.0, 1.0, 3.0, 9.0], [5.0, 5.0, 5.0, 5.0]]).tolist() == [[2.5, 1.0, 2.5, 4.0], [2.5, 2.5, 2.5, 2.5]]


def test_spearman_is_pearsons_correlation_of_the_ranks() -> None:
    first, second = np.array([10.0, 20.0, 30.0, 40.0, 50.0]), [1.0, 3.0, 2.0, 5.0, 400.0]
    # without ties: 1 - 6 * sum of squared rank differences / (n (n^2 - 1)) = 1 - 6 * 2 / 120
    assert float(spearman(torch.tensor(first), second)) == pytest.approx(0.9)
    assert spearman(np.stack([first, -first]), np.stack([second, second])).tolist() == pytest.approx([0.9, -0.9])
    tied = [1.0, 1.0, 2.0, 2.0, 3.0]
    assert float(spearman(tied, first)) == pytest.approx(np.corrcoef(ranks(tied), ranks(first))[0, 1])


def test_values_that_are_all_equal_are_in_no_order() -> None:
    assert np.isnan(spearman(np.ones(4), np.arange(4)))
