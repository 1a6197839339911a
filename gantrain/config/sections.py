"""The sections of a run's configuration: every key with its range, default and meaning."""

from typing import Annotated, Literal

from pydantic import Field

from gantrain.config.schedules import (
    AdaptiveFraction,
    ScheduledFraction,
    ScheduledWeight,
)
from gantrain.config.section import Section
from gantrain.config.values import (
    MAX_COUNT,
    ClassId,
    Folder,
    Fraction,
    NoMetric,
    OldFeatures,
    OnlyWhole,
    Positive,
    Seconds,
    ShardsLocation,
    Size,
    Threads,
    YamlNo,
    YamlOff,
    YamlSwitch,
)

# The metric that stands for the quality of a run, without the features that it is measured by.
DEFAULT_METRIC = "quality/fid"
SECOND_METRIC = "quality/kid"  # where there are too few images for FID


class DataConfig(Section):
    """Where the images are, which of them to train on, and how they are loaded."""

    shards: ShardsLocation = Field(
        description="folder with the tars and their manifest.json, or the URL to fetch them from: "
        "http(s)://…, s3://… and whatever else fsspec supports, or pipe:COMMAND with {name} in it",
        json_schema_extra={"expected": "a folder or a URL"},
    )
    size: Size = Field(64, description="width and height of the square images, in pixels")
    channels: Annotated[Literal[1, 3], OnlyWhole] = Field(1, description="1 grey, 3 RGB")
    mode: Literal["auto", "cache", "stream"] = Field(
        "auto",
        description="cache: decode once into a file that the ranks of a node share; stream: decode "
        "each batch when it is needed; auto: cache if it fits",
    )
    classes: tuple[ClassId, ...] = Field(
        (), strict=False, description="train on these classes only; empty: all classes"
    )
    limit: int | None = Field(
        None,
        ge=1,
        le=MAX_COUNT,
        description="train on this many images, a uniform random subset; empty: on all",
    )
    held_out: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="fraction of the views held out of training, besides the split 'validation'",
    )
    on_error: Literal["fail", "skip"] = Field(
        "fail", description="a broken image or shard stops the run (fail) or is left out (skip)"
    )
    on_change: Literal["fail", "accept"] = Field(
        "fail",
        description="a run that resumes on a set with other classes than its checkpoint's stops "
        "(fail) or trains on with them (accept)",
    )
    workers: int | None = Field(
        None,
        ge=0,
        le=256,
        description="decoding processes of each rank; empty: the cores divided by the ranks",
    )
    shuffle_buffer: int = Field(
        8192, ge=1, le=MAX_COUNT, description="stream: number of images that are shuffled together"
    )
    cache_dir: Folder | None = Field(
        None, description="local scratch; empty: $SLURM_TMPDIR, else the system's temporary folder"
    )
    device_share: Fraction = Field(
        0.5, description="cache: fraction of a GPU's free memory that the images may use"
    )
    shard_cache_gb: Annotated[float, Field(gt=0, le=1e9)] = Field(
        20.0, description="size limit of the remote shards kept in cache_dir, in GB"
    )
    timeout_s: Seconds = Field(60.0, description="longest wait without progress, in seconds")
    retries: int = Field(5, ge=0, le=100, description="retries of a failed fetch of a remote shard")


