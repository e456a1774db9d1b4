"""plugins.toml as the commands need it: read, or refused with every fault in it."""

from backends.config import Configuration, ConfigurationError, load
from bucketline.exits import CONFIGURATION, Failure
from engine.config import Settings


def configuration_for(settings: Settings) -> Configuration:
    """The destinations and routes of these settings; Failure(78) with one line per fault.

    Without a plugins.toml there is one destination `local`, below the data directory.
    """
    if settings.config_path is None:
        return Configuration.local(settings.data / "objects")
    try:
        return load(settings.config_path, reserved={"the spool": settings.spool})
    except ConfigurationError as error:
        count = len(error.faults)
        title = "plugins.toml cannot be used" + (f": {count} faults" if count > 1 else "")
        raise Failure(CONFIGURATION, title, *str(error).splitlines()) from None
