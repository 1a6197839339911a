"""The sections of a configuration: every key with its range, its default and what it means."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Slope = Annotated[float, Field(ge=0, lt=1)]
Norm = Literal["batch", "instance", "layer", "none"]
Init = Literal["normal", "glorot"]
Size = Literal[32, 64, 128, 256]


# YAML 1.1 takes a bare `no` or `off` for false, and `on` for true.
_YamlNo = BeforeValidator(lambda value: "no" if value is False else value)
_YamlSwitch = BeforeValidator(
    lambda value: "off" if value is False else "on" if value is True else value
)
_YamlOff = BeforeValidator(lambda value: "off" if value is False else value)


def _as_place(value: object) -> object:
    if not isinstance(value, str | Path):
        raise ValueError(f"data.shards: {value!r} found; expected a folder or a URL")
    # Path would take one of the two slashes of a URL.
    remote = re.match(r"pipe:|[A-Za-z][A-Za-z0-9+.-]*://", str(value))
    return value if remote else Path(value)


ShardsPlace = Annotated[Path | str, BeforeValidator(_as_place)]
# YAML reads 3001 as a number.
PartId = Annotated[str, BeforeValidator(lambda v: str(v) if type(v) is int else v)]


class Section(BaseModel):
    """A part of the tree: read-only, and no key that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataConfig(Section):
    """Where the images are, which of them train, and how they reach the networks."""

    shards: ShardsPlace = Field(
        description="folder that holds the tars and their manifest.json, or where to fetch them: "
        "http(s)://…, s3://… and others that fsspec knows, or pipe:COMMAND with {name} in it"
    )
    size: Size = Field(64, description="pixels a side; the images are square")
    channels: Literal[1, 3] = Field(1, description="1 grey, 3 RGB")
    mode: Literal["auto", "cache", "stream"] = Field(
        "auto",
        description="cache: decode once into a file that a node's ranks share; stream: decode "
        "what each batch needs; auto: cache where it fits",
    )
    parts: tuple[PartId, ...] = Field((), description="train on these alone; empty takes all")
    limit: int | None = Field(None, ge=1, description="train on this many, drawn evenly")
    held_out: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="share of the views kept from training, besides the split 'validation'"
    )
    on_error: Literal["fail", "skip"] = Field(
        "fail", description="what a broken image or shard does: stop the run, or be left out"
    )
    workers: int | None = Field(
        None, ge=0, le=256, description="processes a rank decodes with; empty: its share of cores"
    )
    shuffle_buffer: int = Field(
        8192, ge=1, description="stream: images that are mixed with one another"
    )
    cache_dir: Path | None = Field(
        None, description="local scratch; empty: $SLURM_TMPDIR, else the system's temporary folder"
    )
    device_share: Share = Field(
        0.5, description="cache: share of a GPU's free memory that the images may take"
    )
    shard_cache_gb: Positive = Field(20.0, description="remote shards kept in cache_dir, in GB")
    timeout_s: Positive = Field(60.0, description="longest wait without progress, in seconds")
    retries: int = Field(5, ge=0, le=100, description="further tries to fetch a remote shard")


class NetworkConfig(Section):
    """What both networks have. Slope 0.2 and N(0, 0.02) are the DCGAN paper's."""

    width: int = Field(64, ge=1, le=1024, description="channels at the full image's end")
    kernel: int = Field(4, ge=2, le=9, description="pixels a side, except the 4x4 to and from 1x1")
    norm: Norm = Field("batch", description="normalisation after each inner convolution")
    norm_epsilon: Positive = Field(1e-5, description="added to the variance; Keras has 1e-3")
    norm_momentum: Annotated[float, Field(gt=0, le=1)] = Field(
        0.1, description="weight of the newest batch in the running statistics"
    )
    slope: Slope | tuple[Slope, ...] = Field(
        0.2, description="LeakyReLU's slope below 0; 0 is ReLU; or one slope a layer"
    )
    bias: bool = Field(False, description="biases in the convolutions that are normalised")
    init: Init = Field("normal", description="normal: N(0, 0.02); glorot: Keras's default")
    learning_rate: Positive = Field(2e-4, description="of Adam")
    betas: tuple[Beta, Beta] = Field((0.5, 0.999), description="of Adam")
    adam_epsilon: Positive = Field(1e-8, description="of Adam; Keras has 1e-7")


