#!/usr/bin/env bash
# Builds the images of Matte.   scripts/images.sh [--load] [frontend] [inference] [operator]
#
#   --load          also bring them to the cluster of the current kubectl context, if that is kind, k3d or minikube
#
# Environment:
#   IMAGE_PREFIX    before the name: ghcr.io/matte-dev
#   TAG             behind it: the chart's appVersion
#   TORCH           in the inference image: cuda (default), cpu, or none
#   IMAGE_BUILD     another way to build and deliver: a command that takes NAME:TAG CONTEXT -- BUILD-ARGUMENTS…
#                   (otherwise docker or buildah, whichever works here, keeps the images on this machine)
set -euo pipefail
cd "$(dirname "$0")/.."

die() { printf 'images: %s\n' "$*" >&2; exit 1; }
usage() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; }

load='' names=()
for argument; do
  case $argument in
    -h | --help) usage; exit 0 ;;
    --load) load=1 ;;
    frontend | inference | operator) names+=("$argument") ;;
    *) usage >&2; die "not known: $argument" ;;
  esac
done
[ ${#names[@]} -gt 0 ] || names=(operator frontend inference)

prefix=${IMAGE_PREFIX:-ghcr.io/matte-dev}
version=$(sed -n 's/^appVersion: *"\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' charts/matte/Chart.yaml)
tag=${TAG:-$version}
case ${TORCH:-cuda} in
  1 | cuda) torch=cuda ;;
  cpu | none) torch=$TORCH ;;
  *) die "TORCH is cuda, cpu or none, not '$TORCH'" ;;
esac

builder() { # docker may be a client without a daemon
  if docker info >/dev/null 2>&1; then echo docker
  elif command -v buildah >/dev/null 2>&1; then echo buildah
  else die "neither docker nor buildah works here. Install one: apt install buildah"; fi
}
dockerfile() { case $1 in operator) echo operators/matte/Dockerfile ;; *) echo "services/$1/Dockerfile" ;; esac; }
labels() {
  echo --build-arg "VERSION=$version"
  echo --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)"
  echo --build-arg "CREATED=$(TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd 2>/dev/null || echo 1970-01-01T00:00:00Z)"
}
size() { # IMAGE: in MB, unpacked
  case $tool in
    docker) docker image inspect --format '{{.Size}}' "$1" | awk '{ printf "%.0f MB", $1 / 1e6 }' ;;
    buildah) buildah images --format '{{.Size}}' "$1" ;;
    *) echo - ;;
  esac
}
build() { # NAME IMAGE
  local arguments
  mapfile -t arguments < <(labels | tr ' ' '\n')
  arguments+=(-f "$(dockerfile "$1")")
  [ "$1" != inference ] || arguments+=(--build-arg "TORCH=$torch")
  # shellcheck disable=SC2086 # IMAGE_BUILD may be a command with its first arguments
  case $tool in
    docker) docker build --quiet "${arguments[@]}" -t "$2" . ;;
    buildah) buildah build --quiet --layers "${arguments[@]}" -t "$2" . ;;
    *) $IMAGE_BUILD "$2" . -- "${arguments[@]}" ;;
  esac >&2
}
deliver() { # IMAGE: to a local cluster, as an archive
  local context archive; context=$(kubectl config current-context); archive=$(mktemp --suffix .tar)
  case $tool in
    docker) docker save -o "$archive" "$1" ;;
    buildah) rm "$archive"; buildah push --quiet "$1" "docker-archive:$archive:$1" >&2 ;;
  esac
  case $context in
    kind-*) kind load image-archive --name "${context#kind-}" "$archive" >&2 ;;
    k3d-*) k3d image import --cluster "${context#k3d-}" "$archive" >&2 ;;
    minikube) minikube image load "$archive" >&2 ;;
    *) rm -f "$archive"; die "$context is not kind, k3d or minikube: push the images yourself, or set IMAGE_BUILD" ;;
  esac
  rm -f "$archive"
}

tool=${IMAGE_BUILD:+hook}; tool=${tool:-$(builder)}
printf '%-44s %10s %8s\n' image size seconds
for name in "${names[@]}"; do
  image=$prefix/$name:$tag start=$SECONDS
  build "$name" "$image"
  if [ -n "$load" ] && [ "$tool" != hook ]; then deliver "$image"; fi
  printf '%-44s %10s %8d\n' "$image" "$(size "$image" | tr -d ' ')" $((SECONDS - start))
done
