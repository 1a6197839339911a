"""The record of roll-backs."""

from pathlib import Path

import pytest

from gantrain.common.errors import UserError
from gantrain.training.nan_guard import read_recovery, write_recovery


@pytest.mark.parametrize(
    "content", ["{}", "[]", '{"rollbacks": null, "learning_rate_scale": 1}', '{"rollbacks": 1e400}']
)
def test_a_damaged_record_of_roll_backs_is_one_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "recovery.json").write_text(content)
    with pytest.raises(UserError, match=r"recovery\.json: "):
        read_recovery(tmp_path)


def test_the_record_of_roll_backs_is_read_back(tmp_path: Path) -> None:
    assert read_recovery(tmp_path) == (0, 1.0)
    write_recovery(tmp_path, 2, 0.25)
    assert read_recovery(tmp_path) == (2, 0.25)
