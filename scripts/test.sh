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
go test $race -timeout 10m ./...
