#!/usr/bin/env bash
# Programs that the tests of the chart need, beside Python: helm (4, and 3 as helm3) and promtool.
# What is not on the PATH is put into a cache outside the checkout, whose bin folder is printed; stdout is only that.
set -euo pipefail

CACHE=${MATTE_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/matte/tools}
HELM4=v4.3.1 HELM3=v3.22.0 PROMETHEUS=v0.315.0

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() { printf 'tools: %s\n' "$*" >&2; exit 1; }
have() { PATH=$CACHE/bin:$PATH command -v "$1" >/dev/null 2>&1; }

go_install() { # NAME MODULE@VERSION: builds a program from the Go module proxy
  command -v go >/dev/null || die "$1 is not on the PATH, and neither is Go to build it: install $1"
  say "building $1 ($2), once; this takes a minute or two"
  local made=$CACHE/made-$1; mkdir -p "$CACHE/bin" "$made"
  GOBIN=$made GOFLAGS=-mod=mod CGO_ENABLED=0 go install "$2" >&2
  mv "$made"/* "$CACHE/bin/$1" && rmdir "$made"
}

get_promtool() { # Debian's package where that is possible, it is quicker than building Prometheus
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing promtool from Debian's package prometheus"
    local folder; folder=$(mktemp -d)
    (cd "$folder" && apt-get update -qq && apt-get download -qq prometheus && dpkg-deb -x prometheus_*.deb .) >&2
    mkdir -p "$CACHE/bin" && mv "$folder/usr/bin/promtool" "$CACHE/bin/" && rm -rf "$folder"
  else
    go_install promtool "github.com/prometheus/prometheus/cmd/promtool@$PROMETHEUS"
  fi
}

have helm || go_install helm "helm.sh/helm/v4/cmd/helm@$HELM4"
have helm3 || go_install helm3 "helm.sh/helm/v3/cmd/helm@$HELM3"
have promtool || get_promtool
echo "$CACHE/bin"
