"""The networks of small configs, written out layer by layer, for plain PyTorch loops."""

import torch
from torch import nn

from gantrain.training.gan import Gan


class PlainGenerator(nn.Sequential):
    """DCGAN's generator for 32x32, written out layer by layer."""

    def __init__(self) -> None:
        super().__init__(
            nn.ConvTranspose2d(8, 16, 4, bias=False),
            nn.BatchNorm2d(16),
            nn.LeakyReLU(0.2),
            nn.ConvTranspose2d(16, 8, 4, 2, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.LeakyReLU(0.2),
            nn.ConvTranspose2d(8, 4, 4, 2, 1, bias=False),
            nn.BatchNorm2d(4),
            nn.LeakyReLU(0.2),
            nn.ConvTranspose2d(4, 1, 4, 2, 1, bias=False),
            nn.Tanh(),
        )


def plain_judge(norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(1, 4, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
    for width in (8, 16):
        layers += [nn.Conv2d(width // 2, width, 4, 2, 1, bias=False)]
        layers += [nn.BatchNorm2d(width)] if norm else []
        layers += [nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(16, 1, 4, bias=False), nn.Flatten(0))


def plain_copy(gan: Gan, norm: bool) -> tuple[nn.Sequential, nn.Sequential]:
    g, d = PlainGenerator(), plain_judge(norm)
    for plain, ours in ((g, gan.generator), (d, gan.discriminator)):
        plain.load_state_dict(
            dict(zip(plain.state_dict(), ours.state_dict().values(), strict=True))
        )
    return g, d


def assert_close(one: nn.Module, other: nn.Module) -> None:
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        # Adam's first step is the learning rate times the gradient's sign, so that a gradient
        # near zero may round to either side; the others must agree to float tolerance.
        close = torch.isclose(a, b, rtol=1e-4, atol=2e-6)
        assert close.float().mean() > 0.999
