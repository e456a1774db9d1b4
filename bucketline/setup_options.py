"""The options of the commands that set things up: `config`, `init` and `completion`."""

import argparse

from bucketline.places import FIELDS, KINDS

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


def add_init(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Asks where files shall go, and writes a commented plugins.toml that says so, for this user only. Every answer "
        "can be an option; what is neither given nor asked is the default."
    )
    parser.add_argument("--backend", metavar="KIND", help=f"the kind of place: {', '.join(KINDS)}")
    for field in FIELDS:
        parser.add_argument(f"--{field.option}", metavar=field.metavar, help=field.help)
    for word, metavar in (("backend", "KIND"), *((field.option, field.metavar) for field in FIELDS)):
        of = f"--{word} of a second place, that gets every file too"
        parser.add_argument(f"--also-{word}", metavar=metavar, help=of)
    parser.add_argument("--yes", action="store_true", help="ask nothing: take the defaults for what is not given")
    parser.add_argument("--force", action="store_true", help="write over the file that is there")
    parser.add_argument("--check", action="store_true", help="prove it afterwards, as `bucketline check` does")
    parser.add_argument("--json", action="store_true", help=JSON)
    parser.add_argument("--data", metavar="DIR", help=DATA)
    parser.add_argument(
        "--config", metavar="FILE", help="the file to write (default: BUCKETLINE_CONFIG, or ./plugins.toml)"
    )


def add_completion(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Prints what a shell needs to complete commands, options, their words and files. It needs no Python when it "
        "completes; print it again after an update."
    )
    parser.add_argument("shell", metavar="SHELL", help="bash, zsh or fish")
    parser.add_argument("--json", action="store_true", help=JSON)
