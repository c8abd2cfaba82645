import numpy as np
import pytest
import torch
from torch.nn import functional

from optimizer.bridge.folding import EPSILON, InsertedNorm, Moments, along_channels


def test_moments_over_batches_are_those_of_all_samples() -> None:
    x = torch.randn(12, 3, 4, 5, generator=torch.Generator().manual_seed(1)) + 1e4
    moments = Moments()
    for part in x.split([5, 1, 6]):
        moments.add(part)
    mean, wide = moments.mean, x.double()
    assert mean is not None
    np.testing.assert_allclose(mean, wide.mean((0, 2, 3)), rtol=1e-14)
    np.testing.assert_allclose(moments.variance, wide.var((0, 2, 3), correction=0), rtol=1e-9)
    assert (moments.least, moments.per_sample, moments.count) == (20, 20, 240)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_scale_along_the_channels_scales_the_output(groups: int, transposed: bool) -> None:
    random = torch.Generator().manual_seed(2)
    x, scale = torch.randn(2, 4, 6, 6, generator=random), torch.randn(8, generator=random)
    shape = (4, 8 // groups, 3, 3) if transposed else (8, 4 // groups, 3, 3)
    weight = torch.randn(*shape, generator=random)
    function = functional.conv_transpose2d if transposed else functional.conv2d
    scaled = weight * along_channels(scale, weight, transposed=transposed)
    expected = function(x, weight, groups=groups) * scale.reshape(1, -1, 1, 1)
    torch.testing.assert_close(function(x, scaled, groups=groups), expected)


def test_a_norm_starts_where_nothing_changes_and_follows_the_batch_in_training() -> None:
    x = torch.randn(6, 3, 5, generator=torch.Generator().manual_seed(3)) * 4 + 2
    mean, variance = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([4.0, 0.0, 1e-9])
    norm = InsertedNorm(mean, variance)
    torch.testing.assert_close(norm.eval()(x, mean), x, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(norm.gamma.detach(), (variance + EPSILON).sqrt())
    norm.train()(x, mean)
    batch_mean = x.mean((0, 2))
    torch.testing.assert_close(norm.mean, 0.9 * mean + 0.1 * batch_mean)