class TrainingConfig(Section):
    """Length, batch, devices and precision of the training."""

    total_kimg: Annotated[float, Field(gt=0, le=1e9)] = Field(
        description="length: thousands of real images that D sees, counting repeats"
    )
    batch_size: int = Field(
        128, ge=2, le=1_000_000, description="global batch of one D or G step, over all ranks"
    )
    updates: Literal["alternating", "joint"] = Field(
        "alternating",
        description="alternating: the G step uses the updated D and new latents; joint: both "
        "gradients come from one forward pass, before either network is updated (the book's code), "
        "which is cheaper; with n_critic > 1, the pass of the last D step",
    )
    grad_accum_steps: int = Field(
        1,
        ge=1,
        le=1_000_000,
        description="micro-batches that each rank splits its part of the batch into",
    )
    world_size: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="number of ranks to require; empty: accept what the launcher started",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto: a GPU if there is one"
    )
    cpu_threads: Threads | Literal["auto", "once"] | None = Field(
        "auto",
        description="threads of each rank on a CPU; auto: the number with which D and G steps are "
        "fastest at the start, up to its share of the cores, and again once the speed has halved; "
        "once: at the start only; empty: its share of the cores. Results depend on the number in "
        "their last digits. OMP_NUM_THREADS decides in place of auto, once and empty if you set it",
    )
    mixed_precision: Annotated[Literal["auto", "no", "bf16", "fp16"], YamlNo] = Field(
        "no",
        description="precision of the forward passes; auto: bf16 if it is faster than fp32 on this "
        "hardware, which a CPU is timed for at the start, else no. Losses stay in fp32, and under "
        "fp16 so does all of a gradient penalty",
    )
    channels_last: bool = Field(True, description="memory format of images and weights")
    compile: Annotated[Literal["off", "on"], YamlSwitch] = Field(
        "off", description="torch.compile both networks. Slower on the CPUs it was measured on"
    )
    cuda_graphs: Annotated[Literal["off", "auto"], YamlOff] = Field(
        "auto",
        description="on a GPU, start all kernels of a step by one call; auto: with one "
        "micro-batch, and without `compile`; with several ranks also without `sync_batch_norm`",
    )
    clip_norm: Positive | None = Field(
        None, description="clip the gradient norm of each network to this; empty: do not clip"
    )
    sync_batch_norm: bool = Field(
        False, description="synchronise batch statistics over all ranks (GPUs only)"
    )


class AugmentConfig(Section):
    """Augmentation of the images that the discriminator sees."""

    flip: ScheduledFraction = Field(
        0.0, description="probability of mirroring a real image left to right"
    )
    shift: int = Field(0, ge=0, le=32, description="largest random shift of real images, in pixels")
    diffaugment: tuple[Literal["translation", "cutout", "brightness"], ...] = Field(
        (),
        strict=False,
        description="applied to real and fake images alike (Zhao et al. 2020); for small data sets",
    )
    diffaugment_probability: AdaptiveFraction = Field(
        1.0,
        description="probability that an image gets an augmentation of `diffaugment`, for each of "
        "them independently; ada: adapted to D's overfitting (Karras et al. 2020)",
    )
    ada_target: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.6,
        description="ada: the mean sign of D's scores of real images, r, above which the "
        "probability rises; with rpgan, of their differences to those of generated images",
    )
    ada_kimg: Annotated[float, Field(gt=0, le=1e9)] = Field(
        500.0, description="ada: kimg in which the probability could rise from 0 to 1"
    )
    ada_every: int = Field(
        4, ge=1, le=MAX_COUNT, description="ada: batches of D between two moves of the probability"
    )


class EmaConfig(Section):
    """Exponential moving average of the generator's weights."""

    half_life_kimg: ScheduledWeight = Field(
        10.0, description="half-life of the average in kimg; 0: use the current weights"
    )
    rampup: Positive | None = Field(
        0.05, description="the half-life is at most this fraction of the images seen so far"
    )


