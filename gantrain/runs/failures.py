"""What fails beside the training is recorded, and the training continues."""

import logging
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gantrain.common.errors import UserError, describe
from gantrain.runs.paths import EVENTS
from gantrain.runs.records import LineFile, event_record

logger = logging.getLogger(__name__)


class Failures:
    """Contains the failures of the services of one rank: metrics, samples, records, W&B, display.

    Each service that fails is a warning and an event `service_failed`, once for each reason.

    images_seen: returns the position of the run, for the events.
    counts: failures so far of each service.
    """

    def __init__(self, run_dir: Path, rank: int, images_seen: Callable[[], int]) -> None:
        self.events = LineFile(run_dir / EVENTS)
        self.counts: Counter[str] = Counter()
        self._rank = rank
        self._images_seen = images_seen
        self._recorded: set[tuple[str, str]] = set()

    @contextmanager
    def contain(self, service: str, errors: type[Exception] = Exception) -> Iterator[None]:
        """Record an error of the block instead of raising it; what follows the error is skipped.

        errors: what to contain. A collective call may contain only what all ranks raise alike.
        """
        try:
            yield
        except errors as error:
            self.record(service, error)

    def record(self, service: str, error: Exception) -> None:
        """Record that a service failed."""
        self.counts[service] += 1
        reason = describe(error)
        kind = reason if isinstance(error, OSError | UserError) else type(error).__name__
        if (service, kind) in self._recorded:
            return
        self._recorded.add((service, kind))
        logger.warning(f"{service} failed, and the training continues: {reason}")
        details: dict[str, object] = {"service": service, "reason": reason}
        origin = error.__cause__ or error
        if not isinstance(origin, OSError | UserError):  # to find the bug takes more
            details["traceback"] = "".join(traceback.format_exception(origin))
        if self._rank:
            details["rank"] = self._rank
        with suppress(OSError):  # a full disk; written once there is room
            self.events.append(event_record("service_failed", self._images_seen(), **details))
