# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# The two commands of README.md in a root of Debian 12 in which nothing is but apt, git and ca-certificates, for ./dev.
# To be sourced after common.sh, which it needs, in the tree's top directory.

BARE_DIRECTORY=build/bare

# in_bare COMMAND...: as root in the clone there; with the network of this machine, for apt, and the capability that
# some tests need.  All tests have to run.
in_bare()
{
	"${as_root[@]}" systemd-nspawn --quiet --register=no --keep-unit --as-pid2 --pipe --directory="$root" \
		--machine="flagsse-bare-$$" --capability=CAP_NET_ADMIN --setenv=FLAGSSE_TESTS=all --chdir=/flagsse "$@" </dev/null
}

free_port()
{
	local port

	for ((port = 18088; port < 19088; port++)); do
		port_answers "$port" || break
	done
	echo "$port"
}

# On a clone, so on what is committed.
run_bare()
{
	local root=$PWD/$BARE_DIRECTORY/root as_root=() status=0

	need "${PACKAGES_BARE[@]}"
	[ "$(id -u)" = 0 ] || as_root=(sudo)
	mkdir -p $BARE_DIRECTORY
	make_root bookworm "$PWD/$BARE_DIRECTORY/root.tar" $'ca-certificates\ngit' --variant=apt
	"${as_root[@]}" rm -rf --one-file-system "$root"
	"${as_root[@]}" mkdir -p "$root"
	"${as_root[@]}" tar -C "$root" --numeric-owner -xpf $BARE_DIRECTORY/root.tar
	# Whoever owns this clone: for who reads it git has no option but a file.
	printf '[safe]\n\tdirectory = *\n' >$BARE_DIRECTORY/gitconfig
	"${as_root[@]}" env GIT_CONFIG_GLOBAL="$PWD/$BARE_DIRECTORY/gitconfig" \
		git clone --quiet --no-hardlinks "$PWD" "$root/flagsse"

	say "./dev run"
	in_bare tools/try-run "$(free_port)" || status=1
	say "./dev test"
	in_bare ./dev test || status=1
	"${as_root[@]}" rm -rf --one-file-system "$root"
	[ $status = 0 ] || die "failed in a bare root; see above"
}
