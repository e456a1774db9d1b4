"""The command and the clients of Bucketline: `from bucketline import Client`, or `AsyncClient`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bucketline.async_client import AsyncClient
    from bucketline.client import Client

__all__ = ["AsyncClient", "Client", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Lazily: `bucketline up` must stay small, and the clients bring an HTTP library with them.
    if name == "Client":
        from bucketline.client import Client

        return Client
    if name == "AsyncClient":
        from bucketline.async_client import AsyncClient

        return AsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
