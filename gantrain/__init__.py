"""Train GANs on a cluster, and tell the truth about them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gantrain.directions import find_directions
    from gantrain.export import load_generator
    from gantrain.interpolation import between, lerp, slerp
    from gantrain.latents import chosen_latents, make_pictures, sample_latents, sample_pictures
    from gantrain.nearest import PixelSearch
    from gantrain.projection import project

__all__ = [
    "PixelSearch",
    "between",
    "chosen_latents",
    "find_directions",
    "lerp",
    "load_generator",
    "make_pictures",
    "project",
    "sample_latents",
    "sample_pictures",
    "slerp",
]

_HOMES = {
    "PixelSearch": "nearest",
    "between": "interpolation",
    "chosen_latents": "latents",
    "find_directions": "directions",
    "lerp": "interpolation",
    "load_generator": "export",
    "make_pictures": "latents",
    "project": "projection",
    "sample_latents": "latents",
    "sample_pictures": "latents",
    "slerp": "interpolation",
}


def __getattr__(name: str) -> Any:
    # On demand: torch takes a second, which the launcher and --help need not wait.
    if name not in _HOMES:
        raise AttributeError(f"module 'gantrain' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"gantrain.{_HOMES[name]}"), name)