class OutputConfig(Section):
    """What a run writes to its directory, and how often."""

    run_dir: Folder = Field(
        description="directory of the run, which gets everything that the run writes"
    )
    resume: Literal["auto", "never", "must"] = Field(
        "auto",
        description="resume from the newest checkpoint in run_dir: if there is one (auto), never, "
        "or fail without one (must)",
    )
    log_every_kimg: Positive = Field(1.0, description="kimg between two lines of metrics")
    sample_every_kimg: Positive = Field(10.0, description="kimg between two grids of samples")
    checkpoint_every_kimg: Positive = Field(
        50.0, description="kimg between two checkpoints; the end of the run saves one too"
    )
    keep_checkpoints: int = Field(
        2, ge=1, le=MAX_COUNT, description="number of newest checkpoints to keep"
    )
    keep_every_kimg: Positive | None = Field(
        None, description="also keep the first checkpoint after each multiple of this; empty: none"
    )
    keep_best: Annotated[str | None, NoMetric] = Field(
        DEFAULT_METRIC,
        description="also keep the checkpoint whose EMA generator has the best value of this "
        "metric, and export it as generator-best.safetensors; quality/fid: by the features that "
        "the run measures with; null: none",
    )
    keep_best_is: Literal["lowest", "highest"] | None = Field(
        None,
        description="which value of keep_best is the best; needed only for metrics whose best "
        "value does not follow from their name, such as loss/wasserstein",
    )
    grid: tuple[Annotated[int, Field(ge=1, le=32)], Annotated[int, Field(ge=1, le=32)]] = Field(
        (8, 8), strict=False, description="rows and columns of the sample grids"
    )


class GuardConfig(Section):
    """Non-finite gradients, lost quality and hangs.

    A step with non-finite gradients is always skipped.
    """

    bad_steps: int = Field(
        20, ge=1, le=MAX_COUNT, description="skipped steps in a row before a roll-back"
    )
    rollbacks: int = Field(
        3, ge=0, le=MAX_COUNT, description="roll-backs to the last checkpoint before the run fails"
    )
    learning_rate_factor: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="factor on both learning rates at each roll-back"
    )
    stop_after_worse_kimg: Positive | None = Field(
        None,
        description="end the run once its quality has been 1.5 times worse than its best for this "
        "many kimg, in at least two measurements; empty: never",
    )
    hang_seconds: Annotated[float, Field(ge=0, le=1e7)] = Field(
        900, description="seconds without progress before the job is ended; 0: never"
    )


class MetricsConfig(Section):
    """Quality metrics of the EMA generator, measured during training; see docs/health.md."""

    every_kimg: Annotated[float, Field(ge=0)] = Field(
        50.0,
        description="kimg between two measurements, each at the next line of metrics; 0: never",
    )
    samples: int = Field(
        1000, ge=16, le=50_000, description="number of generated images to measure"
    )
    features: Annotated[
        Literal["auto", "lite0", "artefacts", "classifier", "random", "inception"], OldFeatures
    ] = Field(
        "auto",
        description="features to compare images by; lite0: EfficientNet-Lite0's, trained on "
        "ImageNet; artefacts: those of a small network that is taught to see damage to the data "
        "set's images; classifier: those of one trained on the data set's own classes; random: an "
        "untrained network's; inception: torch-fidelity's; auto: lite0 if it is installed, else "
        "artefacts, or random if the images are streamed",
    )


class HealthConfig(Section):
    """Diagnosis of training problems and automatic remedies; see docs/health.md."""

    remedy: Annotated[Literal["off", "advise", "auto"], YamlOff] = Field(
        "advise",
        description="off: diagnose only; advise: also suggest changes; auto: adjust learning "
        "rates, label noise and dropout within bounds",
    )


class WandbConfig(Section):
    """Weights & Biases."""

    mode: Literal["online", "offline", "disabled"] = Field(
        "disabled",
        description="online: log to W&B while the run trains; offline: to files that `wandb sync` "
        "uploads later; disabled: only to the run directory",
    )
    project: str = Field("gantrain", description="project that the run belongs to")
    entity: str | None = Field(
        None, description="user or team that the project belongs to; empty: the login's own"
    )
    group: str | None = Field(None, description="group under which W&B shows several runs")
    name: str | None = Field(
        None, description="name of the run in W&B; empty: that of the run directory"
    )
    tags: tuple[str, ...] = Field((), strict=False, description="labels to find the run by")
    connect_seconds: Seconds = Field(
        30, description="seconds to wait for W&B before the run continues offline"
    )
