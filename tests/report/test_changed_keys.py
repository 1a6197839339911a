"""What the page of a run says of its config: the keys that are not at their defaults."""

from pathlib import Path

import pytest

from gantrain.config import dump_config, load_config
from gantrain.report.run_data import _parse_config
from tests.launching import ROOT


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_config_is_compared_with_the_defaults_of_its_kind(path: Path) -> None:
    config = load_config(path)
    notes: list[str] = []
    values, changed = _parse_config(dump_config(config), notes)
    assert notes == []
    assert values["objective.kind"] == config.objective.kind
    for key in ("training.batch_size", "conditioning.kind", "ema.half_life_kimg"):
        section, name = key.split(".")
        field = type(getattr(config, section)).model_fields[name]
        assert (key in changed) == (getattr(getattr(config, section), name) != field.default)
