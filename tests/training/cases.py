"""Trainings with everything that a step can compute, in small."""

from typing import Any

from tests.conftest import PENALISED, RPGAN, SNGAN, WGAN_GP

Sections = dict[str, dict[str, Any]]
ALL_AUGMENTATIONS = {
    "flip": 0.5,
    "shift": 2,
    "diffaugment": ["translation", "cutout", "brightness"],
}
RESNET: Sections = {
    "generator": {"backbone": "resnet", "width": 4},
    "discriminator": {"backbone": "resnet", "width": 4, "norm": "none", "spectral_norm": True},
}
CASES: dict[str, Sections] = {
    "dcgan with all": {
        "objective": {"label_smoothing": 0.1, "label_noise": 0.05, "label_flips": 0.1},
        "discriminator": {"dropout": 0.3},
        "augment": ALL_AUGMENTATIONS,
    },
    "dcgan, book": {"objective": {"label_noise": 0.1, "label_noise_form": "book"}},
    "wgan-gp": WGAN_GP,
    "wgan-gp, joint, lazy": {
        **WGAN_GP,
        "objective": {"kind": "wgan-gp", "n_critic": 2, "penalty_every": 2},
        "training": {"updates": "joint"},
    },
    "wgan-gp, normal mix, reused batch": {
        **WGAN_GP,
        "objective": {**WGAN_GP["objective"], "penalty_mix": "normal", "reuse_real_batch": True},
    },
    "hinge": SNGAN,
    "hinge, resnet": {"objective": {"kind": "hinge"}, **RESNET},
    "rpgan": RPGAN,
    "r1 and r2": PENALISED,
    "ada": {"augment": {**ALL_AUGMENTATIONS, "diffaugment_probability": "ada", "ada_every": 1}},
    "concat": {"conditioning": {"kind": "concat"}},
    "projection": {
        "conditioning": {"kind": "projection", "fake_classes": "uniform"},
        "discriminator": {"norm": "none"},
    },
    "micro-batches, clipped": {"training": {"grad_accum_steps": 2, "clip_norm": 1.0}},
    "bf16": {"training": {"mixed_precision": "bf16"}},
    "schedules": {
        "generator": {"learning_rate": {"kind": "linear", "from": 1e-3, "to": 0}},
        "augment": {**ALL_AUGMENTATIONS, "flip": {"kind": "linear", "from": 0, "to": 1}},
        "ema": {"rampup": 0.05},
    },
    "remedies": {"health": {"remedy": "auto"}},
}

FALLING = {"from": 1.0, "to": 0.1, "kind": "cosine"}
GRAPHED: dict[str, Sections] = {
    **{
        name: CASES[name]
        for name in (
            "dcgan with all",
            "wgan-gp, joint, lazy",
            "wgan-gp, normal mix, reused batch",
            "hinge, resnet",
            "projection",
            "bf16",
        )
    },
    "rpgan, falling": {
        "objective": {**RPGAN["objective"], "r1_gamma": FALLING, "r2_gamma": FALLING},
        "discriminator": {"norm": "none", "learning_rate": {"from": 1e-3, "to": 1e-4}},
        "augment": {
            **ALL_AUGMENTATIONS,
            "diffaugment_probability": "ada",
            "ada_every": 1,
            "ada_kimg": 0.1,
        },
        "generator": {"norm": "none"},
    },
}
