"""Messages about values that the models of our own files do not allow."""

import json
import re
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from gantrain.common.expectations import known_keys
from gantrain.common.validation import problems_of
from gantrain.data.shards.manifest import Manifest
from gantrain.runs.checkpoint import State
from launch.cluster import Cluster
from launch.sweepfile import SweepFile
from tests.config.test_values import JARGON, WRONG

SHARD = {"name": "a.tar", "count": 1, "bytes": 1, "sha256": "0" * 64}
PROGRESS = {"images_seen": 1, "g_steps": 1, "logged_at": 1, "tracker_step": 0, "meter": []}
VALID: dict[type[BaseModel], dict[str, Any]] = {
    SweepFile: {"name": "a", "base": "b"},
    Cluster: {"executor": "local"},
    Manifest: {
        "version": 1,
        "source": "x",
        "size": 32,
        "channels": 1,
        "count": 1,
        "shards": [SHARD],
        "classes": {"a": {"name": "a", "count": 1}},
        "splits": {"train": 1, "validation": 0},
    },
    State: {"progress": PROGRESS | {"newest_metrics": {}}, "scaler": {}, "kept": False}
    | {"config": {}},
}


def validate(model: type[BaseModel], tree: dict[str, Any]) -> BaseModel:
    if model in (Manifest, State):
        return model.model_validate_json(json.dumps(tree))
    return model.model_validate(tree)


@pytest.mark.parametrize("model", VALID)
def test_no_message_speaks_the_validator_s_language(model: type[BaseModel]) -> None:
    validate(model, VALID[model])
    messages = 0
    for key in known_keys(model):
        section, _, name = key.partition(".")
        inner = VALID[model].get(section)
        if "." in name or (name and not isinstance(inner, dict)):
            continue
        for value in WRONG:
            changed = {section: {**inner, name: value} if name and inner else value}
            try:
                validate(model, VALID[model] | changed)
            except ValidationError as error:
                message = "; ".join(problems_of(error, model))
                messages += 1
                assert section in message
                words = re.sub(r"'[^']*'", "", message.replace(key, ""))
                # A rule between keys quotes values as Python does.
                words = re.sub(r"\b(None|True|False)\b(?=[\],]* found)", "", words)
                assert not JARGON.search(words.replace("[, None]", "")), message
    assert messages > 50
