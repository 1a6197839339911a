"""Run an experiment: `python -m experiments NAME [options]`."""

import importlib
import sys
from collections.abc import Sequence

from gantrain.common.errors import UserError
from gantrain.common.program import report_failure

# The module of each experiment, whose `main` takes the arguments.
MODULES = {
    "baselines classes": "experiments.baselines.classes",
    "baselines conditioning": "experiments.baselines.conditioning",
    "baselines coverage": "experiments.baselines.coverage",
    "baselines digits": "experiments.baselines.digits",
    "baselines fashion": "experiments.baselines.fashion",
    "baselines pairing": "experiments.baselines.pairing",
    "baselines peer": "experiments.baselines.peer",
    "baselines wide": "experiments.baselines.wide",
    "critic report": "experiments.critic.report",
    "critic measure": "experiments.critic.measure",
    "critic train": "experiments.critic.train",
    "remedies train": "experiments.remedies.train",
    "remedies report": "experiments.remedies.report",
    "recipes report": "experiments.recipes.report",
    "recipes texture": "experiments.recipes.texture",
    "recipes": "experiments.recipes.train",
    "hunt report": "experiments.hunt.report",
    "hunt": "experiments.hunt.train",
    "rulers": "experiments.rulers.run",
    "silhouettes": "experiments.silhouettes",
}


def main(words: Sequence[str]) -> None:
    """Call the experiment that the first words name with the other words."""
    for name, module in MODULES.items():
        length = len(name.split())
        if " ".join(words[:length]) == name:
            try:
                importlib.import_module(module).main(words[length:])
            except (UserError, ModuleNotFoundError) as error:
                sys.exit(report_failure("experiments", error))
            return
    names = "".join(f"\n  {name}" for name in MODULES)
    print(f"usage: python -m experiments NAME [options]\n\nNAME is one of:{names}")
    sys.exit(0 if set(words) & {"-h", "--help"} else 2)


if __name__ == "__main__":
    main(sys.argv[1:])
