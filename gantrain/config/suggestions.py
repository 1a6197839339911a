"""What to write instead of a key that does not exist."""

import difflib
from collections.abc import Iterable, Mapping
from functools import cache

from gantrain.common.expectations import known_keys
from gantrain.common.validation import nearest
from gantrain.config.backbones import DiscriminatorConfig, GeneratorConfig
from gantrain.config.objectives import ObjectiveConfig
from gantrain.config.schema import DEFAULT_TAG, TAGS, Config
from gantrain.config.section import Section, members_by_tag

_BOTH = ("generator", "discriminator")
_KIMG = "training.total_kimg, in thousands of images"
# Customary names in other trainers, in lower case, and the keys of this one.
SYNONYMS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("lr", "learning_rates", "lrate", "step_size", "optimizer", "optim"),
        tuple(f"{network}.learning_rate" for network in _BOTH),
    ),
    **dict.fromkeys(
        ("warmup", "warmup_steps", "warm_up", "lr_warmup", "lr_rampup_kimg", "warmup_iters"),
        tuple(f"{network}.learning_rate.warmup_kimg" for network in _BOTH),
    ),
    **dict.fromkeys(
        ("scheduler", "lr_scheduler", "schedule", "lr_schedule", "lr_decay", "lr_policy", "anneal"),
        tuple(f"{network}.learning_rate.kind" for network in _BOTH),
    ),
    **dict.fromkeys(("g_lr", "lr_g", "glr", "lrg", "gen_lr"), ("generator.learning_rate",)),
    **dict.fromkeys(
        ("d_lr", "lr_d", "dlr", "lrd", "disc_lr", "critic_lr"), ("discriminator.learning_rate",)
    ),
    **dict.fromkeys(
        ("beta", "beta1", "beta2", "beta_1", "beta_2", "b1", "b2", "adam_betas", "momentum"),
        tuple(f"{network}.betas" for network in _BOTH),
    ),
    **dict.fromkeys(("eps", "epsilon"), tuple(f"{network}.adam_epsilon" for network in _BOTH)),
    **dict.fromkeys(
        ("bs", "batch", "batchsize", "batch_sz", "minibatch", "train_batch_size", "per_gpu_batch"),
        ("training.batch_size",),
    ),
    **dict.fromkeys(
        ("gradient_accumulation_steps", "accumulation_steps", "grad_accum", "accumulate_grad"),
        ("training.grad_accum_steps",),
    ),
    **dict.fromkeys(("kimg", "total_images", "n_images", "duration", "length"), (_KIMG,)),
    **dict.fromkeys(
        ("epochs", "epoch", "n_epochs", "num_epochs", "nepochs", "max_epochs", "niter_epochs"),
        (f"{_KIMG}: epochs x images of the set / 1000",),
    ),
    **dict.fromkeys(
        ("steps", "max_steps", "num_steps", "iterations", "iters", "niter", "n_iter", "max_iter"),
        (f"{_KIMG}: steps x batch size / 1000",),
    ),
    **dict.fromkeys(
        ("nz", "latent", "latent_dim", "z_dim", "zdim", "z_size", "noise_dim", "latent_dims"),
        ("generator.latent_size",),
    ),
    **dict.fromkeys(("ngf", "g_width", "gf", "fmaps_g"), ("generator.width",)),
    **dict.fromkeys(("ndf", "d_width", "df", "fmaps_d"), ("discriminator.width",)),
    **dict.fromkeys(
        ("nf", "features", "filters", "base_channels", "channel_base", "hidden_dim"),
        tuple(f"{network}.width" for network in _BOTH),
    ),
    **dict.fromkeys(
        ("image_size", "img_size", "imsize", "resolution", "res", "imagesize", "crop_size"),
        ("data.size",),
    ),
    **dict.fromkeys(("nc", "image_channels", "img_channels", "in_channels"), ("data.channels",)),
    **dict.fromkeys(
        ("dataset", "dataroot", "data_dir", "data_path", "datadir", "dataset_path", "root", "path"),
        ("data.shards",),
    ),
    **dict.fromkeys(
        ("workers", "num_workers", "n_workers", "nworkers", "loader_workers", "dataloader_workers"),
        ("data.workers",),
    ),
    **dict.fromkeys(
        ("gpus", "gpu", "n_gpus", "ngpu", "num_gpus", "devices", "num_processes", "n_ranks"),
        ("training.world_size, with as many ranks started by `accelerate launch`",),
    ),
    **dict.fromkeys(("cuda", "use_cuda", "accelerator"), ("training.device",)),
    **dict.fromkeys(
        ("precision", "amp", "fp16", "bf16", "half", "use_amp", "autocast", "dtype"),
        ("training.mixed_precision",),
    ),
    **dict.fromkeys(("threads", "num_threads", "n_threads"), ("training.cpu_threads",)),
    **dict.fromkeys(
        ("grad_clip", "clip_grad", "gradient_clip", "gradient_clip_val", "max_grad_norm"),
        ("training.clip_norm",),
    ),
    **dict.fromkeys(
        ("model", "loss", "gan", "gan_type", "gan_mode", "arch", "algorithm"), ("objective.kind",)
    ),
    **dict.fromkeys(
        ("cond", "conditional", "class_cond", "cgan", "num_classes", "n_classes", "use_labels"),
        ("conditioning.kind",),
    ),
    **dict.fromkeys(("critic_iters", "n_dis", "d_steps", "num_critic"), ("objective.n_critic",)),
    **dict.fromkeys(
        ("lambda", "lambda_gp", "gp_weight", "gp_lambda", "gp", "lambda_"),
        ("objective.penalty_weight",),
    ),
    **dict.fromkeys(("gamma", "r1", "r1_weight", "gamma_r1"), ("objective.r1_gamma",)),
    **dict.fromkeys(("r2", "r2_weight", "gamma_r2"), ("objective.r2_gamma",)),
    **dict.fromkeys(("smoothing", "smooth"), ("objective.label_smoothing",)),
    **dict.fromkeys(("ema_decay", "ema_beta", "decay", "ema_kimg"), ("ema.half_life_kimg",)),
    **dict.fromkeys(
        ("out", "outdir", "out_dir", "output_dir", "save_dir", "log_dir", "logdir", "outf"),
        ("output.run_dir",),
    ),
    **dict.fromkeys(("random_seed", "manual_seed", "manualseed", "rng_seed"), ("seed",)),
    **dict.fromkeys(
        ("save_every", "snap", "checkpoint_every", "save_interval", "ckpt_every"),
        ("output.checkpoint_every_kimg",),
    ),
    **dict.fromkeys(("sample_every", "sample_interval"), ("output.sample_every_kimg",)),
    **dict.fromkeys(("log_every", "log_interval", "print_every"), ("output.log_every_kimg",)),
    **dict.fromkeys(("mirror", "hflip", "horizontal_flip", "xflip"), ("augment.flip",)),
    **dict.fromkeys(("wandb_project", "project_name"), ("wandb.project",)),
    **dict.fromkeys(("run_name", "experiment", "exp_name", "wandb_name"), ("wandb.name",)),
    **dict.fromkeys(("resume_from", "checkpoint", "ckpt"), ("output.resume",)),
}


