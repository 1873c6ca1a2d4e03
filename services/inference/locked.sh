#!/usr/bin/env bash
# Used by the Dockerfile: fills /opt/matte with what is locked. locked.sh cuda|cpu|none
set -euo pipefail
cd "$(dirname "$0")"
uv=/opt/build/bin/uv
$uv venv --quiet --python /usr/bin/python3.11 /opt/matte
case $1 in
  none) $uv pip sync --quiet --require-hashes inference.txt ;;
  cuda) $uv pip sync --quiet --require-hashes inference-torch.txt ;;
  cpu)
    # the same versions from torch's own index, whose files have other hashes; onnxruntime without CUDA; everything
    # else as locked
    without='^(torch|torchvision|triton|onnxruntime|onnxruntime-gpu|nvidia-[a-z0-9-]*|cuda-[a-z0-9-]*)=='
    awk -v without="$without" '/^[a-zA-Z0-9]/ { keep = $0 !~ without } keep' inference-torch.txt >rest.txt
    awk '/^[a-zA-Z0-9]/ { keep = /^onnxruntime==/ } keep' inference.txt >>rest.txt
    $uv pip sync --quiet --require-hashes rest.txt
    # shellcheck disable=SC2046 # two words are meant
    $uv pip install --quiet --no-deps --torch-backend cpu $(grep -oE '^(torch|torchvision)==[0-9.]+' inference-torch.txt)
    ;;
  *) echo "TORCH is cuda, cpu or none, not '$1'" >&2; exit 2 ;;
esac
