"""Train GANs on a cluster and measure the results."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gantrain.inference.directions import find_directions
    from gantrain.inference.export import load_generator
    from gantrain.inference.interpolation import between, lerp, slerp
    from gantrain.inference.nearest import PixelSearch
    from gantrain.inference.projection import project
    from gantrain.inference.sampling import (
        chosen_latents,
        generate_images,
        sample_images,
        sample_latents,
    )

__version__ = "0.2.0"

__all__ = [
    "PixelSearch",
    "between",
    "chosen_latents",
    "find_directions",
    "generate_images",
    "lerp",
    "load_generator",
    "project",
    "sample_images",
    "sample_latents",
    "slerp",
]

_HOMES = {
    "PixelSearch": "nearest",
    "between": "interpolation",
    "chosen_latents": "sampling",
    "find_directions": "directions",
    "lerp": "interpolation",
    "load_generator": "export",
    "generate_images": "sampling",
    "project": "projection",
    "sample_latents": "sampling",
    "sample_images": "sampling",
    "slerp": "interpolation",
}


def __getattr__(name: str) -> Any:
    # On demand: torch takes a second, which the launcher and --help need not wait.
    if name not in _HOMES:
        raise AttributeError(f"module 'gantrain' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"gantrain.inference.{_HOMES[name]}"), name)
