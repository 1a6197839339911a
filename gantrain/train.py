"""Train a GAN: `accelerate launch gantrain/train.py --config configs/dcgan.yaml [key=value …]`.

The training algorithm is in `gantrain/training/loop.py`; this module puts the parts together.
"""

from gantrain.common.stopping import (
    INTERRUPTING,
    PREEMPTING,
    Stopped,
    describe_stop,
    end_on_signals,
    stop_status,
    stops_raise,
)

if __name__ == "__main__":  # the imports take seconds
    end_on_signals("gantrain", *PREEMPTING, *INTERRUPTING, status_of=stop_status)

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import torch

from gantrain.common.access import follow_group_access
from gantrain.common.errors import (
    INTERRUPTED_STATUS,
    DivergedError,
    LostRankError,
    StoppedError,
    UserError,
    os_reason,
)
from gantrain.common.grids import tile
from gantrain.common.logs import configure_logging
from gantrain.common.program import expand_home
from gantrain.common.streams import tolerant_streams
from gantrain.config import Config, load_config
from gantrain.config.quality import choose_ruler, doubts
from gantrain.data.loading.datasets import ImageDataset, scaled
from gantrain.data.loading.opening import open_dataset
from gantrain.inference.export import export_generator
from gantrain.metrics.evaluator import Evaluator
from gantrain.runs.origin import precision_name
from gantrain.runs.overview import read_overview
from gantrain.runs.paths import check_writable
from gantrain.runs.run_lock import run_lock
from gantrain.runs.wandb_environment import check_wandb_settings
from gantrain.training.batch import real_batches
from gantrain.training.best import BestSoFar
from gantrain.training.diagnose import doubts_at_start
from gantrain.training.distributed import (
    check_same_data,
    check_world_size,
    leave_ranks,
    make_accelerator,
    ranks_and_device,
)
from gantrain.training.gan import Gan, Networks
from gantrain.training.held_out import NAME as HELD_OUT
from gantrain.training.held_out import open_held_out
from gantrain.training.joint import joint
from gantrain.training.judge import Judge
from gantrain.training.loop import alternating, train
from gantrain.training.memory import out_of_memory
from gantrain.training.meter import Meter
from gantrain.training.nan_guard import RollBack, read_recovery
from gantrain.training.objectives import Objective, chosen_gammas, make_objective, metric_names
from gantrain.training.real_samples import real_samples
from gantrain.training.resume import find_checkpoint, is_complete, roll_back
from gantrain.training.schedule import EndEarly, Schedule
from gantrain.training.services import Services, start_services
from gantrain.training.snapshots import load_snapshot
from gantrain.training.state import TrainingState
from gantrain.training.thread_choice import ThreadChoice
from gantrain.training.thread_trial import Trial

logger = logging.getLogger("gantrain.train")  # __name__ is __main__ when run as a script


def main(arguments: Sequence[str] | None = None) -> int:
    """Train as the command line says; return the exit status (see docs/reliability.md)."""
    parser = argparse.ArgumentParser(prog="gantrain/train.py", description="Train a GAN.")
    parser.add_argument("--config", type=Path, required=True, help="a YAML file, see configs/")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for example seed=1")
    options, others = parser.parse_known_args(
        [expand_home(word) for word in (sys.argv[1:] if arguments is None else arguments)]
    )
    rank = os.environ.get("RANK", "0")
    configure_logging(int(rank))
    with tolerant_streams(), stops_raise("gantrain", *PREEMPTING, *INTERRUPTING):
        return _train(options.config, others + options.overrides, rank)


