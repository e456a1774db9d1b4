"""The options of the commands that set things up: `config`, `init` and `completion`."""

import argparse

CONFIG = "where things go (default: BUCKETLINE_CONFIG, or ./plugins.toml)"
DATA = "directory for spool/, valkey/ and log/ (default: var)"
JSON = "JSON on stdout, nothing else"


def add_config(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Shows every setting and every destination as they are in force, and where each value came from: the default, "
        "the environment, an option of this command, or a file. Secrets are masked."
    )
    parser.add_argument("--json", action="store_true", help=JSON)
    parser.add_argument("--data", metavar="DIR", help=DATA)
    parser.add_argument("--config", metavar="FILE", help=CONFIG)
