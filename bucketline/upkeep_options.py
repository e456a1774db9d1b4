"""The options of the commands that look after an installation: `check`, `keys`, `audit`, `gc` and `recover`."""

import argparse

from bucketline.job_options import number
from bucketline.setup_options import CONFIG, DATA, JSON


def add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="destinations or routes (default: all)")
    parser.add_argument("--json", action="store_true", help=JSON)
    _places(parser)


def add_keys(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "bucketline keys add NAME [--scope …] [--to NAME] [--prefix FOLDER] [--expires TIME] [quotas] [--json]\n"
        "       bucketline keys list [--json]\n       bucketline keys revoke ID… [--json]\n"
        "       bucketline keys export > FILE\n       bucketline keys import < FILE"
    )
    parser.description = (
        "Makes, lists and revokes API keys. They live in Redis, as hashes: the text of a new key is printed once. "
        "Running APIs know a new key at once, and stop knowing a revoked one within 5 seconds. BUCKETLINE_API_KEY "
        "stays a key with all rights, which works without Redis. Export writes the keys in force, as hashes, and "
        "import puts those back that a Redis has lost."
    )
    parser.add_argument("action", metavar="ACTION", help="add, list, revoke, export or import")
    parser.add_argument("names", nargs="*", metavar="NAME", help="what a new key is for; or the ids of keys to revoke")
    parser.add_argument(
        "--scope", action="append", metavar="NAMES",
        help="rights, by commas: submit, read (own jobs), control (own jobs), admin (everything, all jobs); "
        "default: submit,read,control",
    )  # fmt: skip
    parser.add_argument(
        "--to", action="append", metavar="NAME", help="only this destination, or the members of this route; repeatable"
    )
    parser.add_argument("--prefix", action="append", metavar="FOLDER", help="only keys below this folder; repeatable")
    parser.add_argument("--max-size", metavar="SIZE", help="largest file, as 5GiB")
    parser.add_argument("--expires", metavar="TIME", help="from now, as 90d or 12h; or the last day, as 2027-01-31")
    parser.add_argument("--requests-per-minute", type=number, metavar="N", help="quota: requests a minute")
    parser.add_argument("--bytes-per-day", metavar="SIZE", help="quota: bytes of bodies a day (of UTC), as 100GiB")
    parser.add_argument("--jobs", type=number, metavar="N", help="quota: unfinished jobs at the same time")
    parser.add_argument("--json", action="store_true", help=JSON)
    _places(parser)


def add_audit(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Shows who did what, the newest first, from the audit log beside the spool of this machine. GET /v1/audit "
        "shows the same to keys with the scope admin."
    )
    parser.add_argument("--key", metavar="ID", help="only what this key did")
    parser.add_argument("--job", metavar="ID", help="only what concerns this job")
    parser.add_argument("--limit", type=number, default=100, metavar="N", help="how many lines (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help=JSON)
    _places(parser)


def add_gc(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Removes unfinished uploads below the destinations' prefixes that no job owns any more: multipart uploads, "
        "part objects, temporary files. Those of other programs that write below the same prefix cannot be told apart: "
        "look with --dry-run first."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="destinations or routes (default: all)")
    parser.add_argument("--dry-run", action="store_true", help="only list them")
    parser.add_argument(
        "--older-than", default="24h", metavar="TIME", help="leave younger ones (default: %(default)s; 0 for any age)"
    )
    parser.add_argument("--json", action="store_true", help="one upload per line as JSON on stdout, nothing else")
    _places(parser)


def add_recover(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help=JSON)
    _places(parser)


def _places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", metavar="DIR", help=DATA)
    parser.add_argument("--config", metavar="FILE", help=CONFIG)
