SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

CACHE := .cache
VM := $(CACHE)/vm
# Tests of features that another kernel lacks are skipped; on the default kernel they fail.
STRICT := $(if $(LAB_KERNEL),,-env DPIFD_LAB_STRICT=1)
TESTFLAGS ?=
# Without TESTFLAGS the tests of test/kernel run twice: with dispatch per vport and per CPU.
DISPATCH ?= $(if $(TESTFLAGS),per-vport,both)
DISPATCHES_per-vport :=
DISPATCHES_per-cpu = -env DPIFD_LAB_DISPATCH=per-cpu -skip '$(DISPATCHSKIP)'
DISPATCHES_both = -also ./test/kernel:DPIFD_LAB_DISPATCH=per-cpu -also-skip '$(DISPATCHSKIP)'
# Slow tests that run with dispatch per vport only, since forwarding depends on the key
# of a packet, not on the socket of its upcall: tunnels (one test runs with both), VLANs
# (one test runs with both), static flows over learning, a full MAC table, the flow
# limit, the aging of MACs, a change of the stages of flows and many reloads of the policy.
DISPATCHSKIP ?= TestVLANMatrix|TestTunnelsBetween|TestTunnelAgainst|TestTunnelTakesOver|TestTunnelDevices|TestFoundTunnel|TestStaticFlowsOver|TestRandomSources|TestFlowLimitAdapts|TestMACAging|TestThousandReloads|TestStagesChange
# Without STAGES daemons of kernel-test choose the number of stages of flows, unless the test sets it.
STAGES ?=
KERNELS ?=
# A subset of systemd-test does not need the packages.
PACKAGES ?= $(if $(TESTFLAGS),,bin/packages)
FUZZTIME ?= 10s
BENCHFLAGS ?= -rounds 5
BENCHADD := -add bin/dpifd:/usr/bin/dpifd -add bin/floor:/usr/bin/floor -add bin/bench:/usr/bin/bench
SCALEFLAGS ?=
SOAKTIME ?= 10m
SOAKSEED ?= 0
SOAKDISPATCH ?=
SOAKLOG ?= $(CACHE)/soak
# Time for which kernel-test runs soak after the tests, in the same VM; empty to skip it.
THENSOAK ?=

.PHONY: help build docs dist deb rpm sample-log test unit kernel-test systemd-test kernels demo lint soak stress mutants fuzz bench bench-programs bench-count bench-parts scale microbench clean FORCE

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z -]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  KERNELS selects series for kernels (default all), such as KERNELS=6.12."
	@echo "  LAB_KERNEL=bzImage [LAB_MODULES=/lib/modules/VERSION] runs demo and kernel-test on another kernel."
	@echo "  SOAKTIME, SOAKSEED, SOAKDISPATCH and SOAKLOG are parameters of soak, such as SOAKTIME=1h SOAKSEED=7 SOAKDISPATCH=per-cpu SOAKLOG=/tmp/soak."
	@echo "  BENCHFLAGS are flags of bench, such as BENCHFLAGS='-rounds 1 -loads 2k,5k'."
	@echo "  SCALEFLAGS are flags of scale, such as SCALEFLAGS='-ports 2,128 -flows 10000 -within 10m'."
	@echo "  TESTFLAGS adds flags to unit, kernel-test and systemd-test, such as TESTFLAGS='-run TestReload'."
	@echo "  PACKAGES=bin/packages makes systemd-test build the packages even if TESTFLAGS is set; TestDebianPackage needs them."
	@echo "  THENSOAK=1m makes kernel-test run soak afterwards, in the same VM."
	@echo "  DISPATCH is per-vport, per-cpu or both (without TESTFLAGS) for kernel-test; DISPATCHSKIP= skips no test with dispatch by CPU."
	@echo "  STAGES=two makes daemons of kernel-test have flows in two stages, except in tests that set flows.stages."

build: ## static binary bin/dpifd
	CGO_ENABLED=0 go build -trimpath -buildvcs=auto -ldflags '-s -w' -o bin/dpifd ./cmd/dpifd

dist: $(VM) ## archives and packages of the last commit in dist/, built twice and compared
	$(VM) need lintian=lintian rpm=rpm
	tools/dist.sh dist
	tools/check-packages.sh dist

deb rpm: $(VM) ## packages of the working tree for amd64 and arm64, in bin/deb or bin/rpm
	$(VM) need lintian=lintian rpm=rpm
	rm -rf bin/$@
	tools/stage.sh bin/$@ $@
	tools/check-packages.sh bin/$@

test: ## all tests, and a minute of soak: unit, kernel-test and systemd-test beside each other (12 minutes)
	tools/test.sh

