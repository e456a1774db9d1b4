"""The exit codes of the command, and the one exception that ends it with a text for the user."""

FINE = 0
FAILED = 1
USAGE = 2
UNREACHABLE = 69  # EX_UNAVAILABLE
CONFIGURATION = 78  # EX_CONFIG
INTERRUPTED = 130  # as shells count it

MEANINGS = {
    FINE: "fine: all jobs and checks succeeded (with `--detach`: were accepted)",
    FAILED: "a job or a check failed, or what was asked for is not there",
    USAGE: "usage: a wrong command, option, file or name",
    UNREACHABLE: "the server, or Redis, does not answer or cannot work now; later it may",
    CONFIGURATION: "configuration: a setting, `plugins.toml`, a directory, a port, the key",
    INTERRUPTED: "Ctrl-C",
}
"""Every code, and what it says to a script."""


class Failure(Exception):
    """Ends the command with `code`; `lines` go to stderr, without a traceback. For mistakes and outages, not bugs."""

    def __init__(self, code: int, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.code = code
        self.lines = lines
