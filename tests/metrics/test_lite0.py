"""EfficientNet-Lite0 and its features."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from gantrain.common.errors import UserError
from gantrain.metrics import lite0
from gantrain.metrics.lite0 import DIMENSION, describe_images, load_lite0, normalised

# The outputs of efficientnet-lite-pytorch 0.1.0 with the same weights, for `draw_card`: the mean of
# each of the first four channels of some stages.
PEER = {
    2: [2.41156, 15.39295, -0.37391, 3.34044],
    5: [1.01489, 1.58385, 0.43579, 3.37797],
    6: [2.50208, -1.20498, -3.29437, -0.14191],
    7: [-0.4279, 1.06421, -0.54793, -2.86661],
}


def draw_card(size: int = 224) -> Tensor:
    """A colour image with structure at several scales, float32 (1, 3, size, size)."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    waves = [torch.sin(20 * x * y), torch.cos(9 * x + 5 * y), (x**2 + y**2 < 0.5).float() * 2 - 1]
    return torch.stack(waves)[None]


def test_a_convolution_pads_as_tensorflow_does() -> None:
    """The last output of a strided convolution sees one padded column on the right only."""
    weights = {
        "c.weight": torch.ones(1, 1, 3, 3),
        **{f"n.{name}": torch.ones(1) for name in ("weight", "running_var")},
        **{f"n.{name}": torch.zeros(1) for name in ("bias", "running_mean")},
    }
    convolution = lite0._Convolution(weights, "c", "n", stride=2)
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    expected = nn.functional.conv2d(pad(x, (0, 1, 0, 1)), torch.ones(1, 1, 3, 3), stride=2)
    torch.testing.assert_close(convolution(x), expected / (1 + 1e-3) ** 0.5)


def test_stages_are_those_of_another_implementation() -> None:
    outputs = load_lite0(7)(draw_card())
    for stage, values in PEER.items():
        means = outputs[stage - 1].mean((2, 3))[0, : len(values)]
        torch.testing.assert_close(means, torch.tensor(values), rtol=1e-3, atol=1e-4)
    assert [x.shape[1] for x in outputs] == [16, 24, 40, 80, 112, 192, 320]
    assert outputs[-1].shape[-1] == 7


def test_grey_images_equal_colour_images_of_the_same_grey() -> None:
    rng = torch.Generator().manual_seed(0)
    grey = torch.randint(0, 256, (5, 1, 32, 32), generator=rng, dtype=torch.uint8)
    network = load_lite0()
    features = describe_images(network, grey)
    assert features.shape == (5, DIMENSION)
    assert torch.equal(features, describe_images(network, grey.expand(-1, 3, -1, -1)))
    torch.testing.assert_close(features[2:3], describe_images(network, grey[2:3]))


def test_images_shrink_without_aliasing() -> None:
    stripes = (torch.arange(256) % 2 * 255).to(torch.uint8).expand(1, 1, 256, 256)
    shrunk = normalised(stripes, 64)[..., 4:-4]
    torch.testing.assert_close(shrunk, torch.full_like(shrunk, 0.5 / 128), atol=0.01, rtol=0)


def test_a_damaged_file_of_weights_is_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("packages")
    weights = folder / "damaged_weights" / lite0._WEIGHTS
    weights.parent.mkdir(parents=True)
    (folder / "damaged_weights" / "__init__.py").touch()
    weights.write_bytes(b"not weights")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(lite0, "LITE0_PACKAGE", "damaged_weights")
    with pytest.raises(UserError, match=r"unreadable .*reinstall it"):
        load_lite0()
