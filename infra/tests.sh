#!/usr/bin/env bash
# Run all tests. Those of real servers wait for servers most of the time, so they run beside the others; what they
# print comes at the end. Arguments go to pytest.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
NOTHING_SELECTED=5

mkdir -p build
set -m # a process group of its own, in which Ctrl-C is not ignored: then its servers are stopped
.venv/bin/pytest -o cache_dir=.pytest_cache/cluster -m cluster "$@" >build/cluster-tests.log 2>&1 &
beside=$!
set +m
trap 'kill -INT -- "-$beside" 2>/dev/null; wait "$beside"; exit 130' INT TERM
.venv/bin/pytest -m "not cluster" "$@"
others=$?
wait "$beside"
cluster=$?
cat build/cluster-tests.log
[ "$others" -ne "$NOTHING_SELECTED" ] || [ "$cluster" -ne "$NOTHING_SELECTED" ] || exit "$NOTHING_SELECTED"
for status in "$others" "$cluster"; do
  [ "$status" -eq 0 ] || [ "$status" -eq "$NOTHING_SELECTED" ] || exit "$status"
done
