"""`bucketline audit`: shows who did what, from the audit log beside the spool of this machine."""

import argparse

from bucketline.cli import say, settings_for
from bucketline.exits import FINE, USAGE, Failure
from bucketline.talk import print_json


def run(arguments: argparse.Namespace) -> int:
    from bucketline.jobs import table
    from engine.audit import Audit

    if arguments.limit < 1:
        raise Failure(USAGE, "--limit takes a number of lines, at least 1")
    settings = settings_for(arguments)
    log = Audit(settings.spool, settings.audit_days)
    lines = log.read(limit=arguments.limit, key=arguments.key, job=arguments.job)
    if arguments.json:
        for line in lines:
            print_json(line)
    elif lines:
        rows = [("AT", "ACTION", "KEY", "TOKEN", "JOB", "FROM", "REQUEST")]
        for line in lines:
            by = line.get("key") or line.get("user", "-")
            about = line.get("job") or line.get("made", "-")
            rows.append(
                (line["at"], line["action"], by, line.get("token", "-"), about, line.get("remote", "-"),
                 line.get("request", "-"))
            )  # fmt: skip
        table(rows)
    else:
        say(f"nothing is written down in {log.directory}")
    return FINE
