# To be read by the scripts that get what tests need: . scripts/install.sh

# missing says what is not there. With CI set, that is failing.
missing() {
	echo "MISSING: $1" >&2
	if [ -n "${CI:-}" ]; then
		exit 1
	fi
}

# install gets Debian's packages. No service of the system is wanted, so the
# packages are kept from starting one.
install() (
	[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
	echo "installing $*"
	policy=/usr/sbin/policy-rc.d
	if [ ! -e "$policy" ]; then
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 755 "$policy"
		trap 'rm -f "$policy"' EXIT
	fi
	export DEBIAN_FRONTEND=noninteractive
	apt-get -q update && apt-get -q install -y --no-install-recommends "$@"
)

# install_helm puts helm on the PATH: the one that is there, or one that Go builds.
install_helm() {
	programs="${XDG_CACHE_HOME:-$HOME/.cache}/dockbell-test/bin"
	PATH="$programs:$PATH"
	command -v helm >/dev/null || GOBIN="$programs" CGO_ENABLED=0 go install helm.sh/helm/v3/cmd/helm@v3.22.0 || missing \
		"helm (go install helm.sh/helm/v3/cmd/helm@v3.22.0): nothing shows that charts are pushed and pulled"
}
