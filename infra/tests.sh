#!/usr/bin/env bash
# Run all tests. Those of real servers wait for servers most of the time, so they run beside the others; what they
# print comes at the end. Both crowd the machine, and servers are killed and paused on it: what fails runs once more, and
# only what fails again, alone, is a failure. Arguments go to pytest.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
FAILURES=1 NOTHING_SELECTED=5

run() { # NAME ARGUMENTS...
  local pytest=(.venv/bin/pytest -o "cache_dir=.pytest_cache/$1" "${@:2}")
  "${pytest[@]}"
  local status=$?
  [ "$status" -eq "$FAILURES" ] || return "$status"
  echo "Once more, those that failed:"
  "${pytest[@]}" --last-failed --last-failed-no-failures none
}

mkdir -p build
run cluster -m cluster "$@" >build/cluster-tests.log 2>&1 &
beside=$!
run others -m "not cluster" "$@"
others=$?
wait "$beside"
cluster=$?
cat build/cluster-tests.log
for status in "$others" "$cluster"; do
  [ "$status" -eq 0 ] || [ "$status" -eq "$NOTHING_SELECTED" ] || exit "$status"
done
