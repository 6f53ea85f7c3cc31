#!/bin/sh
# Gets what the tests need beside Go: PostgreSQL's server programs, strace, which
# shows in which order files are flushed, OpenSSL and Python, whose checks of
# certificates differ from Go's, and a C compiler for the race detector. On Debian, as root, it installs what is
# missing; elsewhere it says what to install. With CI set, missing is failing.
set -eu

. scripts/install.sh

# The tests start PostgreSQL themselves, in temporary folders.
has_postgres() {
	[ -n "${DOCKBELL_TEST_POSTGRES:-}" ] && return
	for bin in "$(pg_config --bindir 2>/dev/null || true)" /usr/lib/postgresql/*/bin; do
		[ -x "$bin/initdb" ] && return
	done
	return 1
}

has_postgres || install postgresql || missing \
	"PostgreSQL (Debian: apt-get install postgresql; or DOCKBELL_TEST_POSTGRES=postgres://…): half of the database tests prove nothing without it"

command -v strace >/dev/null || install strace || missing \
	"strace (Debian: apt-get install strace): nothing shows that files are flushed before they count"

for tool in openssl python3; do
	command -v "$tool" >/dev/null || install "$tool" || missing \
		"$tool (Debian: apt-get install $tool): nothing shows that it takes the certificates of --tls self-signed"
done

command -v "$(go env CC)" >/dev/null || install gcc libc6-dev || missing \
	"a C compiler (Debian: apt-get install gcc libc6-dev): the tests run without the race detector"
