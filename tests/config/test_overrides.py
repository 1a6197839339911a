"""Overrides, and keys that do not exist: each message says what to write instead."""

import re
from pathlib import Path

import pytest

from gantrain.common.errors import UserError
from gantrain.common.yaml_core import dump_yaml
from gantrain.config import known_keys, load_config
from gantrain.config.schedules import Schedule
from gantrain.config.suggestions import SYNONYMS
from tests.conftest import small_tree
from tests.launching import Train

TREE = small_tree(Path("shards"), Path("run"))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(dump_yaml(TREE), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("override", "advice"),
    [
        ("lr=1e-4", "write generator.learning_rate or discriminator.learning_rate"),
        ("generator.lr=1e-4", "write generator.learning_rate."),
        ("optimizer.lr=1e-4", "write generator.learning_rate or discriminator.learning_rate"),
        ("bs=64", "write training.batch_size"),
        ("batch_size=64", "write training.batch_size"),
        ("batch-size=64", "write training.batch_size"),
        ("generator.batch_size=64", "write training.batch_size"),
        ("n_epochs=10", "training.total_kimg, in thousands of images: epochs x images"),
        ("nz=100", "write generator.latent_size"),
        ("ngf=64", "write generator.width"),
        ("ndf=64", "write discriminator.width"),
        ("width=64", "write generator.width or discriminator.width"),
        ("image_size=64", "write data.size"),
        ("gpus=2", "write training.world_size"),
        ("amp=true", "write training.mixed_precision"),
        ("beta1=0.5", "write generator.betas or discriminator.betas"),
        ("discriminator.betas1=0.5", "nearest known one is 'discriminator.betas'"),
        ("training.kimg=1", "write training.total_kimg"),
        ("--seed", "write seed=VALUE"),
        ("--seed=1", "write seed=1"),
        ("-seed=1", "write seed=1"),
        ("--training.batch-size=64", "write training.batch_size=64"),
        ("--lr=1e-4", "write generator.learning_rate"),
        ("seed", "write seed=VALUE"),
        ("seed: 1", "write seed=1"),
        ("seed:1", "write seed=1"),
        ("seed=", "leave the key out"),
        ("=1", "no key before '='"),
        ("a..b=1", "a name beside a dot in 'a..b' is missing"),
        ("training.=1", "a name beside a dot in 'training.' is missing"),
        ("other.yaml", "a config file follows --config"),
    ],
)
def test_an_override_that_is_none_is_answered_with_what_to_write(
    config: Path, override: str, advice: str
) -> None:
    with pytest.raises(UserError, match=re.escape(advice)) as caught:
        load_config(config, [override])
    assert repr(override) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_words_of_an_option_are_an_override_too(config: Path, train: Train) -> None:
    for words in (["--seed", "1"], ["seed=1", "--seed", "1"], ["--seed", "1", "seed=1"]):
        done = train(config, *words)
        assert done.returncode == 2
        assert "gantrain: Override '--seed': expected dotted.key=value" in done.stderr
        assert "write seed=VALUE" in done.stderr


def test_customary_names_are_no_keys_and_stand_for_keys() -> None:
    known = set(known_keys())
    assert not known & set(SYNONYMS)
    for keys in SYNONYMS.values():
        for key in keys:
            assert re.split(r"[,:]", key)[0] in known


def test_a_key_of_the_other_objective_is_said_to_belong_to_it(config: Path) -> None:
    belongs = r"'objective\.penalty_weight'.* belongs to objective\.kind wgan-gp, and .* is dcgan"
    with pytest.raises(UserError, match=belongs):
        load_config(config, ["objective.penalty_weight=10"])
    with pytest.raises(UserError, match=r"'objective\.label_flips'.* belongs .*dcgan, .* wgan-gp"):
        load_config(config, ["objective={kind: wgan-gp, label_flips: 0.1}"])
    with pytest.raises(UserError, match=r"'objective\.penalty_mix'.* belongs .*wgan-gp, .* hinge"):
        load_config(config, ["objective={kind: hinge, penalty_mix: normal}"])


