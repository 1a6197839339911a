"""What the progress line shows of D: accuracies of one with labels, the score gap of a critic."""

import io
import re

import pytest
from rich.console import Console

from gantrain.runs import progress
from gantrain.runs.progress import ProgressLine, summary
from gantrain.runs.standing import Standing

ACCURACIES = {"health/d_accuracy_real": 0.003, "health/d_accuracy_fake": 1.0}


def test_a_critic_has_a_score_gap_and_no_accuracies() -> None:
    losses = {"loss/discriminator": -8.0, "loss/generator": 19.0}
    assert summary(losses | ACCURACIES) == "D -8  G 19  acc real 0.003  acc fake 1"
    assert summary(losses | {"loss/wasserstein": 9.0} | ACCURACIES) == "D -8  G 19  score gap 9"


def test_the_line_says_training_and_quality_apart_and_a_problem_in_capitals() -> None:
    fine = Standing("no fault seen", quality="far from the data, improving", evidence="FID 61")
    assert summary({}, fine) == "training: no fault seen  quality: far from the data, improving"
    ill = Standing("diverging", faulty=True, quality="not measured")
    assert summary({}, ill) == "training: DIVERGING  quality: not measured"


LOGGED = {
    "loss/discriminator": 0.676,
    "loss/generator": 0.731,
    "health/d_accuracy_real": 0.53,
    "health/d_accuracy_fake": 0.47,
    "health/d_grad_norm": 3.63,
    "health/g_grad_norm": 4.64,
    "quality/fid_random": 61.0,
}
FINE = Standing("no fault seen", quality="far from the data, improving")


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        (60, "D 0.676"),
        (80, "D 0.676  G 0.731  FID 61"),
        (120, "D 0.676  G 0.731  FID 61  training: no fault seen"),
        (
            300,
            "D 0.676  G 0.731  acc real 0.53  acc fake 0.47  |∇D| 3.63  |∇G| 4.64  FID 61  "
            "training: no fault seen  quality: far from the data, improving",
        ),
    ],
)
def test_a_narrow_terminal_keeps_speed_and_remaining_time(
    columns: int, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    terminal = Console(file=screen, width=columns, force_terminal=True, highlight=False)
    monkeypatch.setattr(progress, "Console", lambda **_: terminal)
    with ProgressLine(400_000, 0, shown=True) as line:
        line.update(12_345, 203.4, LOGGED, FINE)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())
    last = [part for part in re.split(r"[\r\n]+", shown) if "12,345" in part][-1]
    assert len(last) <= columns
    assert re.match(r"12,345/400,000 images [━╸╺ ]*203 images/s ETA [-:\d]+ ", last), last
    assert last.rstrip().endswith(text), last


def test_a_problem_is_the_last_to_go() -> None:
    assert summary(LOGGED, Standing("diverging", faulty=True), 22) == "training: DIVERGING"


@pytest.mark.parametrize(
    ("kimg", "eta"), [(4, "ETA 7 min"), (400, "ETA 11 h"), (64_000, "ETA 74.1 days")]
)
def test_a_log_says_how_long_to_wait_in_words(
    kimg: int, eta: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressLine(1000 * kimg, 0, shown=True) as line:
        line.update(0, 10.0, LOGGED, FINE)
    assert f"10 images/s  {eta}  D " in capsys.readouterr().err
