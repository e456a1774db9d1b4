"""The command line: which words and options there are, and which module does each command's work.

Only argparse and the settings are imported here: `bucketline up` stays in memory as long as the stack runs.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NoReturn

from bucketline import __version__, job_options, setup_options, upkeep_options
from bucketline.exits import CONFIGURATION, FAILED, FINE, INTERRUPTED, USAGE, Failure
from bucketline.interrupts import heard
from bucketline.words import close_stdout, must_take, nearest, refused

# command -> (module, one line of help); each module has `run(arguments) -> exit code`.
COMMANDS = {
    "up": ("bucketline.up", "run everything on this machine: Valkey, API and workers"),
    "api": ("bucketline.serve", "run the API alone"),
    "worker": ("bucketline.serve", "run one worker process alone, or several"),
    "put": ("bucketline.put", "send files, and watch them arrive at their destinations"),
    "copy": ("bucketline.copying", "have objects, URLs and the server's own files carried to destinations"),
    "jobs": ("bucketline.jobs", "list jobs, look at one, cancel, pause, resume, retry, extend or forget it"),
    "init": ("bucketline.init", "write a plugins.toml by asking a few questions"),
    "config": ("bucketline.config", "show the settings and destinations in force, and where each came from"),
    "check": ("bucketline.check", "prove every destination by a real write, read and delete"),
    "keys": ("bucketline.keys", "make, list and revoke API keys"),
    "audit": ("bucketline.audit", "show who submitted, commanded and made keys"),
    "gc": ("bucketline.gc", "remove unfinished uploads at the destinations that no job owns any more"),
    "recover": ("bucketline.recover", "make jobs again from the spool that Redis has lost"),
    "completion": ("bucketline.completion", "print what bash, zsh or fish needs to complete commands and options"),
}

EPILOG = """\
Exit codes: 0 fine, 1 a job or check failed, 2 usage, 69 server unreachable, 78 configuration.
The environment (BUCKETLINE_REDIS_URL, BUCKETLINE_URL, …): `bucketline config` shows it."""


class Parser(argparse.ArgumentParser):
    """argparse with one-line errors."""

    def error(self, message: str) -> NoReturn:
        raise Failure(USAGE, message, f"`{self.prog} --help` shows what there is")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. A user's mistake is one or two lines on stderr, never a traceback."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        with heard():
            arguments = parse(words)
            module = import_module(COMMANDS[arguments.command][0])
            code = int(module.run(arguments))
            sys.stdout.flush()
        return code
    except Failure as failure:
        say(*failure.lines)
        return failure.code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # `bucketline jobs | head`: the reader has seen enough.
        close_stdout()
        return FINE
    except UnicodeEncodeError as error:
        say(f"{error.object!r} is not UTF-8", "give a name or a setting that is; `--name` renames a file")
        return USAGE
    except OSError as error:
        say(*refused(error))
        return CONFIGURATION if error.filename else FAILED


def say(*lines: str) -> None:
    """Tell the user, on stderr: the first line with our name, the others below it."""
    for number, line in enumerate(lines):
        print(f"bucketline: {line}" if number == 0 else f"  {line}", file=sys.stderr, flush=True)


def settings_for(arguments: argparse.Namespace, **overrides: Any) -> Any:
    """Settings from the environment and the options given; their faults end the command with 78."""
    from engine.config import Settings, SettingsError

    given = {"config_path": getattr(arguments, "config", None), "data": getattr(arguments, "data", None), **overrides}
    try:
        settings = Settings.from_env(**given)
    except SettingsError as error:
        raise Failure(CONFIGURATION, *error.faults) from None
    for warning in settings.warnings:
        say(f"warning: {warning}")
    return settings


def parse(words: list[str]) -> argparse.Namespace:
    """The arguments of one command; Failure(2) with the nearest word for what does not exist."""
    parser, commands = build()
    command = next((word for word in words if not word.startswith("-")), None)
    if command is not None and command not in COMMANDS:
        wrong = f"there is no command {command!r}{nearest(command, COMMANDS)}"
        raise Failure(USAGE, wrong, "`bucketline --help` lists them")
    if command is not None:
        place = words.index(command)
        must_take(words[:place], parser, "bucketline", behind=commands[command])
        must_take(words[place + 1 :], commands[command], f"bucketline {command}")
    arguments, unknown = parser.parse_known_args(words)
    if unknown:
        raise Failure(
            USAGE,
            f"`bucketline {arguments.command}` takes no argument {unknown[0]!r}",
            f"`bucketline {arguments.command} --help` shows what it takes",
        )
    return arguments


def build() -> tuple[Parser, dict[str, Parser]]:
    """The parser with all commands."""
    parser = Parser(
        prog="bucketline",
        description="Takes files off a web application's hands and carries them to buckets, part by part.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"bucketline {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    commands: dict[str, Parser] = {}
    for name, (_, line) in COMMANDS.items():
        text = f"{line[0].upper()}{line[1:]}."
        commands[name] = subparsers.add_parser(name, help=line, description=text, allow_abbrev=False)
        _OPTIONS[name](commands[name])
    return parser, commands


# -- the options of each command ------------------------------------------------------------------------------------


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; it takes a number up to 65535, or 0 for a free one")
    return int(text)


def _config(parser: Parser) -> None:
    parser.add_argument("--config", metavar="FILE", help=setup_options.CONFIG)


def _data(parser: Parser) -> None:
    parser.add_argument("--data", metavar="DIR", help=setup_options.DATA)


def _binding(parser: Parser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=8000, help="port, or 0 for a free one (default: %(default)s)")


def _workers(parser: Parser) -> None:
    parser.add_argument("--processes", metavar="N", help="worker processes (default: BUCKETLINE_PROCESSES, or 1)")
    parser.add_argument("--threads", metavar="N", help="parts at once in each (default: BUCKETLINE_THREADS, or 8)")


def _log(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="log lines are JSON (default: BUCKETLINE_LOG, or text)")


def _client(parser: Parser) -> None:
    parser.add_argument("--url", help="the server (default: BUCKETLINE_URL, or http://127.0.0.1:8000)")
    parser.add_argument("--json", action="store_true", help=setup_options.JSON)


def _up_options(parser: Parser) -> None:
    for add in (_binding, _data, _config, _workers, _log):
        add(parser)


def _api_options(parser: Parser) -> None:
    for add in (_binding, _data, _config, _log):
        add(parser)


def _worker_options(parser: Parser) -> None:
    for add in (_data, _config, _workers, _log):
        add(parser)


def _put_options(parser: Parser) -> None:
    job_options.add_put(parser)
    _client(parser)


def _copy_options(parser: Parser) -> None:
    job_options.add_copy(parser)
    _client(parser)


def _jobs_options(parser: Parser) -> None:
    parser.usage = (
        "bucketline jobs [ID] [--watch] [--json]\n       bucketline jobs cancel|pause|resume|retry|forget ID…"
    )
    parser.usage += "\n       bucketline jobs add-destination ID NAME…"
    parser.add_argument("words", nargs="*", metavar="ID", help="a job; or what to do, and with which")
    parser.add_argument("--watch", action="store_true", help="follow live until the job ends, or until Ctrl-C")
    parser.add_argument("--state", help="only jobs in this state")
    parser.add_argument("--to", metavar="NAME", help="only jobs for this destination")
    parser.add_argument(
        "--limit",
        type=job_options.number,
        default=20,
        metavar="N",
        help="how many, newest first (default: %(default)s)",
    )
    _client(parser)


_OPTIONS: dict[str, Callable[[Parser], None]] = {
    "up": _up_options,
    "api": _api_options,
    "worker": _worker_options,
    "put": _put_options,
    "copy": _copy_options,
    "jobs": _jobs_options,
    "init": setup_options.add_init,
    "config": setup_options.add_config,
    "check": upkeep_options.add_check,
    "keys": upkeep_options.add_keys,
    "audit": upkeep_options.add_audit,
    "gc": upkeep_options.add_gc,
    "recover": upkeep_options.add_recover,
    "completion": setup_options.add_completion,
}
