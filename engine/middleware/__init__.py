"""The only place where leases, traces, retries and progress are handled: one small middleware each, around actors of
a few lines.
"""

from engine.middleware.leasing import Leasing
from engine.middleware.progress import Progress
from engine.middleware.retries import Retries
from engine.middleware.spanning import Spanning

__all__ = ["Leasing", "Progress", "Retries", "Spanning"]
