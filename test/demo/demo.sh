#!/bin/sh
# The demonstration inside the lab VM: two namespaces, a datapath between them, and dpifd as its
# userspace. It fails if a ping or an upcall was lost.
set -eu

config=/etc/dpifd/dpifd.yaml
log=/var/log/dpifd.json
pings=20

say() { printf '\n== %s\n' "$*"; }

fail() {
	printf '\nDEMO FAILED: %s\n' "$*"
	if [ -s "$log" ]; then
		echo "the end of dpifd's log:"
		tail -n 20 "$log"
	fi
	exit 1
}

# event NAME: print the last log line of an event.
event() { grep "\"event\":\"$1\"" "$log" | tail -n 1; }

# field NAME: extract a number from a log line on standard input.
field() { sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p"; }

# running: dpifd exists and is not a zombie.
running() { grep -q '^State:[[:space:]]*[^Z]' "/proc/$dpifd/status" 2>/dev/null; }

# await SECONDS COMMAND...: wait until the command succeeds.
await() {
	left=$(($1 * 10))
	shift
	until "$@" >/dev/null 2>&1; do
		left=$((left - 1))
		[ "$left" -gt 0 ] || return 1
		sleep 0.1
	done
}

say "two namespaces: left (10.0.0.1, fd00::1) -- va [dp0] vb -- right (10.0.0.2, fd00::2)"
plug() {
	ip netns add "$1"
	ip link add "$2" type veth peer name eth0 netns "$1"
	ip -n "$1" address add "10.0.0.$3/24" dev eth0
	ip -n "$1" address add "fd00::$3/64" dev eth0 nodad
	ip -n "$1" link set eth0 up
	ip link set "$2" up
	echo "  $1: eth0 $(ip netns exec "$1" cat /sys/class/net/eth0/address), peer $2"
}
plug left va 1
plug right vb 2
# The kernel activates a new link's queue up to a second after it came up, and drops packets sent
# before.
active() { [ "$(cat /sys/class/net/va/operstate /sys/class/net/vb/operstate | sort -u)" = up ]; }
await 5 active || fail "the links did not come up"

say "dpifd run --config $config"
sed 's/^/  /' "$config"
dpifd run --config "$config" 2>"$log" >&2 &
dpifd=$!
ready_or_gone() { grep -q '"event":"ready"' "$log" || ! running; }
await 20 ready_or_gone || fail "dpifd did not say that it is ready"
running || fail "dpifd ended before it was ready"

say "ping across"
for addr in 10.0.0.2 fd00::2; do
	ip netns exec left ping -n -c "$pings" -i 0.1 -W 5 "$addr" >/tmp/ping || true
	grep -A 1 'packets transmitted' /tmp/ping | sed "s/^/  $addr: /"
	grep -q " $pings received" /tmp/ping || fail "pings to $addr were lost"
done

# Without a listener no packet may arrive, as it would count as lost.
ip -n left link set eth0 down
ip -n right link set eth0 down
kill -TERM "$dpifd"
gone() { ! running; }
await 5 gone || fail "dpifd did not stop within 5 s of SIGTERM"
wait "$dpifd" || fail "dpifd exited with $?"

say "dpifd's log"
# Turn {"level":"INFO","ts":"...","event":"ready","datapath":"dp0","ports":2} into INFO ready
# ports=2; show only the first counters of stats.
sed -e 's/"ts":[^,]*,//' -e 's/"level":"\([A-Za-z]*\)",/\1 /' -e 's/"event":"\([a-z_]*\)"/\1/' \
	-e 's/,"datapath":"dp0"//' -e 's/"\([a-z_0-9]*\)":/\1=/g' -e 's/[{}"]//g' -e 's/,/ /g' \
	-e 's/\( stats .* flows=[0-9]*\) .*/\1 .../' -e 's/^/  /' "$log"

# Run ovs-dpctl only now, as it changes the features of the datapath.
say "ovs-dpctl dump-flows dp0: what dpifd left in the kernel"
ovs-dpctl dump-flows dp0 2>/dev/null >/tmp/flows || fail "ovs-dpctl dump-flows failed"
sed 's/^/  /' /tmp/flows
[ -s /tmp/flows ] || fail "dpifd installed no flow"

say "ovs-dpctl show dp0"
ovs-dpctl show dp0 2>/dev/null >/tmp/show || fail "ovs-dpctl show failed"
sed 's/^/  /' /tmp/show
lookups=$(grep -o 'hit:[0-9]* missed:[0-9]* lost:[0-9]*' /tmp/show)
lost=${lookups##*lost:}
said=$(event stopped | field lost)
[ "$lost" = 0 ] || fail "the kernel lost $lost upcalls"
[ "$said" = 0 ] || fail "dpifd says that it lost ${said:-(nothing about it)}"

printf '\nDEMO PASSED: %s of %s pings answered; %s; %s flows\n' \
	"$((2 * pings))" "$((2 * pings))" "$lookups" "$(wc -l </tmp/flows)"
