"""Alerts and the dashboard: they fire when they should, and use existing metrics."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from metrics import ALL

ROOT = Path(__file__).parents[2]
FILES = ROOT / "charts/matte/files"
TESTS = sorted((ROOT / "tests/chart/rules").glob("*.yaml"))
RULES = sorted((FILES / "rules").glob("*.yaml"))
DASHBOARDS = sorted((FILES / "dashboards").glob("*.json"))
#: what a histogram and a counter are scraped as
KNOWN = {
    metric.exported + end
    for metric in ALL
    for end in (("_bucket", "_sum", "_count") if metric.type == "histogram" else ("",))
}
LABELS = {label for metric in ALL for label in metric.labels} | {"namespace", "le"}


def promtool(*arguments: str | Path) -> None:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.fail("promtool is not on the PATH: apt-get install --no-install-recommends prometheus")
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def alerts() -> list[dict[str, Any]]:
    return [rule for path in RULES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def queries() -> list[str]:
    panels = [panel for path in DASHBOARDS for panel in json.loads(path.read_text())["panels"]]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_rules_are_valid(path: Path) -> None:
    promtool("check", "rules", path)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_rules_fire_when_they_should(path: Path) -> None:
    promtool("test", "rules", path)


def test_every_alert_is_tested_and_says_what_to_do() -> None:
    tested = " ".join(path.read_text() for path in TESTS)
    for rule in alerts():
        assert re.search(rf'alertname="{rule["alert"]}", alertstate="firing", \w+=', tested), rule["alert"]
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert len(rule["annotations"]["description"]) > 100
        assert "$labels.namespace" in rule["annotations"]["summary"] or "version" in rule["annotations"]["summary"]


@pytest.mark.parametrize("expr", [*queries(), *(rule["expr"] for rule in alerts())])
def test_queries_use_existing_metrics_and_labels(expr: str) -> None:
    metrics = set(re.findall(r"\b(?:ray_)?matte_\w+", expr))
    assert metrics
    assert metrics <= KNOWN
    grouped = {label.strip() for found in re.findall(r"(?:by|on) \(([^)]*)\)", expr) for label in found.split(",")}
    matched = set(re.findall(r"(\w+)(?:=~|!=|=)\"", expr))
    assert grouped | matched <= LABELS


def test_every_metric_is_on_the_dashboard() -> None:
    text = " ".join(queries())
    assert [metric.exported for metric in ALL if metric.exported not in text] == []


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_dashboards_are_consistent(path: Path, tmp_path: Path) -> None:
    board = json.loads(path.read_text())
    assert {variable["name"] for variable in board["templating"]["list"]} == {"datasource", "namespace", "model"}
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in board["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    # Grafana's variables filled in, every query is PromQL
    filled = [q.replace("$__rate_interval", "5m").replace("$namespace", "n").replace("$model", ".*") for q in queries()]
    rules = [{"record": f"q{number}", "expr": query} for number, query in enumerate(filled)]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", file)
