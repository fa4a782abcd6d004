#!/usr/bin/env bash
# Run tests as other processors would: fewer threads, smaller vectors, older instruction sets. One setting at a time.
#
#   tests/run_on_processors.sh [PYTEST ARGUMENTS]
#
# Without arguments: the tests without those marked slow. The interpreter is $PYTHON, `python` by default. Each library
# chooses its kernels by a variable of its own: ATen (torch's own operations), oneDNN (convolutions, packed linear
# layers) and MKL (other matrix products; its variable has no effect on processors that are not Intel's).
set -uo pipefail
cd "$(dirname "$0")/.."

settings=(
    "OMP_NUM_THREADS=1"
    "ATEN_CPU_CAPABILITY=default"
    "ATEN_CPU_CAPABILITY=avx2"
    "ONEDNN_MAX_CPU_ISA=AVX2"
    "MKL_ENABLE_INSTRUCTIONS=AVX2"
)
if [ $# -eq 0 ]; then
    set -- -m "not slow"
fi

failed=()
for setting in "${settings[@]}"; do
    echo "== $setting"
    env "$setting" "${PYTHON:-python}" -m pytest "$@" || failed+=("$setting")
done

if [ ${#failed[@]} -gt 0 ]; then
    echo "tests fail with: ${failed[*]}" >&2
    exit 1
fi
