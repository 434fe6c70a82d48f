# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# Builds the packages, for ./dev.  To be sourced after common.sh, which it needs, in the tree's top directory.

PACKAGES_DIRECTORY=build/packages

# make_tarball DIRECTORY: the tarball of `make dist`, from which all packages are built, so that nothing can be missing from
# it: the same bytes whenever and wherever it is made of one state of the tree.  Sets $tarball and $version.
make_tarball()
{
	in_turn configure_in build
	version=$(tools/version)
	case $version in *+git0.unknown)
		echo "dev: git cannot tell which commit this is, so the packages will have the version $version," \
			"which no later build of the same kind is newer than" >&2
		;;
	esac
	mkdir -p "$1"
	in_turn dist_into "$1"
	tarball=$1/flagsse-$version.tar.gz
}

dist_into()
{
	make -C build --no-print-directory dist >/dev/null
	cp "build/flagsse-$version.tar.gz" "$1/" || die "make dist did not make build/flagsse-$version.tar.gz"
}

# build_debian_packages KIND DIRECTORY: those of a kind that dpkg-buildpackage(1) knows.
build_debian_packages()
{
	local kind=$1 directory=$2 source

	need "${PACKAGES_BUILD[@]}" "${PACKAGES_DEBIAN[@]}"
	find "$directory" -maxdepth 1 -name 'flagsse*' -exec rm -rf {} + 2>/dev/null || true
	make_tarball "$directory"
	source=$directory/flagsse-$version
	mv "$tarball" "$directory/flagsse_$version.orig.tar.gz"
	tar -C "$directory" -xzf "$directory/flagsse_$version.orig.tar.gz"
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
# there; Debian's own libraries are known to dpkg, not to rpm, and it lacks some macros.  The spec file is the tarball's,
# which has its version.
build_rpm()
{
	local directory=$PWD/$PACKAGES_DIRECTORY/rpm options=()

	need "${PACKAGES_BUILD[@]}" "${PACKAGES_RPM[@]}"
	rm -rf "$directory"
	mkdir -p "$directory/build"
	make_tarball "$directory/build"
	tar -xzf "$tarball" -O "flagsse-$version/rpm/flagsse.spec" >"$directory/build/flagsse.spec"
	if command -v dpkg-query >/dev/null; then
		options=(--nodeps --load "$PWD/tools/rpm-macros")
	fi
	say "rpmbuild"
	rpmbuild -ba "${options[@]}" --define "_topdir $directory/build" --define "_rpmdir $directory" \
		--define "_sourcedir $(dirname "$tarball")" \
		--define "_srcrpmdir $directory" --define '_rpmfilename %{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm' \
		"$directory/build/flagsse.spec" >"$directory/rpmbuild.log" 2>&1 || {
		tail -n 40 "$directory/rpmbuild.log" >&2
		die "rpmbuild failed"
	}
	rm -rf "$directory/build"
	ls "$directory"/*.rpm
}
