#!/usr/bin/env bash
# Run all tests. Those of real servers wait for servers most of the time, so they run beside the others; what they
# print comes at the end. Both crowd the machine, and servers are killed and paused on it: what fails runs once more, and
# only what fails again, alone, is a failure. Arguments go to pytest.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
FAILURES=1 NOTHING_SELECTED=5

tests() { # GROUP ARGUMENTS...
  .venv/bin/pytest -o "cache_dir=.pytest_cache/$1" "${@:2}"
}

again() { # STATUS GROUP ARGUMENTS...: what is left of a status once those that failed have run alone
  [ "$1" -eq "$FAILURES" ] || return "$1"
  echo "Once more, those that failed:"
  tests "${@:2}" --last-failed --last-failed-no-failures none || return "$FAILURES"
}

mkdir -p build
set -m # a process group of its own, in which Ctrl-C is not ignored: then its servers are stopped
tests cluster -m cluster "$@" >build/cluster-tests.log 2>&1 &
beside=$!
set +m
trap 'kill -INT -- "-$beside" 2>/dev/null; wait "$beside"; exit 130' INT TERM
tests others -m "not cluster" "$@"
others=$?
wait "$beside"
cluster=$?
cat build/cluster-tests.log
[ "$others" -ne "$NOTHING_SELECTED" ] || [ "$cluster" -ne "$NOTHING_SELECTED" ] || exit "$NOTHING_SELECTED"
again "$others" others -m "not cluster" "$@"
others=$?
again "$cluster" cluster -m cluster "$@"
cluster=$?
for status in "$others" "$cluster"; do
  [ "$status" -eq 0 ] || [ "$status" -eq "$NOTHING_SELECTED" ] || exit "$status"
done