unit: $(VM) ## unit tests with -race; no privilege, no network
	$(VM) need gcc=gcc,libc6-dev systemd-analyze=systemd tshark=tshark \
		mandoc=mandoc man=man-db dh_bash-completion=bash-completion zsh=zsh fish=fish \
		mtail=mtail promtool=prometheus jq=jq chromium=chromium
	# lint vets.
	CGO_ENABLED=1 go test -race -vet=off -timeout 30m $(TESTFLAGS) ./...
	# The race detector allocates, so test without it that the packet path does not. Each benchmark
	# runs once to show that it works.
	go test -vet=off -run Alloc -bench . -benchtime 1x $(TESTFLAGS) \
		$$(grep -lrE '^func (Benchmark|Test\w*Alloc)' --include='*_test.go' ./cmd ./deploy ./internal ./test | xargs -n1 dirname | sort -u)
	# Random rounds with a new seed. A failure prints the seed, which reproduces it.
	go test -count=1 -v -run '^(TestDifferential|TestAtRest)$$' $(TESTFLAGS) ./internal/forward -model.time=20s

kernel-test: build $(if $(THENSOAK),bin/soak) $(VM) ## tests with build tag lab in one lab VM; DISPATCH applies to test/kernel
	$(if $(THENSOAK),mkdir -p $(SOAKLOG))
	$(VM) test $(STRICT) -memory 2048 -timeout 30m -add bin/dpifd:/usr/bin/dpifd \
		-add docs/LOGS.md:/usr/share/doc/dpifd/LOGS.md -add README.md:/usr/share/doc/dpifd/README.md \
		$(if $(STAGES),-env DPIFD_LAB_STAGES=$(STAGES)) \
		$(DISPATCHES_$(DISPATCH)) $(if $(THENSOAK),-add bin/soak:/usr/bin/soak -then 'soak -time $(THENSOAK) -seed $(SOAKSEED)' -get /tmp/soak:$(SOAKLOG)) \
		$(TESTFLAGS) $(if $(filter per-cpu,$(DISPATCH)),./test/kernel,./...)

systemd-test: build $(PACKAGES) $(VM) ## tests with build tags lab and systemd, including the Debian package, in one lab VM under systemd
	$(VM) test -systemd $(STRICT) -memory 2048 -timeout 20m -add bin/dpifd:/usr/sbin/dpifd \
		-env DPIFD_LOGS=/lab/LOGS.md -add docs/LOGS.md:/lab/LOGS.md \
		-add deploy/systemd/dpifd.service:/lib/systemd/system/dpifd.service \
		-add deploy/systemd/dpifd@.service:/lib/systemd/system/dpifd@.service \
		-add deploy/systemd/dpifd-netns.conf:/lab/dpifd-netns.conf \
		-add deploy/sysusers.d/dpifd.conf:/usr/lib/sysusers.d/dpifd.conf \
		-add deploy/modules-load.d/openvswitch.conf:/usr/lib/modules-load.d/dpifd.conf \
		-add test/systemd/image/etc:/etc -add deploy/monitoring:/usr/share/doc/dpifd/deploy/monitoring \
		-add deploy/mtail/dpifd.mtail:/usr/share/doc/dpifd/deploy/mtail/dpifd.mtail \
		-add deploy/prometheus/dpifd.rules.yml:/usr/share/doc/dpifd/deploy/prometheus/dpifd.rules.yml \
		$(if $(PACKAGES),-add bin/packages/old.deb:/lab/packages/old.deb -add bin/packages/new.deb:/lab/packages/new.deb) \
		-last ./test/packages $(TESTFLAGS) ./...

# Two versions of the Debian package. The second differs in two files.
bin/packages: FORCE
	rm -rf $@
	ARCHES=amd64 tools/stage.sh $@ deb
	mv $@/*_amd64.deb $@/old.deb
	dpkg-deb --raw-extract $@/old.deb $@/next
	sed -i 's/^Version: .*/&+next/' $@/next/DEBIAN/control
	echo '# another default' >>$@/next/etc/dpifd/dpifd.yaml
	dpkg-deb --build --root-owner-group $@/next $@/new.deb

sample-log: build $(VM) ## log of an eventful run in the lab VM, for the tests of log-reading tools
	mkdir -p deploy/mtail/testdata
	$(VM) test -timeout 5m -env DPIFD_LOG_DIR=/tmp/log -get /tmp/log:deploy/mtail/testdata -add bin/dpifd:/usr/bin/dpifd \
		-add docs/LOGS.md:/usr/share/doc/dpifd/LOGS.md -run '^TestEventfulLog$$' ./test/kernel

kernels: build $(VM) ## demo and kernel-test on each kernel that Debian offers here; writes docs/KERNELS.md
	tools/kernels.sh $(KERNELS)

demo: build $(VM) ## dpifd between two namespaces in the lab VM
	$(VM) run -timeout 2m \
		-add bin/dpifd:/usr/bin/dpifd \
		-add test/demo/dpifd.yaml:/etc/dpifd/dpifd.yaml \
		-add test/demo/demo.sh:/lab/demo.sh \
		-- sh /lab/demo.sh

docs: ## generate the lists in docs/ and the mtail program from the code
	go test ./internal/daemon -run 'Docs|Schema' -update
	go run ./deploy/mtail >deploy/mtail/dpifd.mtail.new && mv deploy/mtail/dpifd.mtail.new deploy/mtail/dpifd.mtail

