"""What the progress line shows of D: accuracies of one with labels, the score gap of a critic."""

from gantrain.runs.progress import summary
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