class GeneratorConfig(NetworkConfig):
    """Latent vector to image."""

    latent_size: int = Field(100, ge=1, le=4096, description="length of the latent vector")
    upsampling: Literal["transposed", "nearest"] = Field(
        "transposed", description="transposed convolution, or nearest + stride-1 convolution"
    )
    output_bias: bool = Field(False, description="a bias in the last convolution")


class DiscriminatorConfig(NetworkConfig):
    """Image to logit (DCGAN) or score (WGAN-GP's critic)."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="share of activations set to 0 after each activation"
    )
    dropout_first: bool = Field(True, description="dropout after the first layer too")
    spectral_norm: bool = Field(False, description="Lipschitz bound on every convolution")


class DcganConfig(Section):
    """Binary cross-entropy on D's logits (Radford et al. 2016; the book's chapter 4)."""

    kind: Literal["dcgan"] = "dcgan"
    n_critic: int = Field(1, ge=1, le=100, description="D steps to one G step")
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        0.0, description="D's target for real images is 1 minus this (one-sided)"
    )
    label_noise: Annotated[float, Field(ge=0, le=0.5)] = Field(
        0.0, description="D's targets move by up to this, evenly distributed"
    )
    label_noise_form: Literal["bounded", "book"] = Field(
        "bounded",
        description="bounded: towards the middle, where the loss keeps a minimum; "
        "book: outwards to 1.1 and -0.1, with Keras's clipped probabilities",
    )
    label_flips: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        0.0, description="share of D's targets that are turned round"
    )


class WganGpConfig(Section):
    """Wasserstein loss with gradient penalty (Gulrajani et al. 2017)."""

    kind: Literal["wgan-gp"]
    n_critic: int = Field(5, ge=1, le=100, description="critic steps to one generator step")
    penalty_weight: Annotated[float, Field(ge=0)] = Field(10.0, description="λ of the paper")
    penalty_mix: Literal["uniform", "normal"] = Field(
        "uniform", description="how ε of the interpolation is drawn; the book's code: normal"
    )
    penalty_every: int = Field(
        1, ge=1, le=64, description="critic steps to one with a penalty, which counts as many times"
    )
    reuse_real_batch: bool = Field(
        False, description="one real batch for all critic steps of an iteration (the book's code)"
    )


Objective = Annotated[DcganConfig | WganGpConfig, Field(discriminator="kind")]


class TrainingConfig(Section):
    """How long, how many at once, on what."""

    total_kimg: Positive = Field(description="thousands of real images that D sees, repeats too")
    batch_size: int = Field(128, ge=2, description="of one D or G step, over all ranks")
    updates: Literal["alternating", "joint"] = Field(
        "alternating",
        description="alternating: G's step against the D just shift, with latents of its own; "
        "joint: both gradients from one pass, before either moves (the book's code), which is less "
        "work; with n_critic, G's comes from the last of D's steps",
    )
    accumulate: int = Field(1, ge=1, description="parts that each rank's share is cut into")
    world_size: int | None = Field(
        None, ge=1, description="ranks that must take part; empty takes what the launcher gives"
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    cpu_threads: int | None = Field(
        None, ge=1, description="of each rank on a CPU; empty shares the cores out"
    )
    mixed_precision: Annotated[Literal["no", "bf16", "fp16"], _YamlNo] = Field(
        "no",
        description="of the networks' passes; losses stay in fp32, and so does all of the "
        "penalty in fp16",
    )
    channels_last: bool = Field(True, description="memory format of images and weights")
    compile: Annotated[Literal["off", "on", "graphs"], _YamlSwitch] = Field(
        "off",
        description="torch.compile of both networks; graphs: as CUDA graphs. Slower on the CPUs "
        "that it was tried on, not tried on GPUs",
    )
    clip_norm: Positive | None = Field(None, description="cut each network's gradient to this norm")
    sync_batch_norm: bool = Field(False, description="batch statistics over all ranks (GPUs)")


class AugmentConfig(Section):
    """What is done to images before the discriminator sees them."""

    flip: Share = Field(0.0, description="share of real images mirrored left to right")
    shift: int = Field(0, ge=0, le=32, description="real images move by up to so many pixels")
    diffaugment: tuple[Literal["translation", "cutout", "brightness"], ...] = Field(
        (), description="on real and fake alike (Zhao et al. 2020); for small sets of images"
    )


class EmaConfig(Section):
    """The generator whose weights are the running mean of those that train."""

    half_life_kimg: Annotated[float, Field(ge=0)] = Field(
        10.0, description="images after which a weight counts half; 0 keeps the newest weights"
    )
    rampup: Positive | None = Field(
        0.05, description="half-life is at most this share of the images seen so far"
    )


class OutputConfig(Section):
    """What a run writes into its directory, and how often."""

    run_dir: Path = Field(description="everything about the run is here")
    resume: Literal["auto", "never", "must"] = Field(
        "auto", description="go on from the run directory's newest checkpoint"
    )
    log_every_kimg: Positive = Field(1.0, description="a line of metrics")
    sample_every_kimg: Positive = Field(10.0, description="a grid of samples")
    checkpoint_every_kimg: Positive = Field(50.0, description="a checkpoint; the end makes one too")
    keep_checkpoints: int = Field(2, ge=1, description="the newest so many stay")
    keep_every_kimg: Positive | None = Field(
        None, description="the first checkpoint after each multiple of this stays too"
    )
    keep_best: str | None = Field(
        None, description="a metric, as in metrics.jsonl; the checkpoint with the best one stays"
    )
    keep_best_is: Literal["lowest", "highest"] = "lowest"
    grid: tuple[Annotated[int, Field(ge=1, le=32)], Annotated[int, Field(ge=1, le=32)]] = Field(
        (8, 8), description="rows and columns of the grids"
    )


class GuardConfig(Section):
    """What happens when gradients are not finite. Such a step is skipped, always."""

    bad_steps: int = Field(20, ge=1, description="skipped in a row, after which to roll back")
    rollbacks: int = Field(3, ge=0, description="to the last checkpoint, before the run gives up")
    learning_rate_factor: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="on both learning rates at each roll-back"
    )
    hang_seconds: Annotated[float, Field(ge=0)] = Field(
        900, description="in which nothing moves, before the job is ended; 0 waits for ever"
    )


class MetricsConfig(Section):
    """How good the EMA generator's images are, measured while it trains; see docs/health.md."""

    every_kimg: Annotated[float, Field(ge=0)] = Field(
        50.0, description="measure at the first log line after each multiple of this; 0: never"
    )
    samples: int = Field(1000, ge=16, le=50_000, description="images that are drawn for it")
    features: Literal["auto", "brick", "random", "inception"] = Field(
        "auto",
        description="what images are compared by; brick: a small classifier of the set's own "
        "parts; random: an untrained network; inception: torch-fidelity's; auto: brick, where "
        "the set has labels",
    )


class HealthConfig(Section):
    """What is told, and done, about a training that goes wrong; see docs/health.md."""

    remedy: Annotated[Literal["off", "advise", "auto"], _YamlOff] = Field(
        "advise",
        description="off: diagnose alone; advise: say what may help; auto: turn the overrides of "
        "D and G within bounds",
    )


class WandbConfig(Section):
    """Weights & Biases."""

    mode: Literal["online", "offline", "disabled"] = "disabled"
    project: str = "gantrain"
    entity: str | None = None
    group: str | None = None
    name: str | None = Field(None, description="empty takes the run directory's name")
    tags: tuple[str, ...] = ()
    connect_seconds: Positive = Field(30, description="to reach W&B before the run goes offline")
