"""The best measurement of a run so far, the same on all ranks."""

from collections.abc import Mapping

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from gantrain.config import Config
from gantrain.config.quality import Ruler
from gantrain.runs.best import restore_best
from gantrain.runs.generator_file import Measured


class BestSoFar:
    """Compares measurements by the ruler of output.keep_best, if there is one.

    best: the best so far. newest: the newest. Both None before the first.
    """

    def __init__(self, config: Config, ruler: Ruler | None, accelerator: Accelerator) -> None:
        self._run_dir = config.output.run_dir
        self._ruler = ruler
        self._accelerator = accelerator
        self.best: Measured | None = None
        self.newest: Measured | None = None

    def restore(self, images_seen: int) -> None:
        """Return to the best at `images_seen`, where the run starts or resumes.

        metrics.jsonl must have been rewound. A collective call.
        """
        found: list[Measured | None] = [None]
        if self._accelerator.is_main_process:
            found = [restore_best(self._run_dir, self._ruler, images_seen)]
        broadcast_object_list(found)
        (self.best,) = found
        self.newest = None

    def improved_by(self, metrics: Mapping[str, float], images_seen: int) -> Measured | None:
        """Return the new `best` if a line of metrics has a better value, else None.

        metrics: equal on all ranks.
        """
        if self._ruler is None or self._ruler.metric not in metrics:
            return None
        self.newest = Measured(self._ruler.metric, metrics[self._ruler.metric], images_seen)
        rank = self._ruler.rank(self.newest.value)
        if self.best is not None and rank >= self._ruler.rank(self.best.value):
            return None
        self.best = self.newest
        return self.best
