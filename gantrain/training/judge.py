"""From the measurements of a run to its standing: what is said of training and quality."""

import logging
from collections.abc import Mapping
from typing import Any

from gantrain.config import Config
from gantrain.config.quality import has_quality
from gantrain.health.problems import NO_FAULT, words_for
from gantrain.health.state import HealthState
from gantrain.health.verdict import FLOOR_EVENT, floor_of, judge, recorded_floor
from gantrain.runs.metrics_file import read_metrics
from gantrain.runs.progress import describe_classes
from gantrain.runs.records import read_events
from gantrain.runs.standing import Standing
from gantrain.runs.tracking import Tracker

logger = logging.getLogger(__name__)


class Judge:
    """Keeps the measurements of a run. Only the first rank judges: nothing depends on it.

    floor: what real images score, as `Evaluator.floor` returns it; empty if it is not measured.
    """

    def __init__(
        self, config: Config, floor: Mapping[str, Any], tracker: Tracker, *, active: bool
    ) -> None:
        self._config = config
        self._floor = floor_of(floor)
        self._tracker = tracker
        self._active = active
        self._measured: list[Mapping[str, Any]] = []
        self._said = ""

    def restore(self, images_seen: int, health: HealthState) -> None:
        """Return to the measurements up to `images_seen`; record the floor, once in a run.

        metrics.jsonl must have been rewound.
        """
        if not self._active:
            return
        run_dir = self._config.output.run_dir
        self._measured = [x for x in read_metrics(run_dir) if has_quality(x)]
        if self._floor.scores and recorded_floor(read_events(run_dir)) != self._floor:
            self._tracker.event(
                FLOOR_EVENT, images_seen, scores=self._floor.scores, spread=self._floor.spread
            )
        self._tracker.standing = self.standing(images_seen, {}, health)

    def standing(
        self, images_seen: int, metrics: Mapping[str, float], health: HealthState
    ) -> Standing:
        """Return the standing with a new line of metrics, and log the verdict if it changed."""
        if not self._active:
            return Standing()
        if has_quality(metrics):
            self._measured.append({"images_seen": images_seen, **metrics})
        config = self._config
        verdict = judge(
            self._measured,
            self._floor,
            config.output.keep_best,
            measures=config.metrics.every_kimg > 0,
        )
        if verdict.words != self._said and self._measured:
            logger.info(f"quality: {verdict.sentence}")
            self._said = verdict.words
        faulty = health.diagnosis not in (NO_FAULT, "starting")
        return Standing(
            training=words_for(health.diagnosis),
            faulty=faulty,
            training_evidence=health.evidence if faulty else "",
            quality=verdict.words,
            evidence=verdict.evidence,
            floor=verdict.floor,
            classes=describe_classes(self._measured[-1] if self._measured else {}),
        )
