#!/bin/sh
# Runs all tests, with the race detector where there is a C compiler.
set -eu

race=
if command -v "$(go env CC)" >/dev/null; then
	race=-race
	export CGO_ENABLED=1
else
	echo "NO C COMPILER: the tests run without the race detector" >&2
fi
# SQLite is C that was made Go. It keeps to locks of its own, and watching it would
# take half of the time.
go test $race -gcflags 'modernc.org/sqlite/lib=-race=false' -gcflags 'modernc.org/libc=-race=false' -timeout 10m ./...

# These run under fake time, which together with the race detector crashes Go
# 1.26 (see fakeTime in the package's tests): so without it.
CGO_ENABLED=0 go test -timeout 10m ./internal/delivery ./internal/webhook ./internal/auth ./internal/audit

# Thousands of requests, or of rows, one after the other.
CGO_ENABLED=0 go test -timeout 10m -run 'TestRoles|TestAuditOfEveryRoute|TestAccess|TestNarrowTokens|TestNothingIsAnonymous|TestManyAreCountedAndRemoved|TestLocks$' \
	./internal/app ./internal/arm ./internal/registry

# Under the detector this rebuilds a few states of a disk; here, hundreds.
CGO_ENABLED=0 go test -timeout 10m -run TestPowerLoss ./internal/harness
