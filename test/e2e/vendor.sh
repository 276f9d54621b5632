#!/bin/sh
# Acts as the agent's vendor on one real host: builds versions of the agent's package as
# .deb or .rpm, signs them or the repository, and installs the first. usage: vendor.sh
# apt|dnf
#
# Version 1.2.0 has an agent that ends at once, 1.4.0 needs another package, and 1.7.0 is
# not authentic. The package's scripts run what a test puts in /etc/aoi-standin/scriptlet.
set -eu
export HOME=/root GNUPGHOME=/root/keys LC_ALL=C
name=az-aoi-ingestion unit=az-aoi-ingestion.service repository=/srv/repository
mkdir -p "$GNUPGHOME" "$repository"
chmod 700 "$GNUPGHOME"
gpg --batch --quiet --passphrase '' --quick-gen-key vendor@example.net rsa2048 sign never
cp /usr/bin/$name /root/agent
cp "/etc/systemd/system/$unit" /root/unit

# tree VERSION creates the files of one version.
tree() {
	tree=/root/tree
	rm -rf $tree
	mkdir -p $tree/usr/bin $tree/usr/lib/systemd/system $tree/usr/share/$name $tree/etc/$name
	cp /root/unit "$tree/usr/lib/systemd/system/$unit"
	if [ "$1" = 1.2.0 ]; then printf '#!/bin/sh\nexit 1\n' >$tree/usr/bin/$name; else cp /root/agent $tree/usr/bin/$name; fi
	chmod 755 $tree/usr/bin/$name
	echo "$1" >$tree/usr/share/$name/version
	echo "# $1" >$tree/etc/$name/example_config.yaml
}

# scriptlet VERSION PHASE prints what a script of the package runs.
scriptlet() {
	printf '%s\n' "version=$1 phase=$2" '[ ! -f /etc/aoi-standin/scriptlet ] || . /etc/aoi-standin/scriptlet'
	[ "$2" != after ] || printf '%s\n' "systemctl daemon-reload; systemctl try-restart $unit || :"
}

deb() {
	tree "$1"
	mkdir $tree/DEBIAN
	printf 'Package: %s\nVersion: %s-1\nArchitecture: amd64\nMaintainer: V <vendor@example.net>\nDescription: stand-in\n%s' $name "$1" "${2:+Depends: $2
}" >$tree/DEBIAN/control
	echo /etc/$name/example_config.yaml >$tree/DEBIAN/conffiles
	for script in preinst:before postinst:after; do
		{ echo '#!/bin/sh'; scriptlet "$1" "${script#*:}"; } >"$tree/DEBIAN/${script%:*}"
		chmod 755 "$tree/DEBIAN/${script%:*}"
	done
	dpkg-deb --root-owner-group -Zgzip -z1 -b $tree "$repository/${name}_$1-1_amd64.deb" >/dev/null
}

rpm_of() { # NAME VERSION REQUIRES PROVIDES
	{
		printf 'Name: %s\nVersion: %s\nRelease: 1\nSummary: stand-in\nLicense: none\nAutoReqProv: no\n' "$1" "$2"
		[ -z "$3" ] || echo "Requires: $3"
		[ -z "$4" ] || echo "Provides: $4"
		printf '%%description\nstand-in\n'
		if [ "$1" = $name ]; then
			printf '%%install\ncp -a /root/tree/. %%{buildroot}\n%%pre\n'
			scriptlet "$2" before
			printf '%%post\n'
			scriptlet "$2" after
			printf '%%files\n/usr/bin/%s\n/usr/lib/systemd/system/%s\n/usr/share/%s\n%%config(noreplace) /etc/%s/example_config.yaml\n' $name $unit $name $name
		else
			echo '%files'
		fi
	} >/root/package.spec
	rpmbuild -bb --quiet --define "_rpmdir $repository" --define '_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm' \
		--define '_binary_payload w1.gzdio' --define '_build_id_links none' --define '__os_install_post %{nil}' /root/package.spec
}

if [ "$1" = apt ]; then
	for version in 1.0.0 1.1.0 1.2.0 1.7.0; do deb $version ''; done
	deb 1.4.0 az-extra
	mkdir -p /root/extra/DEBIAN
	printf 'Package: az-extra\nVersion: 1\nArchitecture: all\nMaintainer: V <vendor@example.net>\nDescription: stand-in\n' >/root/extra/DEBIAN/control
	dpkg-deb -Zgzip -b /root/extra "$repository/az-extra_1_all.deb" >/dev/null
	cd "$repository"
	apt-ftparchive packages . >Packages
	apt-ftparchive release . >/root/Release
	gpg --quiet --batch --yes --clearsign -o InRelease /root/Release
	echo >>${name}_1.7.0-1_amd64.deb # not the file of the signed list
	gpg --export >/etc/vendor.gpg
	rm -f /etc/apt/sources.list
	echo "deb [signed-by=/etc/vendor.gpg] file:$repository ./" >/etc/apt/sources.list.d/vendor.list
	apt-get -q update
	dpkg -i ${name}_1.0.0-1_amd64.deb
else
	# Debian's rpm has its database in the home folder, and provides nothing.
	mkdir -p /etc/rpm /etc/yum.repos.d
	echo '%_dbpath /var/lib/rpm' >/etc/rpm/macros
	for version in 1.0.0 1.1.0 1.2.0 1.7.0; do tree $version; rpm_of $name $version '' ''; done
	tree 1.4.0
	rpm_of $name 1.4.0 az-extra ''
	rpm_of az-extra 1 '' ''
	rpm_of base 1 '' /bin/sh
	cd "$repository"
	for file in *.rpm; do
		case $file in *-1.7.0-*) ;; *) rpmsign --define '__gpg /usr/bin/gpg' --define '_gpg_name vendor@example.net' --addsign "$file" ;; esac
	done
	createrepo_c -q .
	gpg --quiet --batch --detach-sign --armor repodata/repomd.xml
	gpg --export --armor >/etc/vendor.asc
	printf '[vendor]\nname=vendor\nbaseurl=file://%s\ngpgcheck=1\nrepo_gpgcheck=1\ngpgkey=file:///etc/vendor.asc\n' "$repository" >/etc/yum.repos.d/vendor.repo
	rpm --initdb
	rpm --import /etc/vendor.asc
	dnf -y -q makecache # accepts the repository's key, as an administrator does once
	rpm -U base-1-*.rpm ${name}-1.0.0-*.rpm
fi
# The unit is the package's from now on.
rm -f "/etc/systemd/system/$unit" /etc/systemd/system/multi-user.target.wants/$unit
systemctl daemon-reload
systemctl enable $unit
systemctl restart $unit
