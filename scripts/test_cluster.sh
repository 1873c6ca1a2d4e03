#!/usr/bin/env bash
# The tests that need an API server and KubeRay's CRDs, but no image. Refuses a context that is no test cluster, as
# scripts/e2e.sh does; arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v helm >/dev/null || PATH=$(scripts/tools.sh):$PATH
PYTHONPATH=tests .venv/bin/python -m e2e.kube
exec .venv/bin/pytest -m cluster tests/chart tests/integration/operator "$@"
