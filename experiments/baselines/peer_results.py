"""The measurements of the comparison with the peer, and their table."""

import itertools
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from experiments.baselines.mimicry import PeerGenerator, peer_networks
from experiments.baselines.peer_plan import ARMS, SEEDS, WIDTH, Arm, PeerRun, all_runs
from experiments.baselines.ruler import Lite0Ruler
from experiments.tables import format_median_and_range, markdown_table
from gantrain.common.files import write_text
from gantrain.metrics.evaluator import generate_images

MEASURED = "measured.json"
WEIGHTS = "peer-generator.safetensors"
# More than twice the 192 features, so that their covariances have full rank.
SAMPLES = 500  # generated images of each run
REAL = 2000  # training images
UNTRAINED = "untrained"  # file with the measurements of generators before their training
_LATENT_SEED = 0


def measure_run(run: PeerRun, out: Path, ruler: Lite0Ruler) -> None:
    """Measure the generator of a run, in evaluation mode, and write the result next to it."""
    network = peer_networks(run.arm.kind, WIDTH)[0]
    network.load_state_dict(load_file(out / run.name / WEIGHTS))
    _measure(network, ruler, out / run.name / MEASURED)


def measure_untrained(out: Path, ruler: Lite0Ruler) -> None:
    """Measure one generator before its training, for scale."""
    torch.manual_seed(0)
    _measure(peer_networks(ARMS[0].kind, WIDTH)[0], ruler, out / UNTRAINED / MEASURED)


def _measure(network: torch.nn.Module, ruler: Lite0Ruler, path: Path) -> None:
    generator = PeerGenerator(network).eval()
    path.parent.mkdir(exist_ok=True)
    scores = ruler.measure(generate_images(generator, _LATENT_SEED, SAMPLES))
    write_text(path, json.dumps(scores))


def read_scores(out: Path) -> dict[PeerRun, dict[str, float]]:
    """Return the measurements of the runs that have been measured."""
    paths = {run: out / run.name / MEASURED for run in all_runs()}
    return {run: json.loads(path.read_text()) for run, path in paths.items() if path.exists()}


def peer_table(scores: dict[PeerRun, dict[str, float]]) -> str:
    """Format, for each objective and metric, both codes' medians and whether they agree."""
    rows = []
    for arm, metric in itertools.product(ARMS, ("fid", "kid")):
        theirs, ours = (_values(scores, arm, code, metric) for code in ("peer", "gantrain"))
        if not theirs or not ours:
            continue
        within = min(theirs) <= statistics.median(ours) <= max(theirs)
        rows.append(
            [
                arm.label,
                f"{arm.learning_rate:g}",
                f"{metric.upper()} (lite0)",
                f"{len(theirs)} + {len(ours)}",
                format_median_and_range(theirs),
                format_median_and_range(ours),
                "yes" if within else "**no**",
                f"{permutation_p(theirs, ours):.2f}",
            ]
        )
    header = [
        "networks",
        "learning rate",
        "metric",
        "seeds",
        "torch-mimicry",
        "gantrain",
        "within its range",
        "p",
    ]
    return markdown_table(header, rows)


def _values(
    scores: dict[PeerRun, dict[str, float]], arm: Arm, code: str, metric: str
) -> list[float]:
    runs = [PeerRun(arm, code, seed) for seed in range(SEEDS)]
    return [scores[run][metric] for run in runs if run in scores]


def permutation_p(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the p-value of a difference of means, by all ways to divide the values (two-sided).

    Fisher's exact permutation test: with 5 + 5 values there are 252, and 1 of 126 is the smallest.
    """
    values = np.array([*one, *other])
    chosen = list(itertools.combinations(range(len(values)), len(one)))
    differences = np.array([_difference(values, indices) for indices in chosen])
    observed = abs(_difference(values, chosen[0]))  # the first combination is `one` itself
    return float(np.mean(np.abs(differences) >= observed * (1 - 1e-12)))


def _difference(values: np.ndarray, indices: Sequence[int]) -> float:
    is_one = np.isin(np.arange(len(values)), indices)
    return float(values[is_one].mean() - values[~is_one].mean())
