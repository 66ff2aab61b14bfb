#!/usr/bin/env bash
# Builds the archives and packages of the last commit in OUT, twice: in two directories, with two
# build caches, time zones and umasks. Fails unless both results are identical.
set -euo pipefail
out=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")/.."
if [[ -n $(git status --porcelain) ]]; then
	echo "dist: the tree has changes that are not committed; they are left out" >&2
fi
commit=$(git rev-parse HEAD)
work=$(mktemp -d)
# The module cache is shared, since modules are verified by their hashes; a shared build cache would
# pass the results of the first build to the second.
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

for tree in "$work/first" "$work/another/folder/second"; do
	git clone --quiet --no-checkout . "$tree"
	git -C "$tree" checkout --quiet --detach "$commit"
done
(umask 022 && TZ=UTC "$work/first/tools/stage.sh" "$work/out1" tar deb rpm)
(umask 077 && TZ=Pacific/Auckland GOCACHE=$work/cache GOFLAGS=-buildvcs=false \
	"$work/another/folder/second/tools/stage.sh" "$work/out2" tar deb rpm)

sums() { (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum); }
if ! diff <(sums "$work/out1") <(sums "$work/out2"); then
	echo "dist: two builds of one commit differ" >&2
	exit 1
fi
version=$(<"$work/out1/version")
if [[ $version != *"${commit:0:12}"* && -z $(git tag --points-at "$commit") ]]; then
	echo "dist: version $version does not say the commit" >&2
	exit 1
fi
if ! "$work/out1/amd64/dpifd" version | grep -qF "$version"; then
	echo "dist: the program does not say version $version" >&2
	exit 1
fi
rm -f "$out"/dpifd*.tar.gz "$out"/dpifd*.deb "$out"/dpifd*.rpm
cp "$work/out1"/dpifd* "$out"
(cd "$out" && sha256sum dpifd* | tee SHA256SUMS)
echo "dist: $version, built twice with the same result, in $out"