def _train(path: Path, overrides: Sequence[str], rank: str) -> int:
    try:
        config = load_config(path, overrides)
        follow_group_access(config.output.run_dir)
        try:
            run_training(config)
        except OSError as error:
            raise cannot_write(error, config) from None
        except (MemoryError, RuntimeError) as error:
            if exhausted := out_of_memory(error, config, *ranks_and_device()):
                raise exhausted from None
            raise
    except UserError as error:
        source = "gantrain" if rank == "0" else f"gantrain (rank {rank})"
        sys.stderr.write(f"{source}: {error}\n")  # whole, though other ranks may write as well
        return error.exit_status
    except Stopped as stop:
        what = describe_stop(stop.number)
        print(f"gantrain: {what} before the training went on; start again.", file=sys.stderr)
        return stop_status(stop.number)
    except KeyboardInterrupt:
        print("gantrain: stopped at once; the last checkpoint is intact.", file=sys.stderr)
        return INTERRUPTED_STATUS
    return 0


def run_training(config: Config, networks: Networks | None = None) -> None:
    """Train a run to its end, from its beginning or its newest checkpoint.

    networks: trained in place of those that the config describes; the commands about generators
        cannot open what comes out.

    Raises UserError for whatever the user can fix, StoppedError if the run was asked to stop.
    """
    accelerator = make_accelerator(config)
    check_world_size(config, accelerator)
    dataset = open_dataset(config.data, config.conditioning)
    check_same_data(dataset, accelerator)
    objective = make_objective(config)
    state = TrainingState(config, accelerator.process_index, accelerator.num_processes)
    state.data = dataset.manifest.summary
    meter, evaluator = Meter(accelerator), Evaluator(config, dataset, accelerator)
    held_out = open_held_out(config, dataset)
    losses = metric_names(objective, conditioned=config.conditioning.active)
    names = [*losses, *([HELD_OUT] if held_out else [])]
    ruler = choose_ruler(config.output, [*evaluator.names(), *names])
    with ExitStack() as stack:
        if accelerator.is_main_process:
            stack.enter_context(run_lock(config.output.run_dir))
            check_writable(config.output.run_dir)
            check_wandb_settings(config.wandb)
        snapshot, notices = find_checkpoint(config)
        trial = Trial(config, accelerator, networks, dataset.class_counts())
        threads = ThreadChoice(state, trial)
        choice = threads.start(snapshot.state.progress.cpu_threads if snapshot else None)
        gan = Gan(config, accelerator, networks, dataset.class_counts())
        tracker_step = 0
        if snapshot is not None:
            notices += load_snapshot(snapshot, gan, objective, state, meter)
            tracker_step = snapshot.state.progress.tracker_step
        threads.record()
        gan.scale_learning_rates(read_recovery(config.output.run_dir)[1])
        complete, floor = is_complete(state, accelerator), {}
        if config.metrics.every_kimg and not complete:
            evaluator.prepare(gan.ema.generator)
            floor = evaluator.floor()
            ruler = choose_ruler(config.output, [*evaluator.names(), *names])
        notices += chosen_gammas(config)
        notices += doubts(ruler, config.output)
        services = start_services(
            state, meter, tracker_step, evaluator.measure, accelerator, stack, complete=complete
        )
        best = BestSoFar(config, ruler, accelerator)
        judge = Judge(config, floor, services.tracker, active=state.rank == 0)
        schedule = Schedule(gan, objective, state, services, best, judge, threads, held_out)
        dataset.log.listen(schedule.record_data_fault)
        announce(gan, dataset, state, services, notices)
        schedule.record_threads(choice)
        try:
            if not complete:
                train_and_recover(gan, objective, dataset, state, services, schedule)
        except BaseException as error:
            raise_failure(error, state, services)
        log_ending(state, services)


def train_and_recover(
    gan: Gan,
    objective: Objective,
    dataset: ImageDataset,
    state: TrainingState,
    services: Services,
    schedule: Schedule,
) -> None:
    """Train to the end; roll back to the last checkpoint whenever the training diverges."""
    config = state.config
    iterate = joint if config.training.updates == "joint" else alternating
    while True:
        schedule.start()
        batches = real_batches(dataset, config, state.data_rng, gan.accelerator.device, gan.layout)
        early = ""
        try:
            try:
                with closing(batches) as real:
                    train(gan, objective, real, state, services, iterate, schedule.after_iteration)
            except EndEarly as reason:
                early = str(reason)
            schedule.finish()
            break
        except RollBack as reason:
            roll_back(str(reason), gan, objective, state, services)
    if state.rank == 0:
        export_generator(gan.ema.generator, config, state.images_seen, schedule.best.newest)
    if early:
        logger.info(f"ends early: {early}")
    services.tracker.event("finished", state.images_seen, alert=bool(early), reason=early)
    services.tracker.status("finished", state.images_seen, early)


