"""What deploy/ gives to those who monitor: the alert rules, and the dashboard with its queries."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import yaml

from tests.documents import ROOT

ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "bucketline.json"
ALERT_TESTS = ROOT / "tests" / "unit" / "alerts_test.yml"


def rules() -> list[dict[str, Any]]:
    """The alerts, as Prometheus reads them."""
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    return dict(msgspec.json.decode(DASHBOARD.read_bytes()))


def queries() -> list[str]:
    """Every query of the dashboard, with Grafana's variables filled in."""
    asked = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ())]
    return [one.replace("$__rate_interval", "1m").replace("$destination", ".*") for one in asked]


def expressions() -> list[str]:
    return [*queries(), *(rule["expr"] for rule in rules())]


def names_in(expression: str) -> set[str]:
    """The names of the series that an expression asks for."""
    return set(re.findall(r"\b(?:bucketline_\w+|up\b(?={))", expression))


def labels_in(expression: str) -> dict[str, set[str]]:
    """What an expression says of labels in braces, by the series."""
    found: dict[str, set[str]] = {}
    for name, inside in re.findall(r"\b(bucketline_\w+){([^}]*)}", expression):
        found.setdefault(name, set()).update(re.findall(r"(\w+)\s*[=!]~?=?", inside))
    return found


def groupings(expression: str) -> set[str]:
    """The labels that an expression groups by."""
    return {word.strip() for inside in re.findall(r"\bby \(([^)]*)\)", expression) for word in inside.split(",")}
