#!/bin/sh
# Checks what can be seen without running the program.
set -eu

fail() {
	echo "check: $1" >&2
	exit 1
}

unformatted=$(gofmt -l cmd internal)
[ -z "$unformatted" ] || fail "not formatted (gofmt -w): $unformatted"

go vet ./...
go mod verify
go mod tidy -diff || fail "go.mod or go.sum is not tidy: go mod tidy"

# modernc.org/sqlite works only with the version of modernc.org/libc that it was
# generated with.
have=$(go list -m -f '{{.Version}}' modernc.org/libc)
want=$(sed -n 's/^.*modernc\.org\/libc \(v[^ ]*\).*$/\1/p' "$(go list -m -f '{{.Dir}}' modernc.org/sqlite)/go.mod")
[ "$have" = "$want" ] || fail "modernc.org/libc is $have and modernc.org/sqlite needs $want: go get modernc.org/libc@$want"

# The program is built without cgo.
CGO_ENABLED=0 go build -o /dev/null ./cmd/dockbell
