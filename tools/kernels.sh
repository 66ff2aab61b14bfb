#!/usr/bin/env bash
# Runs the demo and the kernel tests on the kernels that Debian offers for this machine's release,
# including backports, and for the release before: the newest of each series. Writes
# docs/KERNELS.md from the logs of each series' last run. Arguments select series:
# tools/kernels.sh 6.12. The argument "page" writes the page without running anything.
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C MAKEFLAGS=''
cache=$(mkdir -p "${LAB_CACHE:-.cache/lab}/kernels" && cd "${LAB_CACHE:-.cache/lab}/kernels" && pwd)
doc=docs/KERNELS.md
meta=linux-image-cloud-amd64

# A separate apt state, which leaves the machine's unchanged and needs no privileges. It uses the
# machine's mirrors, and the backports of the first one.
# shellcheck source=/dev/null
codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
before=bullseye # the release before, for an older kernel
# shellcheck disable=SC2016 # apt-get expands it
mirrors() { apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $1" | sort -u; }
key='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'
mkdir -p "$cache"/apt/{state/lists/partial,cache/archives/partial}
: >"$cache/apt/status"
{
	mirrors "$codename" | sed "s|.*|deb $key & $codename main\ndeb $key & $codename-backports main\ndeb $key & $before main|"
	mirrors "$codename-security" | sed "s|.*|deb $key & $codename-security main\ndeb $key & $before-security main|"
} >"$cache/apt/sources.list"
options=(-q -o "Dir::State=$cache/apt/state" -o "Dir::State::status=$cache/apt/status" -o "Dir::Cache=$cache/apt/cache"
	-o "Dir::Etc::sourcelist=$cache/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
	-o APT::Architecture=amd64 -o APT::Architectures=amd64 -o APT::Sandbox::User=root)
[[ $* == page ]] || apt-get "${options[@]}" update >&2

# fetch VERSION unpacks a kernel and prints its directory.
fetch() {
	local package
	package=$(apt-cache "${options[@]}" show "$meta=$1" | sed -n 's/^Depends: \(linux-image-[^ ]*\) .*/\1/p')
	local dir=$cache/$package
	if [[ ! -d $dir ]]; then
		(cd "$cache" && apt-get "${options[@]}" download "$package=$1" >&2)
		rm -rf "$dir.part"
		dpkg-deb --extract "$cache/${package}"_*.deb "$dir.part"
		mv "$dir.part" "$dir"
	fi
	echo "$dir"
}

# newest prints the newest version of each series; apt-cache lists the newest first.
newest() {
	apt-cache "${options[@]}" madison "$meta" | awk '{ split($3, v, "."); series = v[1] "." v[2] } !seen[series]++ { print series, $3 }' | sort -V
}

# run runs the demo and the tests on a kernel, and keeps the logs and the result.
run() {
	local series=$1 release=$2 demo=passed tests
	rm -f "$cache/$release.result" # so that no run that is interrupted goes with an older result
	make demo >"$cache/$release-demo.log" 2>&1 || demo=failed
	make kernel-test >"$cache/$release-test.log" 2>&1 || true
	tests=$(grep -E '^[0-9]+ passed, ' "$cache/$release-test.log" | tail -1 || echo 'did not end')
	printf '%s|%s|%s|%s|%s|%s|%s\n' "$series" "$release" "$demo" "$tests" "${DISPATCH:-both}" "$(date -u +%F)" \
		"$(git describe --always --dirty)" >"$cache/$release.result"
	echo "kernels: $release: demo $demo; kernel tests: $tests"
	[[ $demo == passed && $tests == *', 0 failed,'* ]]
}

# results prints the last result of the newest kernel of each series.
results() {
	cat "$cache"/*.result | sort -t '|' -k 2,2rV | awk -F '|' '!seen[$1]++' | sort -t '|' -k 1,1V
}

# page writes the page.
page() {
	cat <<HEAD
# Kernels

For operators who want to know whether dpifd was tested on a kernel like theirs. \`make kernels\` writes this page: it
runs the demo and the kernel tests in the lab VM on the newest kernel of each series that Debian offers for $codename,
with its backports, and for $before. The tests find out by trying what a kernel lacks.
[README.md](../README.md#kernels) has the features by version.

| Kernel | Demo | Kernel tests | Dispatch | Date | Commit |
|---|---|---|---|---|---|
HEAD
	results | awk -F '|' '{ print "| " $2 " | " $3 " | " $4 " | " $5 " | " $6 " | " $7 " |" }'
	cat <<TEXT

Each section lists what the kernel lacks, what dpifd does without it, the error that trying it gives, and the tests that
were skipped, or skipped in part where a test covers more than the feature.
TEXT
	results | cut -d '|' -f 2 | while read -r release; do
		printf '\n## %s\n\n' "$release"
		awk -f tools/kernels.awk "$cache/$release-test.log"
	done
}

status=0
if [[ $* != page ]]; then
	while read -r series version; do
		if [[ $# -gt 0 && " $* " != *" $series "* ]]; then
			continue
		fi
		dir=$(fetch "$version")
		LAB_KERNEL=$(echo "$dir"/boot/vmlinuz-*)
		release=${LAB_KERNEL##*/vmlinuz-}
		LAB_MODULES=$dir/lib/modules/$release
		[[ -d $LAB_MODULES ]] || LAB_MODULES=$dir/usr/lib/modules/$release
		export LAB_KERNEL LAB_MODULES
		echo "kernels: $release"
		run "$series" "$release" || status=1
	done < <(newest)
fi
page >"$doc"
exit "$status"
