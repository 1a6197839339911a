"""Which settings ADA goes with, and what is said of the others."""

from pathlib import Path
from typing import Any

import pytest

from gantrain.common.errors import UserError
from gantrain.common.yaml_core import load_yaml
from gantrain.config import Config, dump_config, parse_config
from tests.conftest import RPGAN, SNGAN, WGAN_GP, small_tree

ADA: dict[str, Any] = {"diffaugment": ["cutout"], "diffaugment_probability": "ada"}


def parse(augment: dict[str, Any], **sections: dict[str, Any]) -> Config:
    return parse_config(small_tree(Path("s"), Path("r"), augment=augment, **sections), "x.yaml")


@pytest.mark.parametrize("sections", [{}, RPGAN, SNGAN], ids=["dcgan", "rpgan", "hinge"])
def test_ada_has_the_papers_settings_and_is_stored(sections: dict[str, dict[str, Any]]) -> None:
    config = parse(ADA, **sections)
    augment = config.augment
    assert (augment.ada_target, augment.ada_kimg, augment.ada_every) == (0.6, 500, 4)
    tree = load_yaml(dump_config(config))
    assert isinstance(tree, dict)
    assert parse_config(tree, "x.yaml") == config


@pytest.mark.parametrize(
    ("augment", "sections", "message"),
    [
        (ADA, WGAN_GP, r"diffaugment_probability: 'ada' goes by the sign .* critic \(wgan-gp\)"),
        (ADA | {"diffaugment": []}, {}, "diffaugment_probability: 'ada' needs augmentations"),
        (ADA | {"diffaugment_probability": "adda"}, {}, "'adda' found; .* did you mean ada"),
        (ADA | {"diffaugment_probability": 2}, {}, "2 found; .* or ada$"),
        (ADA | {"ada_target": 1}, {}, "ada_target: 1 found; .* less than 1"),
        (ADA | {"ada_kimg": 0}, {}, "ada_kimg: 0 found; .* greater than 0"),
    ],
)
def test_what_ada_cannot_work_with_is_one_error(
    augment: dict[str, Any], sections: dict[str, dict[str, Any]], message: str
) -> None:
    with pytest.raises(UserError, match=rf"augment\..*{message}"):
        parse(augment, **sections)


@pytest.mark.parametrize("probability", [0.5, {"from": 0, "to": 1}])
@pytest.mark.parametrize("setting", [{"ada_target": 0.5}, {"ada_kimg": 100}, {"ada_every": 8}])
def test_ada_is_refused_beside_a_number_or_a_schedule(
    probability: object, setting: dict[str, Any]
) -> None:
    (name,) = setting
    message = rf"augment\.{name}: belongs to .* choose ada, or remove {name}"
    with pytest.raises(UserError, match=message):
        parse({"diffaugment": ["cutout"], "diffaugment_probability": probability, **setting})
