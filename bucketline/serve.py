"""`bucketline api` and `bucketline worker`: one half of the service, in the foreground."""

import argparse

from bucketline import valkey
from bucketline.cli import settings_for
from bucketline.exits import CONFIGURATION, UNREACHABLE, Failure
from bucketline.up import claim_port, form_of, refuse_open_door, require_writable
from engine.config import Settings


def run(arguments: argparse.Namespace) -> int:
    return _api(arguments) if arguments.command == "api" else _worker(arguments)


def _api(arguments: argparse.Namespace) -> int:
    settings = with_redis(settings_for(arguments, log=form_of(arguments)))
    refuse_open_door(arguments.host, settings)
    _make_ready(settings)
    port = claim_port(arguments.host, arguments.port)
    _entitle("bucketline api")
    from api.server import run as serve

    return serve(settings, arguments.host, port, workers=settings.api_processes)


def _worker(arguments: argparse.Namespace) -> int:
    settings = with_redis(
        settings_for(arguments, processes=arguments.processes, threads=arguments.threads, log=form_of(arguments))
    )
    _make_ready(settings)
    _entitle("bucketline worker")
    if settings.processes > 1:
        from bucketline.workers import run as run_several

        return run_several(settings)
    from engine.worker import run as work

    return work(settings)


def _make_ready(settings: Settings) -> None:
    """Keep memory and log as a service does; refuse here, in a line for each fault, what would be a traceback later."""
    from bucketline import logs
    from bucketline.configuration import configuration_for, require_tracing
    from engine import heap

    heap.settle()
    logs.configure(settings.log)
    configuration_for(settings)
    require_tracing(settings)
    require_writable(settings.spool)


def with_redis(settings: Settings) -> Settings:
    """The same settings with a Redis: the one named, or the embedded one of a `bucketline up` over the same data."""
    if settings.redis_url:
        return settings
    directory = settings.data / "valkey"
    if valkey.answers(directory):
        return Settings.from_env(settings.environ(), redis_url=valkey.url(directory))
    raise Failure(
        CONFIGURATION,
        "BUCKETLINE_REDIS_URL is not set: it names the Redis that holds the jobs, as redis://127.0.0.1:6379/0",
        f"`bucketline up` brings one along; none runs over {settings.data}",
    )


def redis_away(error: Exception) -> Failure:
    """What a command ends with that needs Redis, and has none."""
    from engine.ledger import why_away

    return Failure(
        UNREACHABLE, f"Redis does not answer: {why_away(error)}", "start it, or correct BUCKETLINE_REDIS_URL"
    )


def _entitle(title: str) -> None:
    from setproctitle import setproctitle

    setproctitle(title)
