"""Categorical supports against closed forms."""

import math

import pytest
import torch

from training.support import Support, squash, unsquash

PUBLISHED = Support(-299.0, 299.0, 51, "h")
LINEAR = Support(0.0, 110.0, 41, "linear")


def test_h_of_the_published_ends_is_16_62_and_one_bin_is_0_665():
    # h(299) = sqrt(300) - 1 + 0.299 = 16.6195
    assert float(PUBLISHED.atoms[-1]) == pytest.approx(math.sqrt(300.0) - 1.0 + 0.299, abs=1e-5)
    assert PUBLISHED.width == pytest.approx(2 * 16.6195 / 50, abs=1e-5)


def test_unsquash_inverts_squash_also_for_negative_numbers():
    x = torch.linspace(-299.0, 299.0, 1001, dtype=torch.float64)
    assert torch.allclose(unsquash(squash(x)), x, atol=1e-9, rtol=1e-12)


@pytest.mark.parametrize("support", [PUBLISHED, LINEAR], ids=["h", "linear"])
def test_decoding_the_logarithm_of_two_hot_gives_the_number_back(support):
    x = torch.linspace(support.low, support.high, 2001)
    back = support.decode(support.encode(x).clamp_min(1e-30).log())
    assert torch.allclose(back, x, rtol=1e-3, atol=1e-3)


def test_two_hot_of_one_weighs_the_atoms_0_and_0_665_with_0_375_and_0_625():
    # h(1) = sqrt(2) - 1 + 0.001 = 0.41521; 0.41521 / 0.66478 = 0.6246 of the way to the next atom
    weights = PUBLISHED.encode(torch.tensor(1.0))
    assert weights[25] == pytest.approx(0.3754, abs=1e-3)
    assert weights[26] == pytest.approx(0.6246, abs=1e-3)
    assert torch.count_nonzero(weights) == 2


@pytest.mark.parametrize("support", [PUBLISHED, LINEAR], ids=["h", "linear"])
def test_two_hot_weights_sum_to_one_and_touch_at_most_two_neighbours(support):
    x = torch.empty(500).uniform_(support.low, support.high)
    weights = support.encode(x)
    assert torch.allclose(weights.sum(-1), torch.ones(500), atol=1e-5)
    assert int((weights > 0).sum(-1).max()) <= 2
    index = weights.argmax(-1)
    near = weights.gather(1, (index - 1).clamp_min(0)[:, None]) + weights.gather(
        1, (index + 1).clamp_max(support.bins - 1)[:, None]
    )
    inside = (index > 0) & (index < support.bins - 1)
    total = near[:, 0] + weights.gather(1, index[:, None])[:, 0]
    assert torch.allclose(total[inside], torch.ones(int(inside.sum())), atol=1e-5)


def test_values_outside_the_range_are_clipped_to_the_end_atoms():
    ends = PUBLISHED.encode(torch.tensor([-1e6, 1e6]))
    assert ends[0, 0] == pytest.approx(1.0, abs=1e-4)
    assert ends[1, -1] == pytest.approx(1.0, abs=1e-4)


def test_decoding_uniform_logits_of_a_symmetric_support_gives_zero():
    assert float(PUBLISHED.decode(torch.zeros(51))) == pytest.approx(0.0, abs=1e-4)


def test_an_unknown_transform_is_refused_with_what_exists():
    with pytest.raises(ValueError, match=r"'log'.*h.*linear"):
        Support(0.0, 1.0, 11, "log")


def test_a_range_without_width_is_refused():
    with pytest.raises(ValueError, match="low < high"):
        Support(1.0, 1.0, 11, "h")
