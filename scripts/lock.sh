#!/usr/bin/env bash
# One resolution for every member, locked with hashes: all.txt resolves everything, the others are cuts of it.
set -euo pipefail
cd "$(dirname "$0")/.."
members=(packages/core packages/jobs packages/cli services/frontend services/inference operators/matte)
own=(); for name in core jobs cli frontend inference operator; do own+=(--no-emit-package "matte-$name"); done
compile() { # OUT ARGS...: no header (it would record how we were called), no index address
  local out=$1; shift
  "${UV:-uv}" pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
    --python-version 3.11 "${own[@]}" "${members[@]/%//pyproject.toml}" "$@" --output-file "$out"
}
compile locks/all.txt --extra torch locks/dev.in "$@"
compile locks/run.txt --constraints locks/all.txt
compile locks/torch.txt --extra torch --constraints locks/all.txt
