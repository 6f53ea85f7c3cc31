#!/bin/sh
# Programs that push and pull, unmodified, against the real server: helm, which Go
# installs, and skopeo.
set -eu
. scripts/install.sh

echo "=== helm and skopeo"
programs="${XDG_CACHE_HOME:-$HOME/.cache}/dockbell-test/bin"
PATH="$programs:$PATH"
command -v helm >/dev/null || GOBIN="$programs" CGO_ENABLED=0 go install helm.sh/helm/v3/cmd/helm@v3.22.0 || missing \
	"helm (go install helm.sh/helm/v3/cmd/helm@v3.22.0): nothing shows that charts are pushed and pulled"
command -v skopeo >/dev/null || install skopeo || missing \
	"skopeo (Debian: apt-get install skopeo): nothing shows that it logs in, pushes and pulls"
DOCKBELL_TEST_REAL=1 CGO_ENABLED=0 go test -count=1 -timeout 15m -parallel 2 -run '^TestRealClients' ./internal/harness
