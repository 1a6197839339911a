"""What lite0 sees in a quickstart's images: `python -m experiments recipes texture`.

Measures images of a trained quickstart, and real ones that get one of their faults, against other
real images, and writes the table of docs/recipes.md.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from experiments.tables import markdown_table, update_tables
from gantrain.common.rng import PositionalRNG
from gantrain.data.loading.opening import open_dataset
from gantrain.inference.export import open_generator
from gantrain.metrics.by_features import feature_metrics
from gantrain.metrics.evaluator import generate_images
from gantrain.metrics.lite0 import describe_images, load_lite0

IMAGES = 500  # of each kind, and of the real images that they are measured against
BACKGROUND = 230  # the renderer's grey
NOISE = 3.0  # standard deviation, in grey levels
BLUR = 0.4  # standard deviation, in pixels
_TOLERANCE = 17  # grey levels below BACKGROUND; generated backgrounds go so far

Images = NDArray[np.uint8]  # (N, 1, S, S)


def main(arguments: Sequence[str]) -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments recipes texture",
        description="Measure what lite0 sees in a quickstart's images.",
    )
    parser.add_argument(
        "--run", type=Path, default=Path("runs/quickstart"), help="a trained quickstart"
    )
    parser.add_argument(
        "--document", type=Path, default=Path("docs/recipes.md"), help="document to update"
    )
    options = parser.parse_args(arguments)
    loaded = open_generator(options.run)
    real = open_dataset(loaded.config.data).images(PositionalRNG(0, 0, 2 * IMAGES)).numpy()
    fake = generate_images(loaded.generator, 0, IMAGES).numpy()
    update_tables(options.document, {"texture": texture_table(real[:IMAGES], real[IMAGES:], fake)})


def texture_table(real: Images, others: Images, fake: Images) -> str:
    """Measure and format. real: what the other images and the generated ones are measured by."""
    network = load_lite0()
    reference = describe_images(network, torch.from_numpy(real))
    rows = []
    for name, images in variants(others, fake).items():
        features = describe_images(network, torch.from_numpy(images))
        values = feature_metrics(reference, features, "lite0", with_fid=True, with_neighbours=True)
        rows.append(
            [
                name,
                f"{values['fid_lite0'][0]:.2g}",
                f"{values['precision_lite0'][0]:.2g}",
                f"{equal_neighbours(images):.0%}",
            ]
        )
    header = ["images", "FID", "precision", "equal neighbours"]
    return markdown_table(header, rows)


def variants(real: Images, fake: Images) -> dict[str, Images]:
    """Return real and generated images, and what changes one thing about them, by what it is."""
    background = background_of(real)
    noise = np.random.default_rng(0).normal(0, NOISE, real.shape)
    cleaned = np.where(background_of(fake), np.uint8(BACKGROUND), fake)
    return {
        "other renderings": real,
        f"the same, blurred by {BLUR:g} pixels": _rounded(
            ndimage.gaussian_filter(real.astype(float), (0, 0, BLUR, BLUR))
        ),
        f"the same, noise of {NOISE:g} on the part": _rounded(real + noise * ~background),
        f"the same, noise of {NOISE:g} on the background": _rounded(real + noise * background),
        "generated": fake,
        f"the same, background set to {BACKGROUND}": cleaned,
    }


def background_of(images: Images) -> NDArray[np.bool_]:
    """Return where images are nearly as light as the background and connected to the border."""
    light = images >= BACKGROUND - _TOLERANCE
    border = np.ones_like(light)
    border[..., 1:-1, 1:-1] = False
    touching = [
        ndimage.binary_propagation(seeds[0], mask=mask[0])[None]
        for seeds, mask in zip(light & border, light, strict=True)
    ]
    return np.stack(touching)


def equal_neighbours(images: Images) -> float:
    """Return the fraction of horizontally neighbouring pixels that are equal."""
    return float((images[..., 1:] == images[..., :-1]).mean())


def _rounded(images: NDArray[np.float64]) -> Images:
    return images.round().clip(0, 255).astype(np.uint8)
