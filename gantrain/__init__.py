"""Train GANs on a cluster and measure the results."""

import sys
from typing import TYPE_CHECKING, Any

if sys.platform == "win32":
    raise SystemExit(
        "gantrain: Windows is not supported; use WSL: run `wsl --install`, and install gantrain "
        "in there."
    )

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
    from gantrain.runs.metrics_file import read_metrics

__version__ = "0.2.0"

__all__ = [
    "PixelSearch",
    "find_directions",
    "generate_images",
    "interpolate",
    "lerp",
    "load_generator",
    "project",
    "read_metrics",
    "sample_images",
    "sample_latents",
    "sample_rows",
    "select_classes",
    "select_latents",
    "slerp",
]

_MODULES = {
    "PixelSearch": "inference.nearest",
    "find_directions": "inference.directions",
    "generate_images": "inference.sampling",
    "interpolate": "inference.interpolation",
    "lerp": "inference.interpolation",
    "load_generator": "inference.export",
    "project": "inference.projection",
    "read_metrics": "runs.metrics_file",
    "sample_images": "inference.sampling",
    "sample_latents": "inference.sampling",
    "sample_rows": "inference.classes",
    "select_classes": "inference.classes",
    "select_latents": "inference.sampling",
    "slerp": "inference.interpolation",
}


def __getattr__(name: str) -> Any:
    # Lazy: importing torch takes a second, which the launcher and --help do not need.
    if name not in _MODULES:
        raise AttributeError(f"module 'gantrain' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"gantrain.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
