#!/bin/sh
# The portal in a real browser, and axe-core's rules of accessibility on every page
# of it. axe-core is of npm, in the version whose sum is here.
set -eu
. scripts/install.sh

echo "=== the portal in Chromium"
for program in skopeo:skopeo npm:npm; do
	command -v "${program%%:*}" >/dev/null || install "${program#*:}" || missing \
		"${program%%:*} (Debian: apt-get install ${program#*:}): the tests of the portal need it"
done
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null ||
	install chromium fonts-dejavu-core || missing \
	"Chromium (Debian: apt-get install chromium fonts-dejavu-core): nothing shows that the portal works in a browser"

cache="${XDG_CACHE_HOME:-$HOME/.cache}/dockbell-test"
version=4.14.1
sum=1477dafa598d8d065f273d6af302aa203c02e83131707b7fa648cd41bd3d6b734f8c22a0dab86ee6a6f64b8afbe804b214d36db85a2826965edfb3a0b9d546b5
if [ ! -e "$cache/axe-core-$version.js" ]; then
	tmp=$(mktemp -d)
	trap 'rm -rf "$tmp"' EXIT
	(cd "$tmp" && npm pack --silent "axe-core@$version" >/dev/null) || missing \
		"axe-core@$version (npm pack): nothing shows that the portal is accessible"
	if [ -e "$tmp/axe-core-$version.tgz" ]; then
		echo "$sum  $tmp/axe-core-$version.tgz" | sha512sum --quiet -c
		mkdir -p "$cache"
		tar -xzf "$tmp/axe-core-$version.tgz" -C "$tmp" package/axe.min.js
		mv "$tmp/package/axe.min.js" "$cache/axe-core-$version.js"
	fi
fi
DOCKBELL_TEST_REAL=1 CGO_ENABLED=0 go test -count=1 -timeout 15m -parallel 2 -run '^TestRealPortal' ./internal/harness
