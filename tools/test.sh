#!/usr/bin/env bash
# Runs all tests: two lanes of virtual machines, and the unit tests, which use only the CPU that the
# VMs leave. In each lane one VM follows the other. The kernel tests that measure load come first in
# their VM, so that those of the two lanes run at different times.
set -meuo pipefail # a process group for each lane
cd "$(dirname "$0")/.."
mkdir -p .cache
rm -f .cache/test-*.failed
built=(.cache/vm build bin/soak bin/packages)
make "${built[@]}" # once: later each lane takes them as they are
.cache/vm fetch

# part NAME COMMAND... runs a part of the tests, each line of its output after its name.
part() {
	local name=$1 start=$SECONDS
	shift
	"$@" 2>&1 | sed -u "s/^/$name: /" || touch ".cache/test-$name.failed"
	echo "test: $name took $((SECONDS - start)) s"
}
vm() { make "${built[@]/#/--assume-old=}" "$@"; }

(
	part systemd-test vm systemd-test
	part per-cpu vm kernel-test DISPATCH=per-cpu THENSOAK=1m
) &
(part per-vport vm kernel-test DISPATCH=per-vport) &
# Its output comes at the end, where what failed is found.
(part unit chrt --idle 0 make unit) >.cache/unit.log &
# Stop the lanes if this script is interrupted.
trap 'jobs -p | sed s/^/-/ | xargs -r kill -- 2>/dev/null || true' EXIT
wait
trap - EXIT
cat .cache/unit.log
failed=$(find .cache -maxdepth 1 -name 'test-*.failed' -printf '%f\n' | sort)
if [[ -n $failed ]]; then
	sed 's/^test-/test: failed: /; s/\.failed$//' <<<"$failed" >&2
	exit 1
fi
