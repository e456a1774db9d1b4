"""What can go wrong for a client, as exceptions whose texts are for the user.

ClientError
├── Unreachable      the server did not answer, or cannot work now
│   ├── NotNow       it did answer: it cannot work now
│   └── BrokenOff    the same in the middle of an upload in chunks, which can be gone on with
└── Refused          the server answered with a problem
"""

from bucketline.results import Problem


class ClientError(Exception):
    """Why a request did not work; the text is for the user."""


class Unreachable(ClientError):
    """The server did not answer, or says that it cannot work now. Trying again later may help."""


class NotNow(Unreachable):
    """The server answers that it cannot work now, and why."""


class BrokenOff(Unreachable):
    """An upload in chunks stopped. The server keeps what it has: `resume_upload(error.url, …)` goes on from there."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"{why}; what was sent is kept: go on later with resume_upload({url!r}, …)")
        self.url = url
        self.why = why


class Refused(ClientError):
    """The server answered with a problem."""

    def __init__(self, status: int, problem: Problem) -> None:
        super().__init__("; ".join(problem.lines()))
        self.status = status
        self.problem = problem
