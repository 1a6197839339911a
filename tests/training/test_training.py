"""Complete runs, launched as a user launches them."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open

from gantrain.inference.export import load_generator
from gantrain.inference.sampling import sample_images
from tests.conftest import PENALISED, SNGAN, WGAN_GP, small_tree
from tests.curves import assert_similar_curves, curve
from tests.launching import Train, launch, launch_several, write_config

EXACT: dict[str, dict[str, Any]] = {
    "generator": {"norm": "none"},
    "discriminator": {"norm": "none"},
}


def merged(*sections: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    tree: dict[str, dict[str, Any]] = {}
    for one in sections:
        for name, section in one.items():
            tree[name] = {**tree.get(name, {}), **section}
    return tree


@pytest.mark.parametrize("kind", ["dcgan", "wgan-gp"])
def test_two_ranks_train_like_one(kind: str, shards: Path, tmp_path: Path) -> None:
    sections = merged(WGAN_GP if kind == "wgan-gp" else {}, EXACT)
    for ranks in (1, 2):
        tree = small_tree(shards, tmp_path / str(ranks), **sections)
        tree["training"]["world_size"] = ranks
        done = launch(write_config(tmp_path / "config.yaml", tree), ranks=ranks)
        assert done.returncode == 0, done.stderr
        assert f"{ranks} rank(s)" in done.stderr
    assert_similar_curves(tmp_path / "1", tmp_path / "2", lines=5)


def test_two_ranks_have_the_penalties_and_gradients_of_one(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    """Lazy penalties, in micro-batches and in joint updates: the gradients of D go through DDP."""
    variants: dict[str, dict[str, Any]] = {
        "micro": {"training": {"grad_accum_steps": 2}},
        "joint": {"training": {"updates": "joint"}},
    }
    together = []
    for name, sections in variants.items():
        tree = small_tree(shards, tmp_path / f"{name}-1", **merged(PENALISED, EXACT, sections))
        config = write_config(tmp_path / f"{name}.yaml", tree)
        assert train(config).returncode == 0
        together.append(["--config", str(config), f"output.run_dir={tmp_path / name}-2"])
    done = launch_several(*together, ranks=2)
    assert done.returncode == 0, done.stderr
    for name in variants:
        assert_similar_curves(tmp_path / f"{name}-1", tmp_path / f"{name}-2", lines=5)
        for line in curve(tmp_path / f"{name}-1"):
            assert line["loss/r1"] > 1e-3  # so that the penalty counts


def test_a_run_writes_everything_to_its_directory(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    run = tmp_path / "run"
    tree = small_tree(shards, run, output={"sample_every_kimg": 0.08})
    done = train(write_config(tmp_path / "config.yaml", tree))
    assert done.returncode == 0, done.stderr
    ending = done.stderr.splitlines()[-6:]
    assert re.fullmatch(r"finished at 0\.16 of 0\.16 kimg after \d+ (s|min)", ending[0])
    assert ending[1] == "training: too early to say"
    assert ending[2] == "quality: not measured (metrics.every_kimg is 0)"
    assert ending[3].startswith(f"samples: {run}/samples/fake-000000160.png")
    assert ending[4:] == [f"next: gantrain report {run}", f"next: gantrain sample {run}"]
    assert re.search(r"160/160 images .* images/s .*ETA.* D .* G .*acc real.*acc fake", done.stderr)
    grids = sorted(path.name for path in (run / "samples").iterdir())
    assert grids == [*(f"fake-{n:09d}.png" for n in (0, 80, 160)), "real.png"]
    for name in grids:
        assert Image.open(run / "samples" / name).size == (2 * 32 + 2, 2 * 32 + 2)
    assert json.loads((run / "status.json").read_text())["state"] == "finished"
    events = [json.loads(line)["event"] for line in (run / "events.jsonl").open()]
    assert events == ["starts", "checkpoint", "finished"]
    with safe_open(run / "generator.safetensors", "pt") as file:
        assert file.metadata()["images_seen"] == "160"
    from_file = sample_images(load_generator(run / "generator.safetensors"), 5, seed=3)
    assert torch.equal(from_file, sample_images(load_generator(run), 5, seed=3))


@pytest.mark.parametrize(
    "objective",
    [
        pytest.param({"objective": {"label_flips": 0.1}}, id="dcgan"),
        pytest.param(WGAN_GP, id="wgan-gp"),
        pytest.param(SNGAN, id="hinge"),
        pytest.param(PENALISED, id="rpgan-lazy"),
    ],
)
def test_a_resumed_run_has_the_curve_of_an_uninterrupted_one(
    objective: dict[str, dict[str, Any]], shards: Path, tmp_path: Path, train: Train
) -> None:
    sections = merged(objective, {"discriminator": {"dropout": 0.3}})
    uninterrupted = write_config(
        tmp_path / "uninterrupted.yaml", small_tree(shards, tmp_path / "uninterrupted", **sections)
    )
    stopped = write_config(
        tmp_path / "stopped.yaml", small_tree(shards, tmp_path / "stopped", **sections)
    )
    # 80 images is in the middle of a log interval of 32.
    for config, *overrides in ((uninterrupted,), (stopped, "training.total_kimg=0.08"), (stopped,)):
        done = train(config, *overrides)
        assert done.returncode == 0, done.stderr
    assert "resumes at" in done.stderr
    assert "training.total_kimg: 0.08 -> 0.16" in done.stderr
    expected, found = curve(tmp_path / "uninterrupted"), curve(tmp_path / "stopped")
    assert expected == found
    assert len(found) == 5
    a, b = (load_generator(tmp_path / name).state_dict() for name in ("uninterrupted", "stopped"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_finished_run_is_not_trained_again(shards: Path, tmp_path: Path, train: Train) -> None:
    config = write_config(tmp_path / "config.yaml", small_tree(shards, tmp_path / "run"))
    assert train(config).returncode == 0
    before = curve(tmp_path / "run")
    again = train(config)
    assert again.returncode == 0
    assert "160 of 160" in again.stderr
    assert curve(tmp_path / "run") == before


def test_gantrain_sample_draws_a_grid(shards: Path, tmp_path: Path, train: Train) -> None:
    run = tmp_path / "run"
    assert train(write_config(tmp_path / "c.yaml", small_tree(shards, run))).returncode == 0
    command = [str(Path(sys.executable).with_name("gantrain")), "sample", str(run), "--n", "6"]
    for seed in ("0", "0", "1"):
        out = tmp_path / f"seed{seed}.png"
        copy = tmp_path / f"first{seed}.png"
        if out.exists():
            shutil.copy(out, copy)
        subprocess.run([*command, "--seed", seed, "--out", str(out)], check=True)
    assert Image.open(tmp_path / "seed0.png").size == (3 * 34 - 2, 2 * 34 - 2)
    assert (tmp_path / "seed0.png").read_bytes() == (tmp_path / "first0.png").read_bytes()
    assert (tmp_path / "seed0.png").read_bytes() != (tmp_path / "seed1.png").read_bytes()
