import pytest

from gantrain.common.text import counted


@pytest.mark.parametrize(
    ("count", "nouns", "text"),
    [
        (0, ("run",), "0 runs"),
        (1, ("run",), "1 run"),
        (2, ("queued job",), "2 queued jobs"),
        (1, ("class", "classes"), "1 class"),
        (12345, ("class", "classes"), "12,345 classes"),
    ],
)
def test_a_noun_agrees_with_its_number(count: int, nouns: tuple[str, ...], text: str) -> None:
    assert counted(count, *nouns) == text
