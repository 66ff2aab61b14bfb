#!/usr/bin/env bash
# All checks that read the source. Versions of the Go tools are pinned in tools/go.mod.
set -euo pipefail
cd "$(dirname "$0")/.."

failed=()
check() {
	local name=$1
	shift
	echo "lint: $name"
	"$@" || failed+=("$name")
}

formatted() {
	local files
	files=$(git ls-files --cached --others --exclude-standard '*.go' | xargs -r gofmt -l)
	[[ -z $files ]] || { echo "not as gofmt writes them:" && echo "$files" && return 1; }
}

vulnerabilities() {
	local out code=0
	out=$(go tool -modfile=tools/go.mod govulncheck ./... 2>&1) || code=$?
	echo "$out"
	# Without its database it checks nothing; that is not a finding.
	if [[ $code == 1 && $out == *"fetching vulnerabilities"* ]]; then
		echo "lint: govulncheck skipped: its database cannot be reached"
		return 0
	fi
	return "$code"
}

scripts() {
	if ! .cache/vm need shellcheck=shellcheck; then
		echo "lint: shellcheck skipped: it cannot be installed"
		return 0
	fi
	git ls-files --cached --others --exclude-standard -z '*.sh' .ci/run 'deploy/packaging/deb/*' 'deploy/packaging/rpm/*' | xargs -0 shellcheck
}

# Prose only: identifiers in Go code look like mistakes. "tha" and "nd" occur in ODP text, "inPort"
# in an example.
spelling() {
	if ! .cache/vm need codespell=codespell; then
		echo "lint: codespell skipped: it cannot be installed"
		return 0
	fi
	git ls-files --cached --others --exclude-standard -z '*.md' '*.yaml' '*.yml' '*.service' |
		xargs -0 codespell --ignore-words-list tha,nd,inport
}

mkdir -p .cache
go build -o .cache/vm ./test/vm
check gofmt formatted
check "go mod verify" go mod verify
check "go mod tidy" go mod tidy -diff
check "go vet" go vet ./...
check "go vet -tags lab,systemd" go vet -tags lab,systemd ./...
check staticcheck go tool -modfile=tools/go.mod staticcheck ./...
check "staticcheck -tags lab,systemd" go tool -modfile=tools/go.mod staticcheck -tags lab,systemd ./...
check govulncheck vulnerabilities
check shellcheck scripts
check codespell spelling

if ((${#failed[@]})); then
	printf 'lint: failed:'
	printf ' %s;' "${failed[@]}"
	echo
	exit 1
fi
echo "lint: clean"
