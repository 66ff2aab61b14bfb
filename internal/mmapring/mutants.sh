#!/bin/bash
# Breaks a copy of the code in one way after another, and runs the tests on each.
# A mutant that no test notices is a failure: the rule it breaks is not tested.
# usage: mutants.sh [NAME-PATTERN]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# name | file below internal/ | package below internal/ | perl expression that breaks it
mutants() {
	cat <<'LIST'
status without acquire order|mmapring/memory.go|mmapring|s/Status\(atomic\.LoadUint32\((r\.word\(i, offStatus\))\)\)/Status(*$1)/
status without release order|mmapring/memory.go|mmapring|s/atomic\.StoreUint32\((r\.word\(i, offStatus\)), uint32\(s\)\)/*$1 = uint32(s)/
length read before status|mmapring/reader.go|mmapring|s/switch r\.ring\.status\(r\.head\) \{/n := r.ring.length(r.head)\n\t\tswitch r.ring.status(r.head) {/; s/\n\t\t\tn := r\.ring\.length\(r\.head\)\n/\n/
length not checked|mmapring/reader.go|mmapring|s/case n > r\.ring\.room:/case n == 1<<32-1:/
length checked against the frame|mmapring/reader.go|mmapring|s/n > r\.ring\.room:/n > r.ring.geo.FrameSize:/
released when read|mmapring/reader.go|mmapring|s/(payload = r\.ring\.payload\(r\.head, n\))/$1\n\t\t\t\tr.ring.setStatus(r.head, Unused)/
newest released first|mmapring/reader.go|mmapring|s/r\.ring\.setStatus\(r\.tail, Unused\)/r.ring.setStatus((r.tail+r.held-1)%r.ring.frames, Unused)/
never released|mmapring/reader.go|mmapring|s/r\.ring\.setStatus\(r\.tail, Unused\)//
released as SKIP|mmapring/reader.go|mmapring|s/r\.ring\.setStatus\(r\.tail, Unused\)/r.ring.setStatus(r.tail, Skip)/
passed over and released out of turn|mmapring/reader.go|mmapring|s/r\.passed\[r\.head\] = !lent/r.passed[r.head] = !lent; if !lent { r.ring.setStatus(r.head, Unused) }/
RESERVED skipped|mmapring/reader.go|mmapring|s/(r\.waits\.Add\(1\)\n)\t+return nil, Waiting\n/$1/
COPY without recv|mmapring/reader.go|mmapring|s/r\.queued = true\n\t+return nil, Queued/r.copied.Add(1)/
COPY released after a failed recv|mmapring/reader.go|mmapring|s/r\.queued = true\n\t+return nil, Queued/r.hold(true)\n\t\t\treturn nil, Queued/
COPY without its turn|mmapring/reader.go|mmapring|s/if r\.m\.closed \|\| !r\.queued \{/if r.m.closed {/
aborted lent as a message|mmapring/reader.go|mmapring|s/case n == 0:/case n == 1<<31:/
aborted not passed|mmapring/reader.go|mmapring|s/r\.aborted\.Add\(1\)/r.aborted.Add(1); return nil, Empty/
foreign frame lent|mmapring/reader.go|mmapring|s/case r\.ring\.pid\(r\.head\) != 0:/case false:/
foreign COPY lent|mmapring/reader.go|mmapring|s/if r\.ring\.pid\(r\.head\) != 0 \{/if false {/
unknown status waited on|mmapring/reader.go|mmapring|s/r\.unknown\.Add\(1\)/r.unknown.Add(1); return nil, Empty/
more than half a ring lent|mmapring/reader.go|mmapring|s/r\.frames\/2\)/r.frames)/
overrun not counted|mmapring/reader.go|mmapring|s/func \(r \*Reader\) CountOverrun\(\) \{.*\}/func (r *Reader) CountOverrun() {}/
ready at a RESERVED frame|mmapring/reader.go|mmapring|s/return s != Unused && s != Reserved/return s != Unused/
ready for VALID only|mmapring/reader.go|mmapring|s/return s != Unused && s != Reserved/return s == Valid/
frame at i times frame size|mmapring/geometry.go|mmapring|s/return uint64\(i\/fpb\).*/_ = fpb\n\treturn uint64(i) * uint64(g.FrameSize)/
payload without the header|mmapring/memory.go|mmapring|s/\+ headerSize$/+ 20/m
payload with capacity|mmapring/memory.go|mmapring|s/r\.mem\[off : off\+uint64\(n\) : off\+uint64\(n\)\]/r.mem[off : off+uint64(n)]/
request words swapped|mmapring/geometry.go|mmapring|s/(PutUint32\(b\[4:\], )g\.Blocks/$1g.FrameSize/; s/(PutUint32\(b\[8:\], )g\.FrameSize/$1g.Blocks/
TX ring before RX ring|mmapring/mapping.go|mmapring|s/mem\[:rx:rx\]/mem[tx:rx+tx:rx+tx]/; s/mem\[rx:rx\+tx:rx\+tx\]/mem[:tx:tx]/
mmap one page more|mmapring/mapping.go|mmapring|s/int\(rx\+tx\),/int(rx+tx)+page,/
mmap at an offset|mmapring/mapping.go|mmapring|s/sys\.Mmap\(fd, 0,/sys.Mmap(fd, 4096,/
private mapping|mmapring/mapping.go|mmapring|s/unix\.MAP_SHARED/unix.MAP_PRIVATE/
rings kept after a failed mmap|mmapring/mapping.go|mmapring|s/freeRings\(sys, fd, cfg\.RX, cfg\.TX\)//
ring kept after a failed setsockopt|mmapring/mapping.go|mmapring|s/freeRings\(sys, fd, cfg\.RX, Geometry\{\}\)//
unmapped under lent frames|mmapring/mapping.go|mmapring|s/ \|\| m\.reader != nil && m\.reader\.lent > 0//
unmapped under a reserved frame|mmapring/mapping.go|mmapring|s/ \|\| m\.writer != nil && m\.writer\.reserved//
never unmapped|mmapring/mapping.go|mmapring|s/m\.sys\.Munmap\(mem\)/func([]byte) error { return nil }(mem)/
reader not waited for|mmapring/reader.go|mmapring|s/(\) Read\(\).*\{\n)\tr\.m\.mu\.Lock\(\)\n\tdefer r\.m\.mu\.Unlock\(\)\n/$1/
probe not kept|mmapring/probe.go|mmapring|s/p\.known\[d\] = .*/_ = errors.Is(err, unix.EPERM)/
probe keeps any failure|mmapring/probe.go|mmapring|s/p\.known\[d\] = .*/p.known[d] = err == nil || !errors.Is(err, unix.EMFILE)/
send with a base|mmapring/writer.go|mmapring|s/(w\.msg\.Iov = &w\.iov)/$1\n\tw.iov.Base = new(byte)/
broken TX not noticed|mmapring/writer.go|mmapring|s/case moved == 0 && errno == nil:\n\t+w\.broken = true\n\t+w\.takeBack\(\)\n\t+return n, ErrBroken/case moved == 0 \&\& errno == nil:\n\t\t\treturn n, nil/
broken TX not taken back|mmapring/writer.go|mmapring|s/(w\.broken = true\n)\t+w\.takeBack\(\)/$1/
not taken back after an error|mmapring/writer.go|mmapring|s/w\.takeBack\(\)(\n\t+return n, &OpError)/$1/
head not moved back|mmapring/writer.go|mmapring|s/w\.head = w\.tail\n//
too large a message committed|mmapring/writer.go|mmapring|s/ \|\| n > int\(w\.ring\.room\)//
frame in work handed out|mmapring/writer.go|mmapring|s/w\.ring\.status\(w\.head\) != Unused/false/
refused message counted as sent|mmapring/writer.go|mmapring|s/uint64\(moved - 1\)/uint64(moved)/
EINTR not tried again|mmapring/writer.go|mmapring|s/case errno == unix\.EINTR:\n//
COPY frame received without a recv|netlink/ring.go|netlink|s/errno := r\.receiveSlot\(b\); errno/errno := unix.Errno(0); errno/
ENOBUFS taken for the message|netlink/ring.go|netlink|s/(r\.countOverrun\(\)\n)\t+continue/$1/
ENOBUFS of a recv not counted|netlink/ring.go|netlink|s/\t\t\tr\.countOverrun\(\)\n//
COPY frame not counted off|netlink/ring.go|netlink|s/if !r\.ring\.Copied\(\) \{/if false {/
ERR ignored|netlink/receiver.go|netlink|s/errno, err := r\.kernel\.SoError\(r\.sock\.fd\)/errno, err := unix.Errno(0), error(nil)/
congestion not cleared by a poll|netlink/ring.go|netlink|s/_, err = r\.kernel\.Poll\(r\.sock\.fd\)//
no poll after overrun|upcall/ready.go|upcall|s/\th\.endCongestion\(\)\n//
no rescan at the bound|upcall/ready.go|upcall|s/for _, s := range h\.rings \{\n\t\t\ts\.congested = true\n\t\t\}//
no bound|upcall/ready.go|upcall|s/timeout = h\.rescan/timeout = -1/
error not taken|upcall/ready.go|upcall|s/ev\.Err && s\.SocketError\(\) != nil/ev.Err/
overrun not noted|upcall/ready.go|upcall|s/s\.SocketError\(\) != nil \{\n\t\t\ts\.congested = true/s.SocketError() != nil {/
empty batch keeps frames|upcall/answer.go|upcall|s/h\.in\.Release\(\) \/\/.*\n//
detach keeps frames|upcall/handler.go|upcall|s/h\.in\.Release\(\) +\/\/ a lent.*\n//
epoll each pass|upcall/ready.go|upcall|s/h\.unpolled < h\.maxUnpolled\(\)/false/
epoll never under load|upcall/ready.go|upcall|s/h\.unpolled < h\.maxUnpolled\(\)/true/
rings level-triggered|upcall/handler.go|upcall|s/add = h\.poller\.AddEdge.*//
linear edge-triggered|upcall/handler.go|upcall|s/add := h\.poller\.Add\n/add := h.poller.AddEdge\n/
edges are levels|epoll/poller.go|epoll|s/unix\.EPOLLIN \| unix\.EPOLLET/unix.EPOLLIN/
levels are edges|epoll/poller.go|epoll|s/(EPOLL_CTL_ADD, fd, &unix\.EpollEvent\{Events: unix\.EPOLLIN)(, Fd)/$1 | unix.EPOLLET$2/
marks not written|mmapring/remap.go|mmapring|s/r\.ring\.mark\(i\)//
marked read again|mmapring/reader.go|mmapring|s/case r\.ring\.marked\(r\.head\):/case false:/
marked COPY received again|mmapring/reader.go|mmapring|s/if !r\.ring\.marked\(r\.head\) \{/if true {/
COPY not marked|mmapring/reader.go|mmapring|s/r\.ring\.mark\(r\.head\).*//
mark left in a frame|mmapring/reader.go|mmapring|s/r\.ring\.unmark\(r\.tail\)//
head not searched|mmapring/remap.go|mmapring|s/r\.searching = true\n\tif f/if f/
search from one seen first|mmapring/remap.go|mmapring|s/\t\tif r\.ring\.status\(before\) == Unused \{/\t\tif true {/
full ring not searched again|mmapring/remap.go|mmapring|s/r\.searching, r\.lap = true, n/r.lap = 0/
head told amid a guess|mmapring/remap.go|mmapring|s/if r\.lap > 0 \|\| r\.lapped[^\n]*\{/if false {/
missing message waited for|netlink/ring.go|netlink|s/if r\.adopted \{/if false {/
sent before marked|upcall/answer.go|upcall|s/h\.in\.Mark\(\)//
head not in the store|transport/sockets.go|transport|s/err := s\.store\.setState\(sock, fds\[i\], states\[i\]\)/err := error(nil)/
old head left in the store|transport/store.go|transport|s/sock\.Transport\(\) == netlink\.Ring && sock\.stored != name/false \&\& netlink.Ring == 0/
any ring adopted|transport/inherited.go|transport|s/ \|\| !s\.rings\.fit\(in\.Receiver\)//; s/if in, ok := (s\.inherited\.sockets\[pids\[0\]\]; !ok)/if _, ok := $1/
adopted ring not counted|transport/inherited.go|transport|s/s\.rings\.used \+= ringBytes\(sock\)//
shed in small pieces|upcall/ready.go|upcall|s!h\.shedRing\(s\)!!
mixed as rings only|upcall/ready.go|upcall|s/return mixedPasses/return ringPasses/
no pause|upcall/ready.go|upcall|s/time\.Sleep\(min.*\)//
stop waits for ever|upcall/handler.go|upcall|s/ \|\| h\.fruitless == maxFruitless//
pauses without epoll|upcall/ready.go|upcall|s/ && h\.fruitless == 0 && !h/ \&\& !h/
detach without draining|upcall/handler.go|upcall|s/for h\.receive\(s, batchSize\) > 0 \{\n\t\th\.answer\(\)\n\t\}//
quota not shared|upcall/ready.go|upcall|s/quota = max\(minQuota.*//
heads not looked at|upcall/ready.go|upcall|s/if s\.Ready\(\) \{\n\t\t\th\.makeReady/if false {\n\t\t\th.makeReady/
memory not given back|transport/sockets.go|transport|s/(s\.load\[sock\.handler\]--\n)\ts\.rings\.used -= sock\.RingBytes\n/$1/
discard keeps memory|transport/sockets.go|transport|s/(sock\.Close\(\)\n)\t\t\ts\.rings\.used -= sock\.RingBytes\n/$1/
limit not kept|transport/rings.go|transport|s/r\.used\+size > /0 > /
TX beyond the limit|transport/rings.go|transport|s/r\.used\+g\.Bytes\(\)\+rx\.Bytes\(\) > /0*rx.Bytes() > /
TX not counted|transport/rings.go|transport|s/r\.used \+= g\.Bytes\(\)//
unaligned with rings|transport/rings.go|transport|s/if r\.noRX != nil && r\.used == 0 \{/if true {/
require ignored|transport/rings.go|transport|s/r\.noRX != nil && r\.cfg\.Mode == mmapring\.ModeRequire/false/
require ignored for a port|transport/sockets.go|transport|s/s\.rings\.cfg\.Mode == mmapring\.ModeRequire \&\& !running/mmapring.ModeAuto == \"\"/
given up unsaid|upcall/answer.go|upcall|s/h\.notify\(TXRingGivenUp.*\)//
large overtakes|netlink/txring.go|netlink|s/s\.kick\(\)\n\t\tif c\.tx == nil/if c.tx == nil/
last not kicked|netlink/txring.go|netlink|s/\ts\.kick\(\)\n\tif err := c/\tif err := c/
taken back and not sent|netlink/txring.go|netlink|s/\ts\.linear\(s\.filled\)\n\treturn false/\ts.committed = s.filled\n\treturn false/
broken not given up|netlink/txring.go|netlink|s/s\.c\.giveUpTX\(err\)//
given up but mapped|netlink/txring.go|netlink|s/err := c\.mapping\.Close\(\); err/err := error(nil); err/
refused counted|netlink/txring.go|netlink|s/n -= last\n/_ = n\n/
refused index off|netlink/txring.go|netlink|s/for i := s\.committed - messages; i < s\.committed;/for i := s.committed - messages + 1; i <= s.committed;/
refused unreported|netlink/txring.go|netlink|s/\t\t\ts\.failed\(i, errnoOf\(refused\.Err\)\)\n//
size not checked|netlink/txring.go|netlink|s/ && s\.b\.msgs\[next\]\.size <= len\(room\)-n//
one in a frame|netlink/txring.go|netlink|s/for next < s\.b\.Len\(\) &&/for next == s.filled \&\&/
last of a frame alone refused|netlink/txring.go|netlink|s/s\.fault\(err, last\)/s.fault(err, 1)/
frames taken for messages|netlink/txring.go|netlink|s/\t\t\tn \+= last\n/\t\t\tn++\n/
frames of the last send|netlink/txring.go|netlink|s/\tc\.packed = c\.packed\[:0\]\n//; s/\ts\.c\.packed = s\.c\.packed\[:0\]\n//
small TX frames|transport/rings.go|transport|s/rx\.FrameSize = max.*//
new ring polled|upcall/socket.go|upcall|s/congested: r\.TakenOver\(\)/congested: r.Transport() == netlink.Ring/
ring taken over not polled|upcall/socket.go|upcall|s/congested: r\.TakenOver\(\)/congested: false/
skip not skipped|netlink/txring.go|netlink|s/m\.head\+m\.skip:m\.end/m.head:m.end/
answers unread|netlink/txring.go|netlink|s/err := c\.failures\(s\.seq, b\.Len\(\), 0, failed\); s/err := error(nil); s/
seq off by committed|netlink/txring.go|netlink|s/s\.seq\+uint32\(s\.committed\)/s.seq/
TX not unmapped|netlink/conn.go|netlink|s/err = c\.mapping\.Close\(\)//
LIST
}

copy="$work/tree"
mkdir -p "$copy/internal"
cp "$root/go.mod" "$root/go.sum" "$copy/"
cp -r "$root/internal/." "$copy/internal/"

# noticed runs the package's tests, first without the race detector, which is
# faster. It says how the mutant was noticed, or fails.
noticed() {
	local package=$1
	cd "$copy"
	if ! go vet "./internal/$package" >"$work/vet" 2>&1 && ! go test -run '^$' "./internal/$package" >"$work/vet" 2>&1; then
		echo "does not compile"
	elif ! timeout 120 go test -count=1 -failfast -timeout 60s "./internal/$package" >"$work/out" 2>&1; then
		grep -m1 -oE -- '--- FAIL: [A-Za-z]+|panic: .*|SIG[A-Z]+|SIGSEGV' "$work/out" || echo failed
	elif ! timeout 240 go test -race -count=3 -failfast -timeout 180s "./internal/$package" >"$work/out" 2>&1; then
		grep -m1 -oE -- 'DATA RACE|--- FAIL: [A-Za-z]+|panic: .*' "$work/out" || echo failed
	else
		return 1
	fi
}

total=0 missed=0
while IFS='|' read -r name file package expression; do
	[[ $name == *${1:-}* ]] || continue
	total=$((total + 1))
	cp "$root/internal/$file" "$copy/internal/$file"
	perl -0pi -e "$expression" "$copy/internal/$file"
	if cmp -s "$root/internal/$file" "$copy/internal/$file"; then
		verdict="NOT APPLIED: the code has changed, the mutant must follow"
		missed=$((missed + 1))
	elif ! verdict=$(noticed "$package"); then
		verdict="NOT NOTICED"
		missed=$((missed + 1))
	elif [[ $verdict == "does not compile" ]]; then
		verdict="DOES NOT COMPILE: $(grep -m1 '\.go:' "$work/vet")"
		missed=$((missed + 1))
	fi
	printf '%-40s %s\n' "$name" "$verdict"
	cp "$root/internal/$file" "$copy/internal/$file"
done < <(mutants)
echo "$total mutants, $missed not noticed"
[[ $missed == 0 && $total -gt 0 ]]
