#!/usr/bin/env bash
# Builds the images, brings them to the cluster of the current kubectl context and runs tests/e2e there.
# Arguments go to pytest. The cluster needs KubeRay and Traefik (docs/install.md), and pulls Redis and an S3 server
# (docker.io/versity/versitygw). The canary of IS-Net publishes its weights there, which are taken from an npm registry.
#
#   KUBECONFIG               the cluster; refused unless its context is kind-…, k3d-…, minikube, or in:
#   MATTE_E2E_CONTEXTS       further contexts that are test clusters, separated by commas
#   MATTE_E2E_INGRESS        where the ingress controller listens: http://ADDRESS[:PORT]; none: through a tunnel to
#   MATTE_E2E_INGRESS_SERVICE   its Service: traefik/traefik
#   MATTE_E2E_BUILD          0: the images are there, do not build them
#   MATTE_E2E_KEEP           1: leave the namespace when a test fails
#   IMAGE_PREFIX, TAG, IMAGE_BUILD   as for scripts/images.sh; TAG: a digest of what the images are made of
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:-} in -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;; esac

digest() { # of every file that goes into an image
  git ls-files -z --cached --others --exclude-standard .dockerignore locks packages services operators |
    xargs -0 sh -c 'for f; do [ ! -f "$f" ] || sha256sum "$f"; done' sh | sha256sum | cut -c 1-12
}

command -v helm >/dev/null || PATH=$(scripts/tools.sh):$PATH
PYTHONPATH=tests .venv/bin/python -m e2e.kube
export TAG=${TAG:-e2e-$(digest)}
if [ "${MATTE_E2E_BUILD:-1}" != 0 ]; then TORCH=none scripts/images.sh --load; fi
exec .venv/bin/pytest --exitfirst -m e2e tests/e2e "$@"
