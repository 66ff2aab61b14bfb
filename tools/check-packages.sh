#!/usr/bin/env bash
# Checks the packages in a directory: Debian's with lintian, RPM's with rpm.
set -euo pipefail
shopt -s nullglob
cd "$1"
failed=0
complain() {
	echo "packages: $*" >&2
	failed=1
}

# The common paths of the packages; differences are added below.
paths=(
	/etc/dpifd/dpifd.yaml
	/usr/lib/modules-load.d/dpifd.conf
	/usr/lib/sysusers.d/dpifd.conf
	/usr/sbin/dpifd
	/usr/share/bash-completion/completions/dpifd
	/usr/share/doc/dpifd/README.md
	/usr/share/doc/dpifd/docs/LOGS.md
	/usr/share/doc/dpifd/copyright
	/usr/share/doc/dpifd/deploy/mtail/dpifd.mtail
	/usr/share/doc/dpifd/deploy/prometheus/dpifd.rules.yml
	/usr/share/fish/vendor_completions.d/dpifd.fish
	/usr/share/man/man5/dpifd.yaml.5.gz
	/usr/share/man/man8/dpifd-run.8.gz
	/usr/share/man/man8/dpifd.8.gz
)

has() { # PACKAGE LIST PATH...
	local package=$1 list=$2 path
	shift 2
	for path; do
		grep -qxF -- "$path" <<<"$list" || complain "$package has no $path"
	done
}

packages=(*.deb *.rpm)
((${#packages[@]})) || complain "none in $1"
for deb in *.deb; do
	lintian --no-cfg --fail-on error,warning --tag-display-limit 0 --allow-root "$deb" || complain "lintian: $deb"
	has "$deb" "$(dpkg-deb --fsys-tarfile "$deb" | tar --list | sed 's/^\.//')" "${paths[@]}" \
		/lib/systemd/system/dpifd.service /lib/systemd/system/dpifd@.service /usr/share/zsh/vendor-completions/_dpifd
	[[ $(dpkg-deb --info "$deb" conffiles) == /etc/dpifd/dpifd.yaml ]] || complain "$deb: conffiles"
done
for rpm in *.rpm; do
	rpm --query --package --quiet "$rpm" || complain "rpm: $rpm"
	has "$rpm" "$(rpm --query --list --package "$rpm")" "${paths[@]}" \
		/usr/lib/systemd/system/dpifd.service /usr/lib/systemd/system/dpifd@.service /usr/share/zsh/site-functions/_dpifd /usr/share/licenses/dpifd/LICENSE
	# Bit 0 is config, bit 4 noreplace (rpm 4.18, rpmfiles.h).
	[[ $(rpm --query --package --queryformat '[%{FILENAMES} %{FILEFLAGS}\n]' "$rpm" | awk '$2 != 0') == "/etc/dpifd/dpifd.yaml 17" ]] ||
		complain "$rpm: configuration files"
	for part in POSTIN PREUN POSTUN; do
		script=$(rpm --query --package --queryformat "%{$part}" "$rpm")
		if [[ $script != *systemctl* ]] || ! sh -n <<<"$script"; then
			complain "$rpm: scriptlet $part"
		fi
	done
done
((failed)) || echo "packages: ${#packages[@]} are as they should be"
exit "$failed"
