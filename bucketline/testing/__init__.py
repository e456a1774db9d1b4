"""A real, small Bucketline for the tests of your own application: fixtures for pytest, and the stack behind them.

    def test_a_photo_is_stored(bucketline_stack, bucketline_client):
        bucketline_client.submit("photo.jpg", destinations=["media"], key="a/photo.jpg")
        bucketline_stack.wait()
        assert bucketline_stack.objects("media") == {"a/photo.jpg": Path("photo.jpg").read_bytes()}

pytest finds the fixtures by itself. This package imports none of `api`, `engine` and `backends`: an application under
test may have packages of these names.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bucketline.testing.stack import RunningStack, running_stack

__all__ = ["RunningStack", "running_stack"]

if find_spec("pytest") is None:
    raise ImportError("bucketline.testing needs pytest, which is not installed here. Try: pip install pytest")


def __getattr__(name: str) -> Any:
    # Lazily: every run of pytest beside an installed Bucketline loads the plug-in, and the client is not light.
    if name in __all__:
        from bucketline.testing import stack

        return getattr(stack, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
