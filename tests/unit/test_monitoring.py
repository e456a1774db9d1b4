"""The alert rules and the dashboard of deploy/: right by Prometheus' own tool, and about what /metrics shows."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from engine.measures import MEASURES
from tests import documents, monitoring
from tests.servers import program


def promtool(*words: object) -> str:
    done = subprocess.run([program("promtool"), *map(str, words)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def samples() -> dict[str, set[str]]:
    """The labels of every series that there can be."""
    found = {}
    for measure in MEASURES.values():
        if measure.kind == "histogram":
            found[f"{measure.name}_bucket"] = {*measure.labels, "le"}
            found |= {f"{measure.name}_{end}": set(measure.labels) for end in ("sum", "count")}
        else:
            found[measure.name] = set(measure.labels)
    return found


def test_the_rules_are_rules() -> None:
    assert f"{len(monitoring.rules())} rules found" in promtool("check", "rules", monitoring.ALERTS)


def test_what_to_do_at_each_alert_is_written_down() -> None:
    section = documents.read("docs/operations.md").partition("## At an alert\n")[2].partition("\n## ")[0]
    told = re.findall(r"`(Bucketline\w+)`", "".join(line.split("|")[1] for line in section.splitlines() if "|" in line))
    assert set(told) == {rule["alert"] for rule in monitoring.rules()}


def test_each_alert_rings_when_it_should_and_else_is_quiet() -> None:
    tests = yaml.safe_load(monitoring.ALERT_TESTS.read_text())["tests"]
    rung = {one["alertname"] for test in tests for one in test["alert_rule_test"] if one.get("exp_alerts")}
    quiet = {one["alertname"] for test in tests for one in test["alert_rule_test"] if not one.get("exp_alerts")}
    assert rung == quiet == {rule["alert"] for rule in monitoring.rules()}

    assert "SUCCESS" in promtool("test", "rules", monitoring.ALERT_TESTS)


def test_a_rule_that_is_wrong_is_noticed(tmp_path: Path) -> None:
    wrong = tmp_path / "alerts.yml"
    wrong.write_text(monitoring.ALERTS.read_text().replace("> 0.85", "> 0.97"))
    tests = tmp_path / "test.yml"
    tests.write_text(monitoring.ALERT_TESTS.read_text().replace("../../deploy/prometheus/alerts.yml", str(wrong)))

    with pytest.raises(AssertionError, match="BucketlineSpoolFilling"):
        promtool("test", "rules", tests)


def test_the_queries_of_the_dashboard_can_be_asked(tmp_path: Path) -> None:
    asked = [{"record": f"query:{number}", "expr": one} for number, one in enumerate(monitoring.queries())]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": asked}]}))

    assert f"{len(asked)} rules found" in promtool("check", "rules", file)


def test_they_ask_for_what_there_is() -> None:
    known = samples()
    for expression in monitoring.expressions():
        names = monitoring.names_in(expression) - {"up"}
        assert names <= known.keys(), expression
        for name, labels in monitoring.labels_in(expression).items():
            assert labels <= known[name] | {"instance"}, expression
        if names:
            assert monitoring.groupings(expression) <= set().union(*(known[name] for name in names), {"instance"})


def test_everything_but_a_part_of_a_histogram_is_shown_or_watched() -> None:
    asked = {name for expression in monitoring.expressions() for name in monitoring.names_in(expression)}

    assert {name for name in samples() if not name.endswith(("_sum", "_count"))} <= asked


def test_the_dashboard_is_one_for_grafana() -> None:
    found = monitoring.dashboard()
    panels = found["panels"]
    assert (found["uid"], found["title"]) == ("bucketline", "Bucketline")
    assert len({panel["id"] for panel in panels}) == len(panels)
    sources = {panel["datasource"]["uid"] for panel in panels if panel["type"] != "row"}
    assert sources == {"${datasource}"}, "whose Prometheus it is, is chosen in Grafana"
    taken = [(x, y) for panel in panels for x, y in _cells(panel["gridPos"])]
    assert len(set(taken)) == len(taken), "panels lie on one another"
    assert max(x for x, _ in taken) < 24


def _cells(place: dict[str, int]) -> list[tuple[int, int]]:
    across, down = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
    return [(x, y) for x in across for y in down]
