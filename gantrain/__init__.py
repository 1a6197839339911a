"""Train GANs on a cluster and measure the results."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gantrain.inference.classes import sample_rows, select_classes
    from gantrain.inference.directions import find_directions
    from gantrain.inference.export import load_generator
    from gantrain.inference.interpolation import interpolate, lerp, slerp
    from gantrain.inference.nearest import PixelSearch
    from gantrain.inference.projection import project
    from gantrain.inference.sampling import (
        generate_images,
        sample_images,
        sample_latents,
        select_latents,
    )

__version__ = "0.2.0"

__all__ = [
    "PixelSearch",
    "find_directions",
    "generate_images",
    "interpolate",
    "lerp",
    "load_generator",
    "project",
    "sample_images",
    "sample_latents",
    "sample_rows",
    "select_classes",
    "select_latents",
    "slerp",
]

_MODULES = {
    "PixelSearch": "nearest",
    "find_directions": "directions",
    "generate_images": "sampling",
    "interpolate": "interpolation",
    "lerp": "interpolation",
    "load_generator": "export",
    "project": "projection",
    "sample_images": "sampling",
    "sample_latents": "sampling",
    "sample_rows": "classes",
    "select_classes": "classes",
    "select_latents": "sampling",
    "slerp": "interpolation",
}


def __getattr__(name: str) -> Any:
    # Lazy: importing torch takes a second, which the launcher and --help do not need.
    if name not in _MODULES:
        raise AttributeError(f"module 'gantrain' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"gantrain.inference.{_MODULES[name]}"), name)
