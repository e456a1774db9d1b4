"""`python -m bucketline`: the same command, from any directory."""

import os
import sys


def leave_working_directory_out() -> None:
    """Undo what `-m` did to the import path: a user's own folder called `api` or `engine` must not be imported.

    The entry stays when it is the very place that Bucketline itself was found in.
    """
    if sys.flags.safe_path or not sys.path:
        return
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    first = os.path.abspath(sys.path[0])
    if first == os.getcwd() and first != home:
        del sys.path[0]


if __name__ == "__main__":
    leave_working_directory_out()
    from bucketline.cli import main

    sys.exit(main())
