"""Saves a view of a W&B project: charts grouped by what they tell, over images seen.

    python -m gantrain.cli.workspace ENTITY PROJECT

Needs the package wandb-workspaces and an account; a run needs neither. The groups are those of
the metrics' names, so that W&B's own default view has them too.
"""

import argparse
import importlib
import sys
from dataclasses import dataclass
from typing import Any

from gantrain.common.errors import UserError

X_AXIS = "images_seen"


@dataclass(frozen=True)
class Chart:
    """One chart: its title and the metrics in it, by name or by a regular expression."""

    title: str
    metrics: tuple[str, ...] = ()
    pattern: str = ""
    log: bool = False


SECTIONS: dict[str, tuple[Chart, ...]] = {
    "samples": (),
    "loss": (
        Chart("D and G", ("loss/discriminator", "loss/generator")),
        Chart("Wasserstein estimate and penalty", ("loss/wasserstein", "loss/penalty")),
    ),
    "quality": (
        Chart("FID", pattern="quality/fid_.*"),
        Chart("KID", pattern="quality/kid_.*"),
        Chart("parts that are made", ("quality/parts_made", "quality/parts_covered")),
        Chart("copies of training images", ("quality/memorisation",)),
    ),
    "health": (
        Chart("diagnosis", ("health/diagnosis",)),
        Chart("D's accuracy", ("health/d_accuracy_real", "health/d_accuracy_fake")),
        Chart("gradient norms", ("health/d_grad_norm", "health/g_grad_norm"), log=True),
        Chart("spread of images", ("health/fake_spread", "health/real_spread")),
    ),
    "speed": (Chart("images a second", ("speed/images_per_second",)),),
}
_SAMPLES = ("samples/fake", "samples/real")


def build_workspace(entity: str, project: str) -> Any:
    """The view, not saved yet. Raises UserError where wandb-workspaces is missing."""
    try:
        # An optional package that asks for a key only when it saves.
        ws: Any = importlib.import_module("wandb_workspaces.workspaces")
        wr: Any = importlib.import_module("wandb_workspaces.reports.v2")
    except ImportError:
        raise UserError(
            "wandb-workspaces is not installed; install it with: pip install wandb-workspaces"
        ) from None
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
    chosen = {"metric_regex": chart.pattern} if chart.pattern else {"y": list(chart.metrics)}
    return wr.LinePlot(title=chart.title, x=X_AXIS, log_y=chart.log, **chosen)


def main() -> int:
    """Save the view; gives the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("entity", help="a W&B user or team")
    parser.add_argument("project", help="as wandb.project of the runs")
    wanted = parser.parse_args()
    try:
        view = build_workspace(wanted.entity, wanted.project)
        view.save()
        print(view.url)
    except UserError as error:
        print(f"workspace: {error}", file=sys.stderr)
        return error.exit_status
    except Exception as error:  # whatever W&B raises: no key, no network, no such project
        print(f"workspace: W&B refuses ({error}); see `wandb login`.", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
