#!/usr/bin/env bash
# The tests that need no cluster, the quick ones first. A browser's event loop must not meet those of the other tests, so
# each part has processes of its own: two where that is quicker (tests/integration/conftest.py says who shares one). What
# dies and comes back has the machine to itself.
# Arguments go to pytest; with them, a part in which nothing is selected is fine.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0
export PYTHONHASHSEED=0 # tests are made from sets too, and two processes must find them in one order
PATH=$(scripts/tools.sh):$PATH
part() { # FOLDERS AND OPTIONS OF PYTEST...
  echo "--- $*"
  local status=0
  .venv/bin/pytest -m "not cluster and not e2e" "$@" || status=$?
  [[ $status == 0 || ($status == 5 && -n $only) ]] || failed=1
}
only=${*:+some}
part tests/unit tests/property -n 2 --dist worksteal "$@"
part tests/chart "$@"
part tests/integration -n 2 --no-loadscope-reorder "$@"
part tests/faults "$@"
part tests/browser "$@"
exit "$failed"
