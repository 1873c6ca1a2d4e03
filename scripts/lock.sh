#!/usr/bin/env bash
# One resolution for every member, locked with hashes: all.txt resolves everything, the others are cuts of it.
# --check changes nothing and fails when the locks do not fit the requirements; other arguments go to uv (--upgrade).
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:$PWD/.uv/bin
members=(packages/core packages/telemetry packages/jobs packages/cli services/frontend services/inference operators/matte)
own=(); for name in core telemetry jobs cli frontend inference operator; do own+=(--no-emit-package "matte-$name"); done
compile() { # OUT ARGS...: no header (it would record how we were called), no index address
  local out=$1; shift
  "${UV:-uv}" pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
    --python-version 3.11 "${own[@]}" "${members[@]/%//pyproject.toml}" "$@" --output-file "$out"
}
compile_all() {
  compile locks/all.txt --extra torch locks/dev.in "$@"
  compile locks/run.txt --constraints locks/all.txt
  compile locks/torch.txt --extra torch --constraints locks/all.txt
}
check() { # in a copy, from the versions that are locked now
  local root=$PWD copy; copy=$(mktemp -d); trap "rm -rf '$copy'" EXIT
  for member in "${members[@]}"; do mkdir -p "$copy/$member" && cp "$member/pyproject.toml" "$copy/$member"; done
  cp pyproject.toml "$copy" && cp -r locks "$copy/locks" && cd "$copy"
  compile_all
  diff -ru "$root/locks" locks >&2 || { echo "the locks do not fit the requirements: make lock" >&2; return 1; }
}
case ${1:-} in --check) check ;; *) compile_all "$@" ;; esac
