"""`bucketline recover`: makes jobs again from the spool that Redis has lost."""

import argparse

import msgspec

from bucketline.cli import settings_for
from bucketline.exits import FAILED, FINE
from bucketline.serve import redis_away, with_redis
from bucketline.talk import print_json
from bucketline.up import require_writable


def run(arguments: argparse.Namespace) -> int:
    from bucketline import logs
    from engine.errors import LedgerUnavailable
    from engine.reconcile import recover

    settings = with_redis(settings_for(arguments))
    require_writable(settings.spool)
    logs.configure()
    try:
        report = recover(settings)
    except LedgerUnavailable as error:
        raise redis_away(error) from None
    if arguments.json:
        print_json({name: value for name, value in msgspec.to_builtins(report).items() if name != "tokens"})
        return FAILED if report.unreadable else FINE
    for told, jobs in (
        ("made again", report.made_again),
        ("started again", report.restarted),
        ("given again what was added to it", report.extended),
        ("end restored", report.ends_restored),
        ("sidecar cannot be read", report.unreadable),
    ):
        for job in dict.fromkeys(jobs):
            print(f"{job}: {told}")
    found = len(report.made_again) + len(report.restarted) + len(report.extended)
    print(f"looked at {report.seen} files in {settings.spool}; {found or 'none'} had to be made again")
    return FAILED if report.unreadable else FINE
