"""The roles in the chart are those that the operator's README documents."""

from __future__ import annotations

import re

import yaml
from chart.charts import CHARTS, ROOT, Manifest, one, rendered

Rules = set[tuple[str, str, str, str]]


def _documented() -> list[Rules]:
    """The tables of operators/matte/README.md: (group, resource, verb, name)."""
    tables: list[Rules] = []
    for line in (ROOT / "operators" / "matte" / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[:2] == ["group", "resources"]:
            tables.append(set())
        elif line.startswith("| ") and tables:
            kinds, _, name = cells[1].partition(", resourceNames: ")
            named = name.strip("`").replace("<MATTE_RELEASE>", "r")
            tables[-1] |= {
                (cells[0].strip('"'), kind, verb, named) for kind in kinds.split(", ") for verb in cells[2].split(", ")
            }
    return tables


def _granted(role: Manifest) -> Rules:
    return {
        (group, kind, verb, name)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for kind in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
    }


def test_roles_match_the_documentation() -> None:
    manifests = rendered()
    roles = (("Role", "-operator"), ("ClusterRole", "-operator"), ("Role", "-cleanup"))
    assert [_granted(one(manifests, kind, name)) for kind, name in roles] == _documented()


def test_the_policy_of_the_crds_trusts_the_operator() -> None:
    policy = yaml.safe_load((CHARTS / "matte-crds" / "values.yaml").read_text())["policy"]
    account = one(rendered(), "Deployment", "-operator")["spec"]["template"]["spec"]["serviceAccountName"]
    assert re.fullmatch(policy["operatorServiceAccount"], account)
