# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# The package in a root of Debian 13, whose libraries are newer (libmicrohttpd is 1.0), for ./dev.  To be sourced after
# packages.sh, which it needs.

TRIXIE_DIRECTORY=build/trixie
# Those of the service tests that meet every library.
TRIXIE_TESTS='test_http or test_publish or test_reload or test_silent_peer or test_tls'

make_trixie_root()
{
	local archive=$1 include

	include=$({
		printf '%s\n' build-essential debhelper python3-pytest python3-pytest-xdist nats-server curl openssl procps iproute2
		sed -nE '/^Build-Depends:/,/^[A-Z]/{s/^Build-Depends://; /^[A-Z]/d; s/<.*//; s/[ ,]//g; s/\(.*//; s/^dh-sequence-.*//
			/^$/d; s/^debhelper-compat$/debhelper/; p}' debian/control
	} | sort -u)
	make_root trixie "$archive" "$include"
}

# in_trixie DIRECTORY COMMAND...: as root in that root; with the network of this machine, of which the tests use
# loopback.
in_trixie()
{
	local directory=$1
	shift

	"${as_root[@]}" systemd-nspawn --quiet --register=no --keep-unit --as-pid2 --pipe --directory="$root" \
		--capability=CAP_NET_ADMIN \
		--chdir="$directory" --setenv=LC_ALL=C.UTF-8 --setenv=FLAGSSE_TESTS=all "$@" </dev/null
}

# The package is kept for run_system_trixie().
run_trixie()
{
	local root=$PWD/$TRIXIE_DIRECTORY/root packages=$TRIXIE_DIRECTORY/packages as_root=() status=0

	build_debian_packages source $packages
	need "${PACKAGES_TRIXIE[@]}"
	[ "$(id -u)" = 0 ] || as_root=(sudo)
	mkdir -p $TRIXIE_DIRECTORY
	make_trixie_root "$PWD/$TRIXIE_DIRECTORY/root.tar"
	"${as_root[@]}" rm -rf --one-file-system "$root"
	"${as_root[@]}" mkdir -p "$root"
	"${as_root[@]}" tar -C "$root" --numeric-owner -xpf $TRIXIE_DIRECTORY/root.tar
	"${as_root[@]}" mkdir "$root/build"
	"${as_root[@]}" cp $packages/*.dsc $packages/*.tar.* "$root/build/"

	say "the package, with its unit tests"
	in_trixie /build sh -ec 'dpkg-source --extract *.dsc source >/dev/null
		cd source; dpkg-buildpackage --build=binary --unsigned-changes --unsigned-buildinfo >../build.log 2>&1' || {
		"${as_root[@]}" tail -n 60 "$root/build/build.log" >&2
		die "the package does not build on Debian 13"
	}
	"${as_root[@]}" grep -E '^(# (PASS|FAIL|ERROR)|PASS|FAIL)' "$root/build/build.log"
	cp "$root"/build/*.deb $packages/
	say "service tests"
	# shellcheck disable=SC2016 # the inner shell expands it
	in_trixie /build/source sh -ec \
		'src/flagsse --version; make --no-print-directory check-service PYTESTFLAGS="-q -n 6 -k \"$1\""' \
		sh "$TRIXIE_TESTS" || status=1
	"${as_root[@]}" rm -rf --one-file-system "$root"
	[ $status = 0 ] || die "tests failed on Debian 13; see above"
}

# The package of the last run_trixie(), in a Debian 13 that is booted.
run_system_trixie()
{
	local package

	package=$(echo "$PWD/$TRIXIE_DIRECTORY"/packages/flagsse_*.deb)
	[ -e "$package" ] || die "there is no package of Debian 13; ./dev trixie makes it"
	run_system_of trixie "$package" "$PWD/$TRIXIE_DIRECTORY/system" "$@"
}