def explain_unknown(key: str, tree: object = None) -> str:
    """Return the sentence for a dotted key that does not exist, without a full stop.

    tree: the config, which says which objective and backbones it has.
    """
    return f"unknown key {key!r}; {suggest_key(key, tree)}"


def suggest_key(key: str, tree: object = None) -> str:
    """Return what to write instead of a dotted key that does not exist: `write seed`, for example.

    tree: the config, for keys that only another objective or backbone has.
    """
    section, _, last = key.rpartition(".")
    if others := [tag for tag, each in _variants(section).items() if last in each.model_fields]:
        chooser = f"{section}.{TAGS[section]}"
        return (
            f"it belongs to {chooser} {' or '.join(others)}, and {chooser} is "
            f"{_chosen(tree, section)}: remove it, or set {chooser} to {others[0]}"
        )
    known = known_keys(Config)
    plain = last.lower().replace("-", "_")
    same_name = _shortest(each for each in known if each.rpartition(".")[2] == plain)
    meant = [*same_name, *SYNONYMS.get(plain, ())]
    in_section = [each for each in meant if each.startswith(f"{section}.")]
    if meant := in_section or meant:
        return f"write {' or '.join(dict.fromkeys(meant))}"
    siblings = [each for each in known if each.startswith(f"{section}.")] if section else known
    close = difflib.get_close_matches(key, siblings, n=1)
    return f"the nearest known one is {close[0] if close else nearest(key, known)!r}"


@cache
def _variants(section: str) -> dict[str, type[Section]]:
    unions = {
        "generator": GeneratorConfig,
        "discriminator": DiscriminatorConfig,
        "objective": ObjectiveConfig,
    }
    return members_by_tag(unions[section], TAGS[section]) if section in unions else {}


def _chosen(tree: object, section: str) -> object:
    values = tree.get(section) if isinstance(tree, Mapping) else None
    return values.get(TAGS[section], DEFAULT_TAG) if isinstance(values, Mapping) else DEFAULT_TAG


def _shortest(keys: Iterable[str]) -> list[str]:
    """Return the keys with the fewest names: rather a key of a section than one of a schedule."""
    found = list(keys)
    fewest = min((key.count(".") for key in found), default=0)
    return [key for key in found if key.count(".") == fewest]
