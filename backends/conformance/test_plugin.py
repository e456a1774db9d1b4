"""What is told of a destination without touching it: claims that agree, addresses, and never a secret."""

from __future__ import annotations

import json

import pytest

from backends.conformance import wrong
from backends.conformance.subject import Subject


def test_the_backend_claims_what_its_plug_in_told(subject: Subject) -> None:
    told = subject.destination.plugin.capabilities(subject.destination.options)
    claimed = subject.backend.capabilities
    different = [name for name in told.__struct_fields__ if getattr(told, name) != getattr(claimed, name)]
    assert not different, f"the plug-in and the backend that it built claim different {', '.join(different)}"


def test_each_object_has_an_address_of_its_own(subject: Subject) -> None:
    addresses = {subject.destination.url_for(name) for name in ("one", "two", "one/two")}
    assert len(addresses) == 3, f"`url` does not tell objects apart: {addresses}"


def test_no_address_session_or_repr_holds_a_secret(subject: Subject) -> None:
    """They are shown to whoever may see a job, kept in the ledger, and in logs."""
    secrets = wrong.secret_texts(subject.destination)
    if not secrets:
        pytest.skip("this destination holds no secret of 8 characters or more")
    shown = {
        "the address": subject.destination.url_for("object"),
        "the session": json.dumps(subject.begin(subject.key(), subject.part_size)),
        "the backend's repr": repr(subject.backend),
    }
    for what, text in shown.items():
        assert not any(secret in text for secret in secrets), f"{what} holds a secret"
