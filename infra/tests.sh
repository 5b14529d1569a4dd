#!/usr/bin/env bash
# Run all tests. Those of real servers wait for servers most of the time, so they run beside the others; what they
# print comes at the end. Arguments go to pytest.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
NOTHING_SELECTED=5

mkdir -p build
.venv/bin/pytest -m cluster -o cache_dir=.pytest_cache/cluster "$@" >build/cluster-tests.log 2>&1 &
beside=$!
.venv/bin/pytest -m "not cluster" "$@"
others=$?
wait "$beside"
cluster=$?
cat build/cluster-tests.log
for status in "$others" "$cluster"; do
  [ "$status" -eq 0 ] || [ "$status" -eq "$NOTHING_SELECTED" ] || exit "$status"
done
