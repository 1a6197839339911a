"""Values of every key that the schema does not allow, and what the error says."""

import math
import re
from pathlib import Path
from typing import Any

import pytest

from gantrain.common.errors import UserError
from gantrain.common.expectations import quoted
from gantrain.common.records import flatten, unflatten
from gantrain.config import Config, known_keys, parse_config
from tests.conftest import WGAN_GP, small_tree

TREE = small_tree(Path("shards"), Path("run"), discriminator={"norm": "none"})
# A config in which each key exists; the two objectives have different ones.
TREES = {"dcgan": TREE, "wgan-gp": {**TREE, **WGAN_GP}}
ONLY_RESNET = ("generator.blocks", "discriminator.blocks", "discriminator.halving_blocks")
ADA = {"diffaugment": ["cutout"], "diffaugment_probability": "ada"}
WRONG: list[Any] = [
    *(None, True, False, "", "yes", "64", "a b", [], [1], ["x", None], [[1, 2]], {}, {"x": 1}),
    *(-1, 0, 1, 1.0, 1.5, 10**12, 10**400, -1e9, math.nan, math.inf, -math.inf, "\0", {1: 2}),
]
JARGON = re.compile(
    r"[A-Z]\w+Config|Input|valid |instance of|Literal|\btag\b|union|tuple|"
    r"\b(dict|str|int|bool|float)\b|"
    r"_type|_error|required|permitted|pydantic|None\b|True\b|False\b|constrained|function|"
    r"Traceback|ValueError|NoneType|discriminator '"
)
KEYS = sorted(known_keys())
SECTIONS = [name for name in Config.model_fields if name != "seed"]


def with_value(key: str, value: object) -> dict[str, Any]:
    only_penalty = key.startswith(("objective.penalty", "objective.reuse"))
    tree = TREES["wgan-gp" if only_penalty else "dcgan"]
    if "." not in key:
        return {**tree, key: value}
    section, name, *inner = key.split(".")
    if key in ONLY_RESNET:
        network = {k: v for k, v in tree[section].items() if k != "norm"}
        tree = {**tree, section: {**network, "backbone": "resnet"}}
    if key.startswith("augment.ada_"):
        tree = {**tree, "augment": ADA}
    if inner:  # of a schedule
        value = {"from": 0.5, "to": 0.25, inner[0]: value}
    return {**tree, section: {**tree.get(section, {}), name: value}}


@pytest.mark.parametrize("key", KEYS)
def test_a_wrong_value_is_named_with_its_key_and_what_is_expected_in_plain_words(key: str) -> None:
    refused = 0
    for value in WRONG:
        try:
            config = parse_config(with_value(key, value), "x.yaml")
        except UserError as error:
            message, refused = str(error), refused + 1
        else:
            assert_kept(config, key, value)
            continue
        assert message.startswith("x.yaml: ")
        assert key in message, message
        assert "\n" not in message or isinstance(value, list | dict), message
        if isinstance(value, dict) and value and key in SECTIONS:
            assert "unknown key" in message  # it is a section, with keys that it does not have
        elif "." in key and not isinstance(value, list | dict):
            assert quoted(value) in message, message
        assert "expected" in message or "unknown key" in message, message
        without_values = re.sub(r"'[^']*'", "", message.replace(key, ""))
        assert not JARGON.search(without_values), message
    assert refused >= 5


def assert_kept(config: Config, key: str, value: object) -> None:
    """Check that an accepted value is in the config as it was written."""
    if key in SECTIONS:
        return
    kept = flatten(config.model_dump(mode="json"))[key]
    switches = {False: ("no", "off", False), True: ("on", True)}
    if isinstance(value, bool):
        assert (kept in switches[value] and not isinstance(kept, int | float)) or kept is value
    elif key == "data.classes":
        assert [str(each) for each in value] == kept  # type: ignore[attr-defined]
    else:
        assert kept == value
        assert isinstance(value, bool) == isinstance(kept, bool)


@pytest.mark.parametrize(
    ("key", "value", "advice"),
    [
        ("seed", 1.0, "write 1"),
        ("training.batch_size", "64", "write 64 without quotes"),
        ("training.batch_size", 1e3, "write 1000"),
        ("generator.learning_rate", "1e-4", "write 0.0001"),
        ("generator.bias", "yes", "write true"),
        ("generator.bias", "off", "write false"),
        ("generator.bias", 0, "write false"),
        ("wandb.name", 5, 'put it in quotes if it is text: "5"'),
        ("wandb.tags", "gan", "write [gan]"),
        ("data.classes", 3001, "write [3001]"),
        ("objective.kind", "wgan_gp", "did you mean wgan-gp?"),
        ("training.mixed_precision", "BF16", "did you mean bf16?"),
        ("training.mixed_precision", "fp32", "did you mean no?"),
        ("training.device", "gpu", "did you mean cuda?"),
        ("wandb.mode", "none", "did you mean disabled?"),
        ("training.batch_size", None, "leave the key out"),
    ],
)
def test_the_error_says_how_to_write_a_value_that_was_probably_meant(
    key: str, value: object, advice: str
) -> None:
    with pytest.raises(UserError, match=re.escape(advice)):
        parse_config(with_value(key, value), "x.yaml")


@pytest.mark.parametrize("section", SECTIONS)
def test_an_empty_section_has_its_defaults(section: str) -> None:
    tree = {**TREE, section: None}
    required = section in ("data", "training", "output")
    if required:
        with pytest.raises(UserError, match=rf"{section}\.\w+: missing"):
            parse_config(tree, "x.yaml")
    else:
        without = {k: v for k, v in TREE.items() if k != section}
        assert parse_config(tree, "x.yaml") == parse_config(without, "x.yaml")


def test_a_written_config_is_read_back_with_the_same_types() -> None:
    flat = flatten(parse_config(TREE, "x").model_dump(mode="json"))
    again = flatten(parse_config(unflatten(flat), "x").model_dump(mode="json"))
    assert {k: (type(v), v) for k, v in flat.items()} == {k: (type(v), v) for k, v in again.items()}
