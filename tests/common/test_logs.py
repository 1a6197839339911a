"""Log lines for the user: which ranks print them, and where they go."""

import logging
from collections.abc import Iterator

import pytest

from gantrain.common.logs import UserHandler, configure_logging, redirected_lines

logger = logging.getLogger("gantrain.somewhere")


@pytest.fixture(autouse=True)
def _restore_loggers() -> Iterator[None]:
    projects = [logging.getLogger(name) for name in ("gantrain", "launch")]
    before = [(project, project.level, list(project.handlers)) for project in projects]
    yield
    for project, level, handlers in before:
        project.setLevel(level)
        project.handlers[:] = handlers


def test_rank_0_prints_information_and_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    logger.info("100% [of] it")
    logger.warning("careful")
    logger.debug("hidden")
    assert capsys.readouterr().err == "100% [of] it\ncareful\n"


def test_other_ranks_print_warnings_only_with_their_number(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging(3)
    logger.info("hidden")
    logger.warning("careful")
    assert capsys.readouterr().err == "rank 3: careful\n"


def test_a_second_set_up_replaces_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    configure_logging()
    logger.info("once")
    assert capsys.readouterr().err == "once\n"


def test_lines_are_redirected_while_a_progress_line_is_live(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging()
    lines: list[str] = []
    with redirected_lines(lines.append):
        logger.info("inside")
    logger.info("after")
    assert lines == ["inside"]
    assert capsys.readouterr().err == "after\n"


def test_without_set_up_the_package_leaves_logging_to_the_program() -> None:
    handlers = [h for h in logging.getLogger("gantrain").handlers if isinstance(h, UserHandler)]
    for handler in handlers:
        logging.getLogger("gantrain").removeHandler(handler)
    assert not logging.getLogger("gantrain").handlers
    assert logging.getLogger("gantrain").propagate
