#!/usr/bin/env bash
# Builds the release files from the tree that contains this script:
#
#   [ARCHES=amd64] tools/stage.sh OUT [tar] [deb] [rpm]
#
# OUT receives the programs for amd64 and arm64, or for ARCHES (which must include amd64), manual
# pages, completions and the copyright file, and then the requested archives and packages. The same
# commit and Go release give identical files, independent of place and time.
set -euo pipefail
umask 022
export LC_ALL=C TZ=UTC
out=$(mkdir -p "$1" && cd "$1" && pwd)
shift
arches=${ARCHES:-amd64 arm64}
cd "$(dirname "$0")/.."

# Everything that affects the output is set here, independent of the environment.
export CGO_ENABLED=0 GOOS=linux GOAMD64=v1 GOARM64=v8.0 GOEXPERIMENT='' GOFLAGS=''
# Without git (an unpacked archive) the date is that of the newest source file. In a linked
# worktree, where .git is a file, Go cannot determine the version either.
vcs=auto
if [[ -d .git ]] && git rev-parse --git-dir >/dev/null 2>&1; then
	vcs=true
	SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
else
	SOURCE_DATE_EPOCH=$(find cmd internal go.mod -type f -printf '%T@\n' | sort -n | tail -1 | cut -d. -f1)
fi
export SOURCE_DATE_EPOCH

for arch in $arches; do
	mkdir -p "$out/$arch"
	GOARCH=$arch go build -trimpath -buildvcs=$vcs -ldflags '-s -w' -o "$out/$arch/dpifd" ./cmd/dpifd
done
version=$(go version -m "$out/amd64/dpifd" | awk '$1 == "mod" { print $3 }')
if [[ $vcs == true && $version != v[0-9]* ]]; then
	echo "stage: built from git, the program has no version but '$version'" >&2
	exit 1
fi
echo "$version" >"$out/version"
rm -rf "$out/man" "$out/completions"
(
	# These run on this machine.
	unset GOOS
	go run -trimpath ./deploy/manual -out "$out" -version "$version"
	go run -trimpath ./deploy/copyright >"$out/copyright"
)
gzip -9n "$out"/man/*

archive() { # ARCH
	local name=dpifd-${version#v}-linux-$1 root
	root=$(mktemp -d)
	mkdir -p "$root/$name"
	cp "$out/$1/dpifd" "$out/copyright" LICENSE README.md CHANGELOG.md ARCHITECTURE.md CONTRIBUTING.md "$root/$name"
	cp -r configs deploy docs "$out/man" "$out/completions" "$root/$name"
	find "$root/$name" -name '*.go' -delete
	find "$root/$name/deploy" \( -name testdata -o -name packaging \) -prune -exec rm -r {} +
	find "$root/$name" -type d -empty -delete
	chmod -R a+rX "$root/$name"
	tar --create --directory "$root" --sort=name --format=gnu --owner=0 --group=0 --numeric-owner \
		--mtime="@$SOURCE_DATE_EPOCH" "$name" | gzip -9n >"$out/$name.tar.gz"
	rm -r "$root"
}

package() { # deb|rpm ARCH
	STAGE=$out ARCH=$2 VERSION=$package_version GOOS='' \
		go tool -modfile=tools/go.mod nfpm package --config deploy/packaging/nfpm.yaml --packager "$1" --target "$out/"
}

# Debian and RPM sort a part that begins with ~ before an empty one, as Go sorts what follows a
# dash: v1.2.3-rc1 is older than v1.2.3.
package_version=$(sed -e 's/^v//' -e 's/-/~/' -e 's/-/./g' <<<"$version")
[[ $package_version == [0-9]* ]] || package_version=0~devel
# In Debian's format (deb-changelog(5)), which packages require.
gzip -9n >"$out/changelog.gz" <<CHANGELOG
dpifd ($package_version) unstable; urgency=medium

  * Release $version.
  * The repository has the history.

 -- dpifd maintainers <maintainers@dpifd.invalid>  $(date --utc --rfc-email --date="@$SOURCE_DATE_EPOCH")
CHANGELOG
for kind; do
	for arch in $arches; do
		case $kind in
		tar) archive "$arch" ;;
		deb | rpm) package "$kind" "$arch" ;;
		*)
			echo "stage: cannot make '$kind'" >&2
			exit 2
			;;
		esac
	done
done
