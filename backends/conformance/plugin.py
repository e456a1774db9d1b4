"""The command line options of the conformance suite.

They are a pytest plug-in of their own, since pytest reads the conftest of a package named by `--pyargs` too late for
options. It imports nothing but pytest, because every pytest run beside an installed Bucketline loads it.
"""

from __future__ import annotations

import pytest


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
