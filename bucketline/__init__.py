"""The command and the client of Bucketline: `from bucketline import Client`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bucketline.client import Client

__all__ = ["Client", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Lazily: `bucketline up` must stay small, and the client brings an HTTP library with it.
    if name == "Client":
        from bucketline.client import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
