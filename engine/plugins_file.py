"""plugins.toml as the settings name it."""

from backends.config import Configuration, load
from engine.config import Settings


def configuration_of(settings: Settings) -> Configuration:
    """The destinations and routes; ConfigurationError with every fault of the file.

    Without a plugins.toml there is one destination `local`, below the data directory.
    """
    if settings.config_path is None:
        return Configuration.local(settings.data / "objects")
    return load(settings.config_path, reserved={"the spool": settings.spool})
