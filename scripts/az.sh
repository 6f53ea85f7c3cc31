#!/bin/sh
# The Azure CLI, unmodified, against the real server, with skopeo and helm for what
# it does not do itself.
set -eu
. scripts/install.sh

echo "=== the Azure CLI"
install_helm
for program in az:azure-cli skopeo:skopeo curl:curl; do
	command -v "${program%%:*}" >/dev/null || install "${program#*:}" || missing \
		"${program%%:*} (Debian: apt-get install ${program#*:}): nothing shows that the Azure CLI works with this server"
done
DOCKBELL_TEST_REAL=1 CGO_ENABLED=0 go test -count=1 -timeout 15m -parallel 2 -run '^TestRealAzure' ./internal/harness
