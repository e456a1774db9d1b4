"""plugins.toml as the commands need it: read, or refused with every fault in it."""

from importlib.util import find_spec

from backends.config import Configuration, ConfigurationError
from bucketline.exits import CONFIGURATION, Failure
from engine.config import Settings
from engine.plugins_file import configuration_of


def configuration_for(settings: Settings) -> Configuration:
    """The destinations and routes of these settings; Failure(78) with one line per fault."""
    try:
        return configuration_of(settings)
    except ConfigurationError as error:
        count = len(error.faults)
        title = "plugins.toml cannot be used" + (f": {count} faults" if count > 1 else "")
        raise Failure(CONFIGURATION, title, *str(error).splitlines()) from None


def require_tracing(settings: Settings) -> None:
    """Failure(78) where spans are wanted, and what makes them is not installed."""
    wanted = "opentelemetry.exporter.otlp.proto.http"
    try:
        there = settings.tracing == "off" or find_spec(wanted) is not None
    except ModuleNotFoundError:
        there = False
    if not there:
        told = "install bucketline[otel], or unset it"
        raise Failure(CONFIGURATION, "BUCKETLINE_TRACING=otlp needs OpenTelemetry, which is not installed", told)
