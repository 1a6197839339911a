"""Command lines that are written to files that others read."""

import shlex
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gantrain.common.command_line import as_typed, mask_secrets

WORDS = st.text(string.ascii_letters + string.digits, min_size=12, max_size=40)


@given(secret=WORDS, name=st.sampled_from(["WANDB_API_KEY", "HF_TOKEN", "MY_PASSWORD", "S3_KEY"]))
def test_a_secret_of_the_environment_appears_in_no_word(secret: str, name: str) -> None:
    words = ["train", secret, f"x={secret}", f"pre{secret}post", f"https://host/{secret}?a=1"]
    masked = mask_secrets(words, {name: secret, "HOME": "/home/me"})
    assert not [word for word in masked if secret in word]
    assert masked[0] == "train"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--api-key", "abc", "seed=1"], ["--api-key", "***", "seed=1"]),
        (["--token=abc", "wandb.api_key=abc"], ["--token=***", "wandb.api_key=***"]),
        (["WANDB_API_KEY=abc", "python"], ["WANDB_API_KEY=***", "python"]),
        (["data.shards=https://me:pw@host/x"], ["data.shards=https://***@host/x"]),
        (["https://s3/x?X-Amz-Signature=ab1&v=2"], ["https://s3/x?X-Amz-Signature=***&v=2"]),
        (["e" * 40], ["***"]),
        (["wandb_v1_" + "x" * 20], ["***"]),
    ],
)
def test_what_looks_like_a_secret_is_masked(words: list[str], expected: list[str]) -> None:
    assert mask_secrets(words, {}) == expected


def test_the_words_of_this_projects_commands_stay_as_they_are() -> None:
    words = [
        *("/opt/bin/python3", "/opt/bin/gantrain", "train", "configs/dcgan.yaml"),
        *("output.run_dir=runs/a b", "conditioning.kind=projection", "seed=1", "--ranks", "2"),
    ]
    assert mask_secrets(words, {"OMP_NUM_THREADS": "1", "KEY": "1", "GREETING_TOKEN": "2"}) == words
    assert as_typed(words) == shlex.join(["gantrain", *words[2:]])
    assert as_typed(["/opt/bin/python3", "-m", "gantrain.train"]) == "python -m gantrain.train"
    assert as_typed(["/opt/bin/python3", "x/train.py", "a b"]) == "python x/train.py 'a b'"
    assert as_typed(["python3", "train.py", "seed=1"]) == "python train.py seed=1"
