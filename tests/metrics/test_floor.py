"""The floor and the spread that a run measures once: closed forms, and the copy in the scratch."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from gantrain.config import DataConfig
from gantrain.data.loading.opening import open_dataset
from gantrain.data.shards.writer import write_shards
from gantrain.health.verdict import Verdict, floor_of, judge
from gantrain.metrics import floor as floor_module
from gantrain.metrics import measure as measure_module
from gantrain.metrics.features import open_features
from gantrain.metrics.floor import Marks, open_floor
from gantrain.metrics.measure import measure
from gantrain.metrics.reference import open_reference
from tests.conftest import draw_squares

SAMPLES = 256  # as many as FID by 128 features needs


def test_floor_and_spread_are_measured_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shards(tmp_path / "set", draw_squares(600), size=32, channels=1, source="squares")
    config = DataConfig(shards=str(tmp_path / "set"), size=32, cache_dir=tmp_path / "scratch")
    dataset = open_dataset(config)
    features = open_features("random", config, dataset.decoded, torch.device("cpu"))
    reference = open_reference(dataset, features, config, SAMPLES)

    def marks() -> Marks:
        return open_floor(dataset, features, reference, config, SAMPLES)

    first = marks()
    # FID of a displacement is the sum of its squares: here of variances, whose mean is 1.
    assert first["spread"]["quality/fid_random"] == pytest.approx(128)
    x = reference.features.double()
    x = (x / x.var(0).mean().sqrt())[:300]
    rng = np.random.default_rng(0)
    found = [displaced(x.numpy(), rng.choice((-1, 1), 128) * x.std(0).numpy()) for _ in range(20)]
    assert first["spread"]["quality/kid_random"] == pytest.approx(np.mean(found), rel=0.2)
    for name in ("quality/fid_random", "quality/kid_random"):
        assert first["scores"][name] < 0.1 * first["spread"][name]
    assert first["scores"]["interval/fid_random_high"] > first["scores"]["quality/fid_random"]

    (saved,) = (tmp_path / "scratch").rglob("floor-*.json")
    with monkeypatch.context() as patched:
        patched.delattr(floor_module, "measure_floor")
        assert marks() == first
        saved.write_text("{")
        with pytest.raises(NameError):  # it would measure again
            marks()


def test_the_verdict_knows_real_images_and_potatoes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The two-sample test takes seconds and has tests of its own.
    monkeypatch.setattr(measure_module, "two_sample_test", lambda *_: (0.5, (0.4, 0.6)))
    drawn = list(draw_squares(856))
    write_shards(tmp_path / "set", iter(drawn[:600]), size=32, channels=1, source="squares")
    config = DataConfig(shards=str(tmp_path / "set"), size=32, cache_dir=tmp_path / "scratch")
    dataset = open_dataset(config)
    features = open_features("random", config, dataset.decoded, torch.device("cpu"))
    reference = open_reference(dataset, features, config, SAMPLES)
    floor = floor_of(open_floor(dataset, features, reference, config, SAMPLES))
    files = [Image.open(io.BytesIO(sample.image)) for sample in drawn[600:]]
    unseen = torch.from_numpy(np.stack([np.asarray(file) for file in files]))[:, None]
    soft = functional.avg_pool2d(unseen.float(), 11, 1, 5, count_include_pad=False)

    def verdict_on(images: Tensor) -> Verdict:
        logged = measure(images, *features.describe(images), features, reference).logged()
        return judge([{"images_seen": 1000, **logged}], floor)

    assert verdict_on(unseen).level == "at the floor of real images"
    for fake in (soft.byte(), unseen[:8].repeat(32, 1, 1, 1), 255 - unseen):
        assert verdict_on(fake).level == "far from the data"


def displaced(x: NDArray[np.float64], by: NDArray[np.float64]) -> float:
    """The kernel distance of x and x + by, from means over pairs of different images."""
    y = x + by
    apart = ~np.eye(len(x), dtype=bool)
    means = [(((a @ b.T) / 128 + 1) ** 3)[apart].mean() for a, b in ((x, x), (y, y), (x, y))]
    return float(means[0] + means[1] - 2 * means[2])
