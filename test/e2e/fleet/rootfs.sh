#!/bin/sh
# Makes the root file system that every host of one Debian release starts from.
# usage: rootfs.sh RELEASE TARGET [MIRROR ...]
#
# TARGET appears by one rename when it is whole, so that an interrupted run
# leaves none. The caller holds a lock on TARGET, and runs this in a mount and
# a process namespace of its own: what it mounts and starts ends with it.
# TARGET's name carries a digest of this file: change it, and it is made anew.
set -eu
release=$1 target=$2
shift 2
LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
umask 022

[ ! -d "$target" ] || exit 0
new=$target.new
rm -rf --one-file-system "$new"
trap 'rm -rf --one-file-system "$new"' EXIT

fail() {
	printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
	exit 1
}

# The archives that apt is configured with: no mirror is named here.
mirrors() {
	[ $# -eq 0 ] || printf '%s\n' "$@"
	# shellcheck disable=SC2016 # apt's own variable
	apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' | sort -u
}

# The first mirror that has the release.
choose() {
	probe=$(mktemp -d)
	for mirror in $(mirrors "$@"); do
		if /usr/lib/apt/apt-helper download-file "${mirror%/}/dists/$release/InRelease" "$probe/InRelease" >&2; then
			rm -rf "$probe"
			printf '%s\n' "$mirror"
			return
		fi
	done
	rm -rf "$probe"
	return 1
}

mirror=$(choose "$@") || fail "no archive that apt is configured with has $release" \
	"name one that has it: AOIFLEET_E2E_MIRROR=URL"
debootstrap --variant=minbase \
	--include=systemd,systemd-sysv,dbus,openssh-server,sudo,iproute2,procps,openssl,tcsh,fish,locales,python3,man-db,rpm,dnf,createrepo-c,gnupg,apt-utils \
	"$release" "$new" "$mirror"

# Accounts: the login user and the agent's own. The numbers are known to provision.go.
chroot "$new" useradd --uid 1000 --user-group --create-home --shell /bin/bash azureuser
chroot "$new" useradd --system --uid 980 --user-group --home-dir /nonexistent --no-create-home \
	--shell /usr/sbin/nologin az-aoi-ingestion
# One more language for what sudo and coreutils say.
chroot "$new" localedef -i de_DE -f UTF-8 de_DE.UTF-8
printf 'azureuser ALL=(ALL) NOPASSWD:ALL\n' >"$new/etc/sudoers.d/azureuser"
chmod 0440 "$new/etc/sudoers.d/azureuser"

# What cannot work in a container, or only wakes 30 hosts on one machine.
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer man-db.timer e2scrub_all.timer \
	e2scrub_reap.service dnf-makecache.timer fstrim.timer systemd-tmpfiles-clean.timer \
	console-getty.service getty@.service getty-static.service \
	dev-hugepages.mount sys-fs-fuse-connections.mount systemd-remount-fs.service \
	systemd-ask-password-console.path systemd-ask-password-wall.path systemd-logind.service \
	systemd-sysusers.service systemd-update-utmp.service systemd-update-utmp-runlevel.service; do
	ln -sf /dev/null "$new/etc/systemd/system/$unit"
done

# A greeting from sshd means that users may log in: pam_nologin(8) is over by then.
mkdir -p "$new/etc/systemd/system/ssh.service.d" "$new/etc/systemd/journald.conf.d"
printf '[Unit]\nAfter=systemd-user-sessions.service\n' >"$new/etc/systemd/system/ssh.service.d/e2e.conf"
printf '[Journal]\nRuntimeMaxUse=8M\n' >"$new/etc/systemd/journald.conf.d/e2e.conf"

# Each host gets its own identity when it is provisioned; nothing asks a name server.
rm -f "$new"/etc/ssh/ssh_host_* "$new/etc/resolv.conf"
: >"$new/etc/resolv.conf"
: >"$new/etc/machine-id"
rm -rf "$new"/var/cache/apt/*.bin "$new"/var/cache/apt/archives/*.deb "$new"/var/lib/apt/lists/* \
	"$new"/var/cache/debconf/*-old "$new"/usr/share/doc/*
find "$new/usr/share/locale" -mindepth 1 -maxdepth 1 ! -name de -exec rm -rf {} +

sync -f "$new"
mv -T "$new" "$target"
trap - EXIT