def announce(
    gan: Gan,
    dataset: ImageDataset,
    state: TrainingState,
    services: Services,
    notices: list[str],
) -> None:
    """Tell the user what starts or resumes, and what is doubtful about it; save a grid of real
    images next to the samples."""
    config = state.config
    rows, columns = config.output.grid
    doubts = []
    if state.rank == 0:
        conditioning = gan.generator.conditioning
        images = real_samples(dataset, conditioning, config)
        doubts = doubts_at_start(config, images)
        services.tracker.real_grid(tile(scaled(images), rows, columns), conditioning.caption(rows))
    for doubt in doubts:
        logger.warning(doubt)
    for notice in notices:
        logger.info(notice)
    verb = "resumes" if state.images_seen else "starts"
    threads = f" with {state.cpu_threads.number} thread(s) each" if state.cpu_threads else ""
    manner = f" {services.steps.manner}" if services.steps.manner else ""
    logger.info(
        f"{config.objective.kind} {verb} at {state.images_seen:,} of {config.total_images:,} "
        f"images: {dataset.description}; {state.world_size} rank(s) on "
        f"{gan.accelerator.device.type}{threads}{manner}, batch {state.batch_size}, "
        f"precision {precision_name(gan.accelerator.mixed_precision)}"
    )
    services.tracker.event(verb, state.images_seen, notices=[*doubts, *notices])


def raise_failure(error: BaseException, state: TrainingState, services: Services) -> None:
    """Record why the run ends early, and raise the error that the user should read."""
    if isinstance(error, StoppedError):
        log_ending(state, services)
        raise error
    if isinstance(error, OSError):
        error = cannot_write(error, state.config)
    elif exhausted := out_of_memory(error, state.config, *ranks_and_device()):
        error = exhausted
    elif isinstance(error, RuntimeError) and state.world_size > 1 and is_lost_rank(error):
        error = LostRankError(
            f"Another rank is gone ({str(error).splitlines()[0]}). Start again: the run resumes "
            "from its last checkpoint."
        )
    reason = str(error) or type(error).__name__
    with suppress(OSError):
        name = "failed"
        if isinstance(error, DivergedError | KeyboardInterrupt):
            name = "diverged" if isinstance(error, DivergedError) else "interrupted"
        services.tracker.event(name, state.images_seen, alert=True, reason=reason)
        services.tracker.status(name, state.images_seen, reason)
    if isinstance(error, DivergedError):
        log_ending(state, services)
    services.tracker.close(failed=True)
    raise error


def is_lost_rank(error: RuntimeError) -> bool:
    """Return whether a collective call failed because another rank is gone."""
    signs = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "gloo", "NCCL")
    return isinstance(error, torch.distributed.DistError) or any(s in str(error) for s in signs)


def cannot_write(error: OSError, config: Config) -> UserError:
    """Describe a full disk, a missing permission and similar errors in one sentence."""
    path = error.filename or config.output.run_dir
    return UserError(
        f"{path}: {os_reason(error)}; free some space, fix the permissions, or choose "
        "another output.run_dir, and start again."
    )


def log_ending(state: TrainingState, services: Services) -> None:
    """Say how the run ended, what is said of it, and what to do next. Only the first rank does."""
    if state.rank == 0:
        with services.failures.contain("last lines"):
            for line in read_overview(state.config.output.run_dir).ending:
                logger.info(line)


if __name__ == "__main__":
    status = main()
    end_on_signals("gantrain", *PREEMPTING, *INTERRUPTING, status_of=lambda _: status)
    if status == 0:  # otherwise another rank may be gone
        leave_ranks()
    sys.exit(status)
