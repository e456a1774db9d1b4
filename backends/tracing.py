"""What the work of this thread belongs to, for the requests that are sent on the way."""

from contextvars import ContextVar

traceparent: ContextVar[str] = ContextVar("traceparent", default="")
"""W3C trace context, passed on as it came: requests that send a part carry it, unsigned. '' when there is none."""
