"""What pytest gets from an installed Bucketline: the fixtures of a running stack, and the conformance suite's options.

Every run of pytest beside an installed Bucketline loads this. So it imports nothing but pytest, and no package whose
name an application may have, too (`backends`). The options are here because pytest reads the conftest of a package
named by `--pyargs` too late for options.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from bucketline.client import Client
    from bucketline.testing.stack import RunningStack


@pytest.fixture(scope="session")
def bucketline_destinations() -> Sequence[str]:
    """The names of the stack's destinations, the first of which is the default. Define it anew in your conftest."""
    return ("media",)


@pytest.fixture(scope="session")
def bucketline_settings() -> Mapping[str, str]:
    """More `BUCKETLINE_…` variables for the stack. Define it anew in your conftest."""
    return {}


@pytest.fixture(scope="session")
def bucketline_stack(
    bucketline_destinations: Sequence[str], bucketline_settings: Mapping[str, str]
) -> Iterator[RunningStack]:
    """A running Bucketline: Valkey, API and worker as processes, on a free port, with everything in one directory."""
    from bucketline.testing.stack import running_stack

    with running_stack(bucketline_destinations, bucketline_settings) as stack:
        yield stack


@pytest.fixture
def bucketline_client(bucketline_stack: RunningStack) -> Iterator[Client]:
    """A client of the stack. After the test, jobs are ended and destinations emptied for the next one."""
    with bucketline_stack.client() as client:
        yield client
    bucketline_stack.clear()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("bucketline", "conformance of Bucketline's storage backends")
    group.addoption(
        "--destination",
        action="append",
        default=[],
        metavar="NAME",
        help="destination in plugins.toml to run backends.conformance against; may be given several times",
    )
    group.addoption(
        "--denied",
        metavar="NAME",
        help="a destination that is the same but for credentials that are refused "
        "(default: one made from the secrets of --destination)",
    )
    group.addoption("--config", default="plugins.toml", metavar="FILE", help="the plugins.toml (default: %(default)s)")
