# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2034
# What ./dev and .ci/run share: packages, and building out of tree.  To be sourced in the tree's top directory.

PACKAGES_BUILD=(autoconf automake gcc libc6-dev make pkgconf libmicrohttpd-dev libsystemd-dev libsqlite3-dev
	libjson-c-dev libinih-dev libnats-dev check)
PACKAGES_RUN=(curl util-linux nats-server)
PACKAGES_TEST=(nats-server openssl python3 python3-pytest python3-pytest-xdist curl procps util-linux mount iproute2)
PACKAGES_BARE=(mmdebstrap systemd-container git)
PACKAGES_LINT=(clang-format clang-tidy shellcheck)
PACKAGES_FUZZ=(clang libclang-rt-dev)
PACKAGES_PROXIES=(apache2-bin caddy h2o haproxy hitch lighttpd squid stunnel4 curl openssl python3 python3-pytest
	python3-pytest-xdist)
PACKAGES_DEBIAN=(build-essential debhelper dpkg-dev)
PACKAGES_BENCH=(nats-server python3 nginx libnginx-mod-nchan wrk)
PACKAGES_SCALE=(qemu-system-x86 busybox-static cpio python3)
PACKAGES_RPM=(rpm)
PACKAGES_CHECK=(git lintian blhc binutils rpm rpmlint createrepo-c gnupg ansible-core cloud-init python3-yaml python3
	python3-pytest zsh)
PACKAGES_TRIXIE=(mmdebstrap systemd-container util-linux)
PACKAGES_SYSTEM=(mmdebstrap systemd-container iproute2 util-linux python3 python3-pytest curl ca-certificates
	ansible-core apt-utils gnupg)
# COMMAND:PACKAGE, where it does not matter whether the command is Debian's.
COMMANDS_SYSTEM=(chromium:chromium node:nodejs npm:npm)
COMMANDS_BENCH=(node:nodejs)
# What is installed into the system, beside what flagsse needs.
PACKAGES_ROOT=(systemd systemd-sysv dbus curl iproute2 procps nats-server nginx haproxy varnish openssl
	python3 python3-apt)
# The last ones for Debian's node 18.
NPM_SYSTEM=(playwright-core@1.61.0 reconnecting-eventsource@1.6.5)

TELL_EVERY_S=3

say()
{
	printf '\n== %s\n' "$*"
}

die()
{
	printf '%s: %s\n' "$(basename "$0")" "$*" >&2
	exit 1
}

is_installed()
{
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# need PACKAGE...: installs those that are missing.
need()
{
	local package missing=() as_root=() lock

	if ! command -v dpkg-query >/dev/null; then
		echo "$(basename "$0"): not a Debian system: what these packages hold has to be there already: $*" >&2
		return 0
	fi
	for package; do
		is_installed "$package" || missing+=("$package")
	done
	[ ${#missing[@]} -gt 0 ] || return 0

	if [ "$(id -u)" != 0 ]; then
		command -v sudo >/dev/null ||
			die "these packages are missing; install them as root: apt-get install ${missing[*]}"
		as_root=(sudo)
	fi
	say "installing ${missing[*]}"
	mkdir -p build
	exec {lock}>build/apt.lock
	flock "$lock" # stages of CI that run beside each other
	telling apt_get update
	telling apt_get install --yes --no-install-recommends "${missing[@]}"
	exec {lock}>&-
}

# need_commands COMMAND:PACKAGE...: installs the packages of those commands that are missing.
need_commands()
{
	local pair missing=()

	for pair; do
		command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
	done
	[ ${#missing[@]} = 0 ] || need "${missing[@]}"
}

# For need() only.  Waits for another apt-get rather than to fail.
apt_get()
{
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
		apt-get --quiet -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 "$@" </dev/null
}

# Shows what a command prints only if it fails, and then ends.
quietly()
{
	local output

	output=$("$@" 2>&1) || {
		printf '%s\n' "$output" >&2
		die "failed: $*"
	}
}

# The same, but a line of the output is shown every TELL_EVERY_S seconds, so that whoever waits sees that it goes on.
telling()
{
	local line output='' shown=-$TELL_EVERY_S status=0

	while IFS= read -r line; do
		output+=$line$'\n'
		if [ -n "$line" ] && ((SECONDS - shown >= TELL_EVERY_S)); then
			printf '   %.100s\n' "$line"
			shown=$SECONDS
		fi
	done < <("$@" 2>&1)
	wait $! || status=$?
	[ $status = 0 ] || {
		printf '%s' "$output" >&2
		die "failed: $*"
	}
}

# debian_sources RELEASE: that release from where this machine gets Debian; nothing: mmdebstrap's own default.
debian_sources()
{
	apt-get indextargets --format "deb \$(REPO_URI) \$(RELEASE) \$(COMPONENT)" \
		'Origin: Debian' 'Created-By: Packages' |
		sed -nE "s/ bookworm(-updates|-security)? / $1\1 /p"
}

# make_root RELEASE ARCHIVE PACKAGES [OPTION-OF-MMDEBSTRAP...]: a root with these packages, each on a line: made once,
# and again if others have to be in it.  By "${as_root[@]}".
make_root()
{
	local release=$1 archive=$2 include=$3 sources
	shift 3

	if [ -e "$archive" ] && [ "$(cat "$archive.packages" 2>/dev/null)" = "$include" ]; then
		return 0
	fi
	say "making a root of Debian's $release with mmdebstrap"
	mapfile -t sources < <(debian_sources "$release")
	quietly "${as_root[@]}" mmdebstrap --format=tar --variant=minbase --include="${include//$'\n'/,}" "$@" \
		"$release" "$archive.new" "${sources[@]}"
	mv -f "$archive.new" "$archive"
	printf '%s\n' "$include" >"$archive.packages"
}

# in_turn COMMAND...: what works in build/, one at a time: stages of CI run beside each other.
in_turn()
{
	local lock

	mkdir -p build
	exec {lock}>build/lock
	flock "$lock"
	"$@"
	exec {lock}>&-
}

# configure_in DIRECTORY [OPTION-OF-CONFIGURE...]: once; make(1) does it again where it has to.
configure_in()
{
	local directory=$1
	shift

	if [ ! -e configure ] || [ configure -ot configure.ac ] || [ ! -e Makefile.in ]; then
		./bootstrap
	fi
	mkdir -p "$directory"
	[ -e "$directory/Makefile" ] || (cd "$directory" && "$OLDPWD/configure" --quiet "$@")
}

build_in()
{
	make -C "$1" --no-print-directory -j"$(nproc)" all
}

# The unit tests, the failed ones with all they said, and what each said at its end.
check_in()
{
	local status=0

	make -C "$1" --no-print-directory -j"$(nproc)" check VERBOSE=1 || status=$?
	grep -H '%: Checks:' "$1"/tests/unit/*.log | sed "s|^$1/tests/unit/||; s|\.log:|: |"
	return $status
}

# check_service_in DIRECTORY [EXPRESSION-FOR-k]: several at a time, as most of them wait most of the time.
# Some tests use the name localhost, which nothing resolves where /etc/hosts is missing: in a bare root, say.
check_service_in()
{
	getent hosts localhost >/dev/null || need libnss-myhostname
	# shellcheck disable=SC2016 # the double quotes count
	make -C "$1" --no-print-directory check-service PYTESTFLAGS="-n 6${2:+ -k '$2'}"
}