def test_an_invalid_value_is_attributed_to_the_override_that_set_it(config: Path) -> None:
    with pytest.raises(UserError, match=r"seed: 'x' found.*\(from the override 'seed=x'\)"):
        load_config(config, ["generator.width=8", "seed=x"])


def test_text_needs_no_quotes(config: Path) -> None:
    words = ["wandb.name=007", "wandb.group=a: b", "wandb.project=true", "output.run_dir=2024"]
    wandb = load_config(config, words).wandb
    assert (wandb.name, wandb.group, wandb.project) == ("007", "a: b", "true")
    assert load_config(config, ["wandb.name="]).wandb.name is None
    assert load_config(config, ["wandb.name='a'"]).wandb.name == "a"


def test_an_override_fills_an_empty_section(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("data: {shards: s}\noutput: {run_dir: r}\ntraining:\naugment:\n")
    config = load_config(path, ["training.total_kimg=1", "augment.flip=0.5"])
    assert (config.training.total_kimg, config.augment.flip) == (1, 0.5)


def test_a_dotted_key_makes_a_schedule_of_a_number(tmp_path: Path, config: Path) -> None:
    key = "generator.learning_rate"
    rate = load_config(config, [f"{key}.to=0", f"{key}.kind=cosine"]).generator.learning_rate
    assert isinstance(rate, Schedule)
    assert (rate.start, rate.end, rate.kind) == (2e-4, 0, "cosine")  # from the default
    written = tmp_path / "written.yaml"
    network = {**TREE["generator"], "learning_rate": 1e-3}
    written.write_text(dump_yaml({**TREE, "generator": network}), encoding="utf-8")
    rate = load_config(written, [f"{key}.to=0"]).generator.learning_rate
    assert isinstance(rate, Schedule)
    assert (rate.start, rate.end, rate.kind) == (1e-3, 0, "linear")
    rate = load_config(written, [f"{key}.to=0", f"{key}.from=1"]).generator.learning_rate
    assert isinstance(rate, Schedule)
    assert rate.start == 1
    assert load_config(written, [f"{key}={{from: 1, to: 0}}", f"{key}=0.5"]).generator == (
        load_config(written, [f"{key}=0.5"]).generator
    )
    betas = load_config(written, ["generator.betas=[0, {from: 0.9, to: 0.99}]"]).generator.betas
    assert isinstance(betas[1], Schedule)


@pytest.mark.parametrize(
    ("override", "advice"),
    [
        ("generator.learning_rate.too=0", "nearest known one is 'generator.learning_rate.to'"),
        ("generator.learning_rate.to=no", "generator.learning_rate.to: 'no' found; expected a num"),
        ("generator.betas.to=0.99", "'generator.betas' is a value, not a section"),
        ("objective.r1_gamma.to=0.1", "objective.r1_gamma.from: missing"),  # auto for rpgan
        ("generator.width.to=8", "'generator.width' is a value, not a section"),
        ("warmup=5", "write generator.learning_rate.warmup_kimg or discriminator.learning_rate.w"),
        ("lr_scheduler=cosine", "write generator.learning_rate.kind or discriminator.learning"),
        ("kind=hinge", "write objective.kind or conditioning.kind."),
        ("class_cond=true", "write conditioning.kind."),
        ("generator.learning_rate.warmup=5", "write generator.learning_rate.warmup_kimg."),
        ("generator.learning_rate={from: 1, kind: cosine}", "cosine needs the value that it ends"),
    ],
)
def test_mistakes_in_keys_of_schedules_are_answered_with_what_to_write(
    config: Path, override: str, advice: str
) -> None:
    with pytest.raises(UserError, match=re.escape(advice)):
        load_config(config, [override])
