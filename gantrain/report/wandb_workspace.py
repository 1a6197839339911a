"""A W&B workspace with the charts of a project grouped by topic, over images seen.

The sections are the prefixes of the metrics' names, by which W&B's default workspace groups too.
"""

import importlib
from dataclasses import dataclass
from typing import Any

from gantrain.common.errors import UserError
from gantrain.common.extras import missing_packages

X_AXIS = "images_seen"


@dataclass(frozen=True)
class Chart:
    """A chart: its title, and its metrics by name or by regular expression."""

    title: str
    metrics: tuple[str, ...] = ()
    pattern: str = ""
    log: bool = False


SECTIONS: dict[str, tuple[Chart, ...]] = {
    "samples": (),
    "loss": (
        Chart("D and G", ("loss/discriminator", "loss/generator")),
        Chart("score gap of a critic", ("loss/wasserstein", "loss/critic_held_out")),
        Chart("gradient penalty", ("loss/penalty",)),
        Chart("squared gradient of D at real and generated images", ("loss/r1", "loss/r2")),
    ),
    "quality": (
        Chart("FID", pattern="quality/fid_.*"),
        Chart("KID", pattern="quality/kid_.*"),
        Chart("generated classes", ("quality/classes_made", "quality/classes_accuracy")),
        Chart("images of the class asked for", ("quality/class_accuracy",)),
        Chart("diversity within classes", ("quality/class_diversity",)),
        Chart("unique images", ("quality/unique",)),
        Chart("distance to the nearest training image", ("quality/nearest_ratio",)),
        Chart("memorisation", ("quality/memorisation",)),
        Chart("two-sample test", ("quality/c2st",)),
        Chart("distance by a new critic", ("quality/critic_distance",)),
    ),
    "interval": (),
    "health": (
        Chart("diagnosis", ("health/diagnosis",)),
        Chart("accuracy of D", ("health/d_accuracy_real", "health/d_accuracy_fake")),
        Chart("pairs in which D scores the real image higher", ("health/d_pair_accuracy",)),
        Chart("gradient norms", ("health/d_grad_norm", "health/g_grad_norm"), log=True),
        Chart("diversity of images", ("health/fake_spread", "health/real_spread")),
        Chart("almost equal pairs of images", ("health/fake_twins", "health/real_twins")),
        Chart("diversity within classes", ("health/fake_class_spread", "health/real_class_spread")),
        Chart("range of pixels", ("health/fake_range", "health/real_range")),
        Chart("black and white pixels", ("health/fake_saturated", "health/real_saturated")),
        Chart("change of weights", ("health/d_weight_change", "health/g_weight_change"), log=True),
    ),
    "schedule": (
        Chart("learning rates", pattern="schedule/[dg]_learning_rate"),
        Chart("Adam's β₂", pattern="schedule/[dg]_beta2"),
    ),
    "augment": (
        Chart("ADA: probability p of augmentation, overfitting r", ("augment/p", "augment/r")),
    ),
    "speed": (Chart("images per second", ("speed/images_per_second",)),),
}
_SAMPLES = ("samples/fake", "samples/real")


def save_workspace(entity: str, project: str) -> str:
    """Save the workspace of a project and return its URL.

    Raises UserError if wandb-workspaces is missing, or W&B rejects the request.
    """
    workspace = build_workspace(entity, project)
    try:
        workspace.save()
    except Exception as error:  # W&B has no common base class for a missing key, network, project
        raise UserError(f"W&B rejects the workspace ({error}); see `wandb login`.") from None
    return str(workspace.url)


def build_workspace(entity: str, project: str) -> Any:
    """Return the workspace without saving it. Raises UserError if wandb-workspaces is missing."""
    try:
        # Optional packages without type hints. They need an API key only to save.
        ws: Any = importlib.import_module("wandb_workspaces.workspaces")
        wr: Any = importlib.import_module("wandb_workspaces.reports.v2")
    except ImportError:
        raise missing_packages("Workspaces", "wandb_workspaces") from None
    sections = [
        ws.Section(
            name=name,
            panels=[wr.MediaBrowser(media_keys=list(_SAMPLES))]
            if name == "samples"
            else [_panel(wr, chart) for chart in charts],
            is_open=True,
        )
        for name, charts in SECTIONS.items()
    ]
    return ws.Workspace(
        entity=entity,
        project=project,
        name="gantrain",
        sections=sections,
        settings=ws.WorkspaceSettings(x_axis=X_AXIS),
    )


def _panel(wr: Any, chart: Chart) -> Any:
    metrics = {"metric_regex": chart.pattern} if chart.pattern else {"y": list(chart.metrics)}
    return wr.LinePlot(title=chart.title, x=X_AXIS, log_y=chart.log, **metrics)
