"""Health states in checkpoints of version 0.1, whose fields had other names."""

import json
from pathlib import Path
from typing import Any

import pytest

from gantrain.health.overrides import Overrides
from gantrain.health.remedy_state import Adjustment, RemedyState
from gantrain.health.state import HealthState

CHECKPOINTS = Path(__file__).parents[1] / "data" / "v0.1" / "run" / "checkpoints"


def progress(images_seen: int) -> dict[str, Any]:
    path = CHECKPOINTS / f"images-{images_seen:09d}" / "state.json"
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["progress"]
    return content


def test_a_remedy_state_of_version_0_1_keeps_its_adjustment() -> None:
    state = RemedyState.model_validate(progress(4800)["remedies"])
    assert state == RemedyState(
        overrides=Overrides(g_rate=2.0),
        adjustments=[
            Adjustment(
                setting="g_rate",
                before=1.0,
                after=2.0,
                g_steps=250,
                reason="discriminator too strong",
            )
        ],
        adjusted_at=250,
    )


def test_a_health_state_of_version_0_1_keeps_its_lines_and_measurements() -> None:
    state = HealthState.model_validate(progress(4800)["health"])
    assert state.diagnosis == "discriminator too strong"
    assert [line.g_steps for line in state.recent] == list(range(210, 310, 10))
    assert [line.g_steps for line in state.measurements] == [100, 200, 300]
    assert state.max_spread == pytest.approx(0.015673241876302722)
    assert state.min_spread == pytest.approx(0.012579898818263505)


def test_a_diagnosis_of_version_0_2_has_its_name_of_today() -> None:
    content = {"diagnosis": "healthy", "recent": [{"g_steps": 3, "signals": {}}]}
    state = HealthState.model_validate(content)
    assert state.diagnosis == "no fault seen"
    assert state.model_dump(mode="json")["diagnosis"] == "no fault seen"
    assert HealthState.model_validate({"diagnosis": "stalled"}).diagnosis == "stalled"
    with pytest.raises(ValueError, match="diagnosis"):
        HealthState.model_validate({"diagnosis": ["healthy"]})


@pytest.mark.parametrize("images_seen", [2400, 4800])
def test_states_round_trip_under_their_new_names(images_seen: int) -> None:
    content = progress(images_seen)
    remedies = RemedyState.model_validate(content["remedies"])
    health = HealthState.model_validate(content["health"])
    assert set(remedies.model_dump()) == set(RemedyState.model_fields)
    assert RemedyState.model_validate(remedies.model_dump()) == remedies
    assert HealthState.model_validate(health.model_dump()) == health
