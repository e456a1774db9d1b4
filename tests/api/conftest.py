"""Fixtures of the HTTP surface: the application over the fake engine, in process and behind a real gunicorn."""

from __future__ import annotations

import pytest

from api.asgi import Composed
from api.limits import Pace
from tests.api.asking import Asker
from tests.api.fakes import FakeService


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def app(service: FakeService) -> Composed:
    return Composed(service, max_size=1_000_000, pace=Pace())


@pytest.fixture
def ask(app: Composed) -> Asker:
    return Asker(app)
