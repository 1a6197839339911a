"""FID, KID and the metrics of nearest neighbours, with their intervals."""

from torch import Tensor

from gantrain.common.statistics import Interval
from gantrain.metrics.distances import (
    Moments,
    frechet_distance,
    kernel_distance,
    kernel_distance_of_subsets,
)
from gantrain.metrics.intervals import fraction_interval, random_halves, symmetric_interval
from gantrain.metrics.neighbours import Distances

_MAX_KERNEL_IMAGES = 2000  # of each set, for the kernel distance
_MAX_NEIGHBOUR_IMAGES = 5000  # whose distances to one another fit into memory

Metrics = dict[str, tuple[float, Interval]]


def feature_metrics(
    real: Tensor, fake: Tensor, features: str, *, with_fid: bool, with_neighbours: bool
) -> Metrics:
    """Return the metrics of features (N, D) and (M, D), on the CPU, by `NAME_FEATURES`."""
    scale = feature_scale(real, features)
    x, y = (rows.double() / scale for rows in (real, fake))
    metrics = _kid(x[:_MAX_KERNEL_IMAGES], y[:_MAX_KERNEL_IMAGES])
    if with_fid:
        metrics |= _fid(x, y)
    if with_neighbours:
        metrics |= _neighbours(x[: len(y)][:_MAX_NEIGHBOUR_IMAGES], y[:_MAX_NEIGHBOUR_IMAGES])
    return {f"{name}_{features}": pair for name, pair in metrics.items()}


def feature_scale(real: Tensor, features: str) -> float:
    """Return what features are divided by, given those of the real images (N, D)."""
    scale = 1.0 if features == "inception" else float(real.double().var(0).mean().sqrt())
    return max(scale, 1e-12)


def _fid(x: Tensor, y: Tensor) -> Metrics:
    value = frechet_distance(Moments.of(x), Moments.of(y))
    halves = [
        frechet_distance(Moments.of(x[rows]), Moments.of(y[columns]))
        for rows, columns in random_halves(len(x), len(y))
    ]
    return {"fid": (value, symmetric_interval(value, halves, 0.0))}


def _kid(x: Tensor, y: Tensor) -> Metrics:
    value = kernel_distance(x, y)
    halves = kernel_distance_of_subsets(x, y, list(random_halves(len(x), len(y))))
    return {"kid": (value, symmetric_interval(value, halves))}


def _neighbours(x: Tensor, y: Tensor) -> Metrics:
    distances = Distances.of(x, y)
    values = distances.metrics()
    smaller = distances.in_single_precision()
    halves = [smaller.subset(*pair).metrics() for pair in random_halves(len(x), len(y))]
    metrics: Metrics = {}
    for name, value in values.items():
        found = [half[name] for half in halves]
        count = len(y) if name == "precision" else len(x)
        if name == "density":
            metrics[name] = value, symmetric_interval(value, found, 0.0)
        else:
            metrics[name] = value, fraction_interval(value, count, found)
    return metrics
