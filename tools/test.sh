#!/usr/bin/env bash
# Runs all tests: those in the VMs, one VM after the other, and in parallel the unit tests, which
# use the CPU that the VMs leave, since the VMs mostly wait for timers. `make unit`, `make
# kernel-test` and `make systemd-test` run them separately.
set -euo pipefail
cd "$(dirname "$0")/.."
log=.cache/unit.log
mkdir -p .cache
make .cache/vm # build it once, before two of them need it

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
# Stop the unit tests if this script is interrupted.
trap 'kill "$unit" 2>/dev/null || true' EXIT

took kernel-test make kernel-test THENSOAK=1m
took systemd-test make systemd-test
echo "test: unit tests, which ran in parallel:"
wait "$unit" || failed+=(unit)
trap - EXIT
cat "$log"
if [[ ${#failed[@]} -gt 0 ]]; then
	echo "test: failed: ${failed[*]}" >&2
	exit 1
fi
