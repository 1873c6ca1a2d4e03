#!/usr/bin/env bash
# The tests that need no cluster, in four processes, the quick ones first: a browser's event loop must not meet those of the other tests.
# Arguments go to pytest; with them, a part in which nothing is selected is fine.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0
PATH=$(scripts/tools.sh):$PATH
for part in "tests/unit tests/property" tests/chart tests/integration tests/browser; do
  echo "--- $part"
  status=0
  # shellcheck disable=SC2086 # two folders are two words
  .venv/bin/pytest -m "not cluster and not e2e" $part "$@" || status=$?
  [[ $status == 0 || ($status == 5 && $# -gt 0) ]] || failed=1
done
exit "$failed"
