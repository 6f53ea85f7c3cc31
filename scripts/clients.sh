#!/bin/sh
# Programs that push and pull, unmodified, against the real server: helm, which Go
# installs, and skopeo.
set -eu
. scripts/install.sh

echo "=== helm and skopeo"
install_helm
command -v curl >/dev/null || install curl || missing \
	"curl (Debian: apt-get install curl): nothing shows that charts are pushed with it"
command -v skopeo >/dev/null || install skopeo || missing \
	"skopeo (Debian: apt-get install skopeo): nothing shows that it logs in, pushes and pulls"
DOCKBELL_TEST_REAL=1 CGO_ENABLED=0 go test -count=1 -timeout 15m -parallel 2 -run '^TestRealClients' ./internal/harness
