"""The trials of the quickstart: their configs, what is measured of them, and the tables."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from experiments.recipes import measure, texture
from experiments.recipes.plan import BEST, CONFIG, TRIALS
from experiments.recipes.report import curve_table, trials_table
from experiments.recipes.train import main
from gantrain.common.errors import UserError
from gantrain.config import Config, load_config, parse_config
from gantrain.data.loading.labelled import open_labelled_dataset
from gantrain.data.loading.selection import held_out_rows, training_rows
from tests.conftest import small_config


def config_of(name: str) -> Config:
    trial = next(trial for trial in TRIALS if trial.name == name)
    tree = trial.config(Path("shards"))
    return parse_config({**tree, "output": {**tree["output"], "run_dir": "run"}}, name)


def test_each_trial_has_a_name_and_a_valid_config() -> None:
    assert len({trial.name for trial in TRIALS}) == len(TRIALS)
    for trial in TRIALS:
        assert config_of(trial.name).training.total_kimg == trial.kimg


def test_the_best_trial_is_the_quickstart_trained_for_longer() -> None:
    shipped, tried = load_config(CONFIG), config_of(BEST.name)
    for section in ("generator", "discriminator", "objective", "conditioning", "ema", "augment"):
        assert getattr(shipped, section) == getattr(tried, section)
    for key in ("batch_size", "mixed_precision"):
        assert getattr(shipped.training, key) == getattr(tried.training, key)
    assert shipped.training.total_kimg < tried.training.total_kimg
    assert shipped.data.size == tried.data.size


def test_an_unknown_trial_is_an_error_that_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"best: no such trial; expected one of .*quickstart"):
        main(["best", "--out", str(tmp_path)])


def test_the_background_is_what_is_light_as_far_as_the_border() -> None:
    image = np.full((1, 1, 8, 8), 230, np.uint8)
    image[0, 0, 2:7, 2:7] = 120
    image[0, 0, 4, 4] = 229  # a light pixel within the part
    image[0, 0, 0, 0] = 215
    expected = np.ones((8, 8), bool)
    expected[2:7, 2:7] = False
    assert np.array_equal(texture.background_of(image)[0, 0], expected)


def test_each_variant_changes_only_what_it_says() -> None:
    real = np.full((2, 1, 8, 8), 230, np.uint8)
    real[:, :, 3:6, 3:6] = 120
    fake = (real - np.arange(8)).astype(np.uint8)
    part = real == 120
    plain, blurred, on_part, on_background, generated, cleaned = texture.variants(
        real, fake
    ).values()
    assert plain is real
    assert generated is fake
    assert np.array_equal(on_part[~part], real[~part])
    assert np.array_equal(on_background[part], real[part])
    for changed, where in ((on_part, part), (on_background, ~part)):
        difference = (changed.astype(float) - real)[where]
        assert 0.5 * texture.NOISE < difference.std() < 1.5 * texture.NOISE
    assert (cleaned[~part] == texture.BACKGROUND).all()
    assert np.array_equal(cleaned[part], fake[part])
    assert 0 < np.abs(blurred.astype(float) - real).max() < 110
    assert texture.equal_neighbours(np.array([[[[1, 1, 2, 2, 2]]]], np.uint8)) == 0.75


class ByBrightness(nn.Module):
    """Says class 0 of dark images and class 1 of bright ones, and nothing sure of those between."""

    def forward(self, images: Tensor) -> Tensor:
        brightness = images.mean((1, 2, 3))
        return torch.stack([-40 * brightness, 40 * brightness], 1)


def test_images_are_judged_by_their_distance_and_by_the_classes_that_they_show(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(shards, tmp_path / "run", data={"held_out": 0.25}).data
    trained = SimpleNamespace(network=ByBrightness(), classes=("dark", "bright"))
    monkeypatch.setattr(measure, "prepare_classifier", lambda _: trained)
    judge = measure.Judge(config)
    labelled = open_labelled_dataset(config)
    table = labelled.cache.table
    training, held_out = (
        labelled.images[torch.from_numpy(rows(table, config))]
        for rows in (training_rows, held_out_rows)
    )
    assert judge.judge(held_out)["nearest_ratio"] == pytest.approx(1)
    assert judge.judge(training)["nearest_ratio"] < 0.01

    shade = torch.tensor([0, 0, 0, 255, 127, 128], dtype=torch.uint8)
    images = shade[:, None, None, None].expand(-1, 1, 32, 32)
    asked = ["dark", "dark", "bright", "bright", "dark", "bright"]
    values = judge.judge(images, asked)
    assert values["named"] == pytest.approx(4 / 6)  # those in the middle are not sure
    assert values["right"] == pytest.approx(3 / 6)
    assert values["rarest"] == pytest.approx(1 / 4)
    assert "right" not in judge.judge(images)


def test_the_tables_show_what_is_measured_per_cpu_second(tmp_path: Path) -> None:
    folder = tmp_path / BEST.name / "measured"
    folder.mkdir(parents=True)
    (tmp_path / BEST.name / "cpu.json").write_text(json.dumps({"cpu_seconds": 840.0}))
    for kimg, ratio in ((210, 2.5), (420, 1.25)):
        values = {"nearest_ratio": ratio, "named": 0.5, "right": 0.4, "rarest": 0.1}
        (folder / f"{1000 * kimg:09d}.json").write_text(json.dumps(values))
    curve = curve_table(tmp_path, BEST).splitlines()
    assert curve[2:] == [
        "| 420 | 210 | 2.50 | 0.50 | 0.40 | 0.10 |",
        "| 840 | 420 | 1.25 | 0.50 | 0.40 | 0.10 |",
    ]
    rows = trials_table(tmp_path).splitlines()[2:]
    assert rows == [f"| `{BEST.name}` | {BEST.what} | 840 | 420 | 1.25 | 0.50 | 0.40 | 0.10 |"]
