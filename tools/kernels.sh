#!/usr/bin/env bash
# Runs the demo and the kernel tests on the kernels that Debian offers for this machine's release,
# the newest of each series, including backports. Writes docs/KERNELS.md. Arguments select series:
# tools/kernels.sh 6.12
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
# shellcheck disable=SC2016 # apt-get expands it
mirrors() { apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $1" | sort -u; }
key='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'
mkdir -p "$cache"/apt/{state/lists/partial,cache/archives/partial}
: >"$cache/apt/status"
{
	mirrors "$codename" | sed "s|.*|deb $key & $codename main\ndeb $key & $codename-backports main|"
	mirrors "$codename-security" | sed "s|.*|deb $key & $codename-security main|"
} >"$cache/apt/sources.list"
options=(-q -o "Dir::State=$cache/apt/state" -o "Dir::State::status=$cache/apt/status" -o "Dir::Cache=$cache/apt/cache"
	-o "Dir::Etc::sourcelist=$cache/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
	-o APT::Architecture=amd64 -o APT::Architectures=amd64 -o APT::Sandbox::User=root)
apt-get "${options[@]}" update >&2

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

# differs lists the tests that were skipped for a missing feature or failed.
differs() {
	awk '
		match($0, /^SKIP: .*kernel lacks /) {
			test = $3; sub(/:$/, "", test)
			reason = substr($0, RSTART + RLENGTH - length("kernel lacks "))
			if (!seen[test, reason]++) tests[reason] = tests[reason] (tests[reason] ? ", " : "") "`" test "`"
		}
		/^FAIL: / { failed[++n] = substr($0, 7) }
		END {
			for (reason in tests) { print "- " reason ": skipped " tests[reason] | "sort"; any = 1 }
			close("sort")
			for (i = 1; i <= n; i++) print "- failed: " failed[i]
			if (!any && !n) print "Nothing is skipped."
		}'
}

rows=() details='' status=0
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
	demo=passed
	make demo >"$cache/$release-demo.log" 2>&1 || demo=failed
	make kernel-test >"$cache/$release-test.log" 2>&1 || true
	tests=$(grep -E '^[0-9]+ passed, ' "$cache/$release-test.log" | tail -1 || echo 'did not end')
	[[ $demo == passed && $tests == *', 0 failed,'* ]] || status=1
	echo "kernels: $release: demo $demo; kernel tests: $tests"
	rows+=("| $release | $demo | $tests |")
	details+=$'\n'"## $release"$'\n\n'$(differs <"$cache/$release-test.log")$'\n'
done < <(newest)

{
	cat <<HEAD
# Kernels

For who wants to know whether dpifd was tested on a kernel like theirs. \`make kernels\` writes this page: it runs the demo
and the kernel tests on the newest kernel of each series that Debian offers for $codename, in the lab VM.

| kernel | demo | kernel tests |
|---|---|---|
HEAD
	printf '%s\n' "${rows[@]}"
	echo
	echo 'A test is skipped for what the kernel lacks, which is found by trying it. A line names what is missing, with the error that'
	echo 'trying it gave, and the tests that need it.'
	printf '%s' "$details"
} >"$doc"
exit "$status"
