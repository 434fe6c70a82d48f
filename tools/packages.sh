# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# Builds the packages, for ./dev.  To be sourced after common.sh, which it needs, in the tree's top directory.

PACKAGES_DIRECTORY=build/packages

# The tarball of `make dist`, from which all packages are built, so that nothing can be missing from it: the same bytes
# whenever and wherever it is made of one state of the tree.  Sets $tarball and $version.  Two may do so at once.
make_tarball()
{
	local epoch lock

	mkdir -p build
	exec {lock}>build/tarball.lock
	flock "$lock"
	configure_in build
	epoch=$(date -d "$(sed -nE '/^ -- /{s/.*>  //p; q}' debian/changelog)" +%s)
	TAR_OPTIONS="--sort=name --mtime=@$epoch --owner=0 --group=0 --numeric-owner --mode=go-w,u+w
		--pax-option=delete=atime,delete=ctime" make -C build --no-print-directory dist >/dev/null
	version=$(sed -nE 's/^AC_INIT\(\[flagsse\], \[([^]]+)\]\)$/\1/p' configure.ac)
	tarball=$PWD/build/flagsse-$version.tar.gz
	[ -e "$tarball" ] || die "make dist did not make $tarball"
	exec {lock}>&-
}

# build_debian_packages KIND DIRECTORY: those of a kind that dpkg-buildpackage(1) knows.
build_debian_packages()
{
	local kind=$1 directory=$2 source

	need "${PACKAGES_BUILD[@]}" "${PACKAGES_DEBIAN[@]}"
	make_tarball
	source=$directory/flagsse-$version
	find "$directory" -maxdepth 1 -name 'flagsse*' -exec rm -rf {} + 2>/dev/null || true
	mkdir -p "$directory"
	cp "$tarball" "$directory/flagsse_$version.orig.tar.gz"
	tar -C "$directory" -xzf "$tarball"
	say "dpkg-buildpackage"
	DEB_BUILD_OPTIONS="${DEB_BUILD_OPTIONS-nocheck}" dpkg_buildpackage "$source" --build="$kind"
	rm -rf "$source"
}

# The source package and the binary packages, into $PACKAGES_DIRECTORY.
build_debian()
{
	build_debian_packages full $PACKAGES_DIRECTORY
	ls $PACKAGES_DIRECTORY/*.deb
}

# dpkg_buildpackage SOURCE-DIRECTORY OPTION...: what it says goes into flagsse.build beside the directory.
dpkg_buildpackage()
{
	local source=$1
	shift

	(cd "$source" && dpkg-buildpackage "$@" --unsigned-source --unsigned-changes --unsigned-buildinfo \
		>../flagsse.build 2>&1) || {
		tail -n 40 "$source/../flagsse.build" >&2
		die "dpkg-buildpackage failed"
	}
}

# Source and binary packages, into $PACKAGES_DIRECTORY/rpm.  Elsewhere than on Debian what a spec requires has to be
# there; Debian's own libraries are known to dpkg, not to rpm, and it lacks some macros.
build_rpm()
{
	local directory=$PWD/$PACKAGES_DIRECTORY/rpm options=()

	need "${PACKAGES_BUILD[@]}" "${PACKAGES_RPM[@]}"
	make_tarball
	rm -rf "$directory"
	mkdir -p "$directory"
	if command -v dpkg-query >/dev/null; then
		options=(--nodeps --load "$PWD/tools/rpm-macros")
	fi
	say "rpmbuild"
	rpmbuild -ba "${options[@]}" --define "_topdir $directory/build" --define "_rpmdir $directory" \
		--define "_sourcedir $(dirname "$tarball")" \
		--define "_srcrpmdir $directory" --define '_rpmfilename %{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm' \
		rpm/flagsse.spec >"$directory/rpmbuild.log" 2>&1 || {
		tail -n 40 "$directory/rpmbuild.log" >&2
		die "rpmbuild failed"
	}
	rm -rf "$directory/build"
	ls "$directory"/*.rpm
}
