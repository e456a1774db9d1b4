"""What can go wrong for a client, as exceptions whose texts are for the user."""

from bucketline.results import Problem


class ClientError(Exception):
    """Why a request did not work; the text is for the user."""


class Unreachable(ClientError):
    """The server did not answer, or says that it cannot work now. Trying again later may help."""


class Refused(ClientError):
    """The server answered with a problem."""

    def __init__(self, status: int, problem: Problem) -> None:
        super().__init__("; ".join(problem.lines()))
        self.status = status
        self.problem = problem