lint: ## gofmt, go.mod, vet, staticcheck, govulncheck, shellcheck, codespell
	tools/lint.sh

bin/soak: FORCE
	CGO_ENABLED=0 go build -trimpath -tags lab -o $@ ./test/soak

soak: build bin/soak $(VM) ## load, churn, reloads and restarts at random for SOAKTIME (10m); the log goes to SOAKLOG
	mkdir -p $(SOAKLOG)
	# Two adjacent durations are added.
	$(VM) run -timeout $(SOAKTIME)10m -add bin/dpifd:/usr/bin/dpifd -add bin/soak:/usr/bin/soak \
		-add docs/LOGS.md:/usr/share/doc/dpifd/LOGS.md -get /tmp/soak:$(SOAKLOG) \
		-- soak -time $(SOAKTIME) -seed $(SOAKSEED) $(if $(SOAKDISPATCH),-dispatch $(SOAKDISPATCH))

stress: ## 10 million messages through small rings
	DPIFD_STRESS_MESSAGES=10000000 go test -count=1 -timeout 60m -v ./internal/mmapring/...

mutants: ## insert faults into the ring reader; tests must detect them
	internal/mmapring/mutants.sh

fuzz: ## each fuzz test for FUZZTIME (10s)
	@for package in $$(go list ./...); do \
		for name in $$(go test -list '^Fuzz' "$$package" | grep '^Fuzz' || true); do \
			echo "$$package $$name"; \
			go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x "$$package"; \
		done; \
	done

bench-programs: build $(VM)
	$(VM) need gcc=gcc,libc6-dev
	gcc -static -O2 -Wall -Wextra -o bin/floor test/bench/floor/floor.c
	CGO_ENABLED=0 go build -o bin/bench ./test/bench/run

bench: bench-programs ## dpifd, ovs-vswitchd and the floor under the same loads; writes docs/PERFORMANCE.md
	before=$$(cut -d ' ' -f 1 /proc/loadavg); \
	$(VM) run -timeout 30m $(BENCHADD) -get /tmp/results:$(CACHE)/bench -- bench -out /tmp/results/run.json $(BENCHFLAGS); \
	go run ./test/bench/report -in $(CACHE)/bench/run.json -load "$$before, $$(cut -d ' ' -f 1 /proc/loadavg)"

bench-count: bench-programs ## the same on one CPU, with time counted in instructions; prints figures that do not depend on the host
	LAB_ACCEL=icount $(VM) run -cpus 1 -timeout 60m $(BENCHADD) -- bench $(BENCHFLAGS)

bench-parts: bench-programs ## cost of receiving, executing and putting a flow, in instructions, compared with dpifd and ovs-vswitchd
	LAB_ACCEL=icount $(VM) run -cpus 1 -timeout 60m $(BENCHADD) -- bench -rounds 1 -loads 2k,5k,unknown \
		-switches floor-receive,floor-execute,floor,dpifd,ovs-vswitchd $(BENCHFLAGS)

scale: build $(VM) ## dpifd and ovs-vswitchd with growing numbers of ports and flows; writes docs/SCALE.md
	CGO_ENABLED=0 go build -o bin/bench ./test/bench/run
	rm -f $(CACHE)/bench/scale.json
	# Report the measurements also after a failure.
	before=$$(cut -d ' ' -f 1 /proc/loadavg); status=0; \
	$(VM) run -timeout 45m -memory 4096 -add bin/dpifd:/usr/bin/dpifd -add bin/bench:/usr/bin/bench \
		-get /tmp/results:$(CACHE)/bench -- bench -scale -rounds 1 -out /tmp/results/scale.json $(SCALEFLAGS) || status=$$?; \
	go run ./test/bench/report -scale -in $(CACHE)/bench/scale.json -doc docs/SCALE.md -plot docs/scale.svg -load "$$before, $$(cut -d ' ' -f 1 /proc/loadavg)"; \
	exit $$status

microbench: $(VM) ## Go benchmarks against other netlink libraries, as benchstat tables; recvmmsg against io_uring
	$(VM) need gcc=gcc,libc6-dev
	mkdir -p bin
	gcc -static -O2 -Wall -Wextra -o bin/uring test/bench/uring/uring.c
	bin/uring || echo "io_uring is not available here"
	mkdir -p $(CACHE)/bench
	go test -run '^$$' -bench 'Receive|Encode|Decode|Transact|Dump' -benchmem -count 6 -benchtime 0.2s ./internal/netlink > $(CACHE)/bench/netlink.txt
	cd tools && go tool benchstat -col /lib ../$(CACHE)/bench/netlink.txt
	go test -run '^$$' -bench . -benchmem -benchtime 0.2s $$(go list ./... | grep -v internal/netlink$$)

clean: ## remove what was built and fetched
	rm -rf bin dist $(CACHE)

$(VM): FORCE
	@mkdir -p $(CACHE)
	@go build -o $@ ./test/vm
