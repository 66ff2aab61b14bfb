#!/usr/bin/env bash
# All tests: those in the VMs, one VM after the other, and beside them the unit
# tests, which compile for long and take the CPU that the VMs leave: these mostly
# wait for timers. Measured by itself each is `make unit`, `make kernel-test` and
# `make systemd-test`.
set -euo pipefail
cd "$(dirname "$0")/.."
log=.cache/unit.log
mkdir -p .cache
make .cache/vm # before two of them build it

failed=()
took() { # NAME COMMAND...
	local name=$1 start=$SECONDS
	shift
	"$@" || failed+=("$name")
	echo "test: $name took $((SECONDS - start)) s"
}

# shellcheck disable=SC2016 # the inner shell expands these
nice -n 15 bash -c 'start=$SECONDS; make unit || exit; echo "test: unit took $((SECONDS - start)) s"' >"$log" 2>&1 &
unit=$!
# The tests of an interrupted run do not go on.
trap 'kill "$unit" 2>/dev/null || true' EXIT

took kernel-test make kernel-test THENSOAK=1m
took systemd-test make systemd-test
echo "test: unit, which has run beside:"
wait "$unit" || failed+=(unit)
trap - EXIT
cat "$log"
if [[ ${#failed[@]} -gt 0 ]]; then
	echo "test: failed: ${failed[*]}" >&2
	exit 1
fi
