# SPDX-License-Identifier: Apache-2.0
"""What the bootstrap, the halves and the shuffled control say of effects that are known."""

from __future__ import annotations

import pytest
import torch

from seal_attention.probing.stability import agreement, bootstrapped, halves, interval


def drawn(questions: int, noise: float, seed: int) -> torch.Tensor:
    """(questions, 40 heads): heads of effects -2 to 2, the same whatever the seed, and noise of each question's own."""
    generator = torch.Generator().manual_seed(seed)
    effects = torch.linspace(-2, 2, 40, dtype=torch.float64)[torch.randperm(40, generator=torch.Generator())]
    return effects + noise * torch.randn(questions, 40, generator=generator, dtype=torch.float64)


def test_questions_are_drawn_whole_and_with_replacement() -> None:
    ones = torch.tensor([[1.0, 10.0], [2.0, 20.0], [6.0, 60.0]], dtype=torch.float64)
    means = bootstrapped(ones, draws=200)
    assert torch.allclose(means[:, 1], 10 * means[:, 0])
    assert {round(3 * float(mean)) for mean in means[:, 0]} == {3, 4, 5, 6, 8, 9, 10, 13, 14, 18}


def test_the_interval_of_a_mean_has_the_width_that_the_normal_one_has() -> None:
    changes = drawn(100, 3.0, 0)
    low, high = interval(changes)
    normal = 2 * 1.96 * changes.std(0) / 10
    assert torch.allclose(high - low, normal, rtol=0.15)
    truth = drawn(1, 0.0, 0)[0]
    assert 35 <= int(((low <= truth) & (truth <= high)).sum()) <= 40  # 38 of 40 expected


def test_heads_that_keep_their_order_are_told_from_shuffled_ones() -> None:
    kept = agreement(drawn(60, 1.0, 1), drawn(60, 1.0, 2))
    assert kept["spearman"] > 0.97
    assert kept["low"] > 0.9 > kept["shuffled_high"] > 0 > kept["shuffled_low"]
    lost = agreement(drawn(60, 1.0, 1), drawn(60, 1.0, 2)[:, torch.randperm(40, generator=torch.Generator())])
    assert lost["shuffled_low"] < lost["spearman"] < lost["shuffled_high"]


def test_halves_agree_as_far_as_the_noise_lets_them() -> None:
    steady, noisy = halves(drawn(40, 0.5, 3)), halves(drawn(40, 20.0, 3))
    assert steady["spearman"] > 0.95 > 0.6 > noisy["spearman"] > -0.3
    assert steady["low"] > steady["shuffled_high"]
    assert noisy["low"] < noisy["shuffled_high"]
    assert abs(steady["shuffled_low"] + steady["shuffled_high"]) < 0.15


@pytest.mark.parametrize("questions", [1, 4])
def test_heads_that_are_all_alike_are_in_no_order(questions: int) -> None:
    alike = torch.zeros(questions, 8, dtype=torch.float64)
    for found in (agreement(alike, alike), halves(alike)):
        assert set(found) == {"spearman", "low", "high", "shuffled_low", "shuffled_high"}
        assert all(value is None for value in found.values())
