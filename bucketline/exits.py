"""The exit codes of the command, and the one exception that ends it with a text for the user."""

FINE = 0
FAILED = 1  # a job or a check failed
USAGE = 2
UNREACHABLE = 69  # EX_UNAVAILABLE: the server does not answer, or cannot work now
CONFIGURATION = 78  # EX_CONFIG: settings, plugins.toml, directories, ports
INTERRUPTED = 130  # Ctrl-C, as shells count it


class Failure(Exception):
    """Ends the command with `code`; `lines` go to stderr, without a traceback. For mistakes and outages, not bugs."""

    def __init__(self, code: int, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.code = code
        self.lines = lines
