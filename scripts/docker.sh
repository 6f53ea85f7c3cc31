#!/bin/sh
# Builds the image and compose.yaml's services with Docker, and has them do what
# they are for. The daemon is one of its own, in a temporary folder, with a socket
# of its own; on networks of its own, without a rule in the system's firewall.
#
# Nothing is pulled. The Dockerfile is the one that everyone uses, and its last
# stage begins with nothing; what stands in its first stage for the image with Go,
# and in compose.yaml for the one with Python, is made here of the toolchains of
# this machine.
set -eu

. scripts/install.sh

command -v dockerd >/dev/null || install docker.io || true
command -v docker-compose >/dev/null || install docker-compose || true
if [ "$(id -u)" != 0 ] || ! command -v dockerd >/dev/null || ! command -v docker-compose >/dev/null; then
	missing "a Docker daemon to start, and docker-compose (Debian, as root: apt-get install docker.io docker-compose): nothing shows that the image works"
	exit 0
fi

tmp=$(mktemp -d)
export DOCKER_HOST="unix://$tmp/docker.sock" DOCKER_CONFIG="$tmp/config" DOCKER_BUILDKIT=0
export COMPOSE_PROJECT_NAME=dockbelltest COMPOSE_DOCKER_CLI_BUILD=0
daemon='' receiver=''

stop() {
	status=$?
	trap - EXIT INT TERM
	if [ -n "$daemon" ]; then
		if [ "$status" != 0 ]; then
			docker ps -aq | while read -r id; do docker logs --tail 30 "$id" >&2 || true; done
			tail -n 20 "$tmp/dockerd.log" >&2
		fi
		docker ps -aq | xargs -r docker rm -fv >/dev/null || true
		docker network ls -q --filter type=custom | xargs -r docker network rm >/dev/null || true
		kill "$daemon" && wait "$daemon" || true
	fi
	[ -z "$receiver" ] || kill "$receiver" || true
	rm -rf "$tmp"
	exit "$status"
}
trap stop EXIT
trap 'exit 1' INT TERM

say() { echo "docker: $1"; }

fail() {
	echo "docker: $1" >&2
	exit 1
}

# until_true repeats a command until it succeeds, for a minute.
until_true() {
	deadline=$(($(date +%s) + 60))
	until "$@" >/dev/null 2>&1; do
		[ "$(date +%s)" -lt "$deadline" ] || fail "not within a minute: $*"
		sleep 0.2
	done
}

# files lists programs with the libraries that they need.
files() {
	for f in "$@"; do
		realpath "$f"
		ldd "$f" 2>/dev/null | sed -n 's/^.*=> \(\/[^ ]*\) .*$/\1/p; s/^[[:space:]]*\(\/[^ ]*\) .*$/\1/p'
	done | sort -u
}

start_daemon() {
	mkdir "$tmp/config"
	echo '{}' >"$tmp/daemon.json"
	dockerd --config-file "$tmp/daemon.json" --host "$DOCKER_HOST" --data-root "$tmp/root" --exec-root "$tmp/exec" \
		--pidfile "$tmp/dockerd.pid" --bridge none --iptables=false --ip6tables=false >"$tmp/dockerd.log" 2>&1 &
	daemon=$!
	until_true docker version
	say "$(docker version --format 'daemon {{.Server.Version}}'), storage $(docker info --format '{{.Driver}}')"
}

# go_image makes an image that has what the Dockerfile needs of golang: the
# toolchain, a shell, certificates; and the modules, from where go mod download
# gets them.
go_image() {
	goroot=$(go env GOROOT)
	modules=$(go env GOMODCACHE)/cache/download
	mkdir -p "$tmp/go/bin" "$tmp/go/tmp"
	cp "$(command -v dash || command -v sh)" "$tmp/go/bin/sh"
	cp "$(command -v mkdir)" "$tmp/go/bin/mkdir"
	{
		files "$tmp/go/bin/sh" "$tmp/go/bin/mkdir" | grep -v "^$tmp"
		echo /etc/ssl/certs/ca-certificates.crt
		for part in bin pkg src lib go.env VERSION; do echo "$goroot/$part"; done
		go mod download -json | sed -n 's/^\t"\(Info\|Zip\)": "\(.*\)",$/\2/p'
		find "$modules" -name '*.mod' # also of modules that are only named by others
	} | sed 's,^/,,' >"$tmp/go.list"
	tar -c --dereference --exclude='*_test.go' --exclude=testdata \
		--transform "s,^${goroot#/},usr/local/go," --transform "s,^${modules#/},modules," \
		-C "$tmp/go" . -C / -T "$tmp/go.list" |
		docker import -c 'ENV PATH=/usr/local/go/bin:/bin GOTOOLCHAIN=local GOPROXY=file:///modules' - dockbelltest/go >/dev/null
}

# python_image makes one that stands for the receiver's in compose.yaml.
python_image() {
	python=$(python3 -c 'import os, sys; print(os.path.realpath(sys.executable))')
	library=$(python3 -c 'import sysconfig; print(sysconfig.get_paths()["stdlib"])')
	mkdir -p "$tmp/python/bin"
	cp "$python" "$tmp/python/bin/python3"
	{
		files "$python" "$library"/lib-dynload/*.so | grep -v "^$library"
		echo "$library"
	} | sed 's,^/,,' >"$tmp/python.list"
	tar -c --dereference --exclude=site-packages --exclude=dist-packages --exclude=test --exclude=__pycache__ --exclude='*.a' \
		-C "$tmp/python" . -C / -T "$tmp/python.list" |
		docker import -c "ENV PATH=/bin PYTHONHOME=$(python3 -c 'import sys; print(sys.base_prefix)')" - \
			"$(sed -n 's/^ *image: \(python.*\)$/\1/p' compose.yaml)" >/dev/null
}

# The image holds the program, certificates, and a folder of its user's; beside
# these there is only what Docker puts in place for every container.
build_image() {
	docker build --network none --build-arg GO_IMAGE=dockbelltest/go --build-arg VERSION=test -t dockbell . >"$tmp/build.log" 2>&1 ||
		{ cat "$tmp/build.log" >&2; fail "the image cannot be built"; }
	size=$(docker image inspect --format '{{.Size}}' dockbell)
	say "the image has $((size / 1000 / 1000)) MB"
	[ "$size" -lt 40000000 ] || fail "an image of $size bytes is too large"
	id=$(docker create dockbell)
	docker export "$id" | tar -t | grep -Ev '^(\.dockerenv|(dev|proc|sys)/.*|etc/(hostname|hosts|mtab|resolv\.conf))$' >"$tmp/files"
	docker rm -v "$id" >/dev/null
	printf '%s\n' data/ dockbell etc/ etc/ssl/ etc/ssl/certs/ etc/ssl/certs/ca-certificates.crt >"$tmp/expected"
	sort "$tmp/files" | diff "$tmp/expected" - || fail "the image does not hold what it should"
	[ "$(docker run --rm --network none dockbell version)" = "dockbell test" ] || fail "the image says another version"
	! docker run --rm --network none --entrypoint /bin/sh dockbell -c true 2>/dev/null || fail "the image has a shell"
}

# start_receiver starts one that keeps what it is sent in a file, on the host's
# address in the network.
start_receiver() {
	gateway=$(docker network inspect --format '{{(index .IPAM.Config 0).Gateway}}' dockbelltest)
	touch "$tmp/rings"
	python3 - "$gateway" "$tmp/rings" "$tmp/receiver.port" <<'EOF' &
import http.server, os, sys
host, rings, port = sys.argv[1:]
class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open(rings, "ab") as f:
            f.write(body + b"\n")
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.HTTPServer((host, 0), Receiver)
with open(port + ".new", "w") as f:
    f.write(str(server.server_port))
os.rename(port + ".new", port)
server.serve_forever()
EOF
	receiver=$!
	until_true test -e "$tmp/receiver.port"
	hook="http://$gateway:$(cat "$tmp/receiver.port")/hook"
}

# serve runs the image as docs/docker.md has it, and waits until Docker calls it
# healthy.
serve() {
	docker run -d --name "$1" --network dockbelltest -p "127.0.0.1:$port:5000" -v dockbelltest:/data --stop-timeout 35 \
		--read-only --cap-drop ALL --security-opt no-new-privileges --health-interval 1s \
		-e DOCKBELL_ADMIN_PASSWORD -e DOCKBELL_ALLOW_DESTINATIONS="$gateway/32" dockbell >/dev/null
	until_true healthy "$1"
}

healthy() { [ "$(docker inspect --format '{{.State.Health.Status}}' "$1")" = healthy ]; }

# client runs a command in the container of a server.
client() {
	name=$1
	shift
	docker exec -e DOCKBELL_SERVER=http://localhost:5000 -e DOCKBELL_USERNAME=dockbell -e DOCKBELL_PASSWORD "$name" /dockbell "$@"
}

# end stops a server as docker stop does; it has to end by itself.
end() {
	began=$(date +%s)
	docker stop "$1" >/dev/null
	took=$(($(date +%s) - began))
	code=$(docker inspect --format '{{.State.ExitCode}}' "$1")
	[ "$code" = 0 ] && [ "$took" -lt 30 ] || fail "SIGTERM: exit code $code after $took s"
	docker rm "$1" >/dev/null
}

login() {
	printf %s "$DOCKBELL_PASSWORD" | docker login "localhost:$1" -u dockbell --password-stdin >/dev/null 2>&1 || fail "docker login to localhost:$1"
}

# push makes an image, pushes it and pulls it back.
push() {
	date +%N >"$tmp/content"
	id=$(tar -c -C "$tmp" content | docker import - "$1")
	docker push -q "$1" >/dev/null
	docker rmi "$1" >/dev/null
	docker pull -q "$1" >/dev/null
	[ "$(docker image inspect --format '{{.Id}}' "$1")" = "$id" ] || fail "$1 came back as another image"
}

run_image() {
	docker network create dockbelltest >/dev/null
	start_receiver
	port=$(shuf -i 20000-31999 -n 1)
	serve first
	[ "$(docker top first -o pid,uid | awk 'NR > 1 { print $2 }' | sort -u)" = 65532 ] || fail "the server runs as another user than 65532"
	volume=$(docker volume inspect --format '{{.Mountpoint}}' dockbelltest)
	[ "$(stat -c '%u %a' "$volume")" = "65532 700" ] || fail "the volume has owner and mode $(stat -c '%u %a' "$volume")"
	! client first webhook create -n loopback --uri http://127.0.0.1:9000/ --actions push 2>"$tmp/refusal" || fail "loopback may be rung"
	grep -q -- --allow-destinations "$tmp/refusal" || fail "the refusal names no way out: $(cat "$tmp/refusal")"
	client first webhook create -n deployhook --uri "$hook" --actions push delete >/dev/null
	login "$port"
	push "localhost:$port/team/tiny:v1"
	until_true grep -q '"action":"push".*"tag":"v1"' "$tmp/rings"
	say "the image serves, and rings $hook"
	end first

	serve second
	docker pull -q "localhost:$port/team/tiny:v1" >/dev/null
	push "localhost:$port/team/tiny:v2"
	until_true grep -q '"action":"push".*"tag":"v2"' "$tmp/rings"
	client second webhook list-events -n deployhook -o table >"$tmp/events"
	grep -q 'team/tiny:v1 *200 OK' "$tmp/events" || fail "the volume did not keep the log: $(cat "$tmp/events")"
	say "another container on the same volume goes on"
	try_accounts second
	end second
}

# try_accounts has docker be someone who may use one repository, and nobody.
try_accounts() {
	secret=$(client "$1" token create -r dockbell -n tiny-ci --repository team/tiny content/read content/write --query 'credentials.passwords[0].value' -o tsv 2>/dev/null)
	! printf wrong | docker login "localhost:$port" -u tiny-ci --password-stdin >/dev/null 2>&1 || fail "docker login with a wrong password"
	printf %s "$secret" | docker login "localhost:$port" -u tiny-ci --password-stdin >/dev/null 2>&1 || fail "docker login as a token"
	push "localhost:$port/team/tiny:v4"
	docker tag "localhost:$port/team/tiny:v4" "localhost:$port/other/tiny:v4"
	! docker push -q "localhost:$port/other/tiny:v4" >"$tmp/refusal" 2>&1 || fail "a token for team/tiny pushes to other/tiny"
	grep -q 'denied\|unauthorized' "$tmp/refusal" || fail "a token's push to other/tiny failed in another way: $(cat "$tmp/refusal")"
	docker logout "localhost:$port" >/dev/null
	docker rmi -f "localhost:$port/team/tiny:v4" >/dev/null
	! docker pull -q "localhost:$port/team/tiny:v4" >/dev/null 2>&1 || fail "nobody pulls where anonymous pull is off"
	client "$1" registry update -n dockbell --anonymous-pull-enabled true >/dev/null
	docker pull -q "localhost:$port/team/tiny:v4" >/dev/null || fail "nobody pulls where anonymous pull is on"
	! docker push -q "localhost:$port/other/tiny:v4" >/dev/null 2>&1 || fail "nobody pushes where anonymous pull is on"
	say "a token is good for its repository, and nobody for pulls where that is on"
}

run_compose() {
	! DOCKBELL_ADMIN_PASSWORD='' docker-compose config -q 2>/dev/null || fail "compose.yaml starts without a password"
	DOCKBELL_PORT=$(shuf -i 20000-31999 -n 1)
	export DOCKBELL_PORT
	docker-compose config -q
	docker-compose up -d --no-build >"$tmp/compose.log" 2>&1 || { cat "$tmp/compose.log" >&2; fail "docker-compose up"; }
	until_true docker-compose exec -T dockbell /dockbell health
	docker-compose exec -T dockbell /dockbell webhook create -n printer --uri http://receiver:9000/ --actions push delete >/dev/null
	login "$DOCKBELL_PORT"
	push "localhost:$DOCKBELL_PORT/team/tiny:v3"
	until_true printed '"tag":"v3"'
	docker-compose down -v >"$tmp/compose.log" 2>&1 || { cat "$tmp/compose.log" >&2; fail "docker-compose down"; }
	say "the services of compose.yaml ring each other"
}

printed() { docker-compose logs receiver | grep -q "$1"; }

DOCKBELL_ADMIN_PASSWORD=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
export DOCKBELL_ADMIN_PASSWORD DOCKBELL_PASSWORD="$DOCKBELL_ADMIN_PASSWORD"

start_daemon
go_image
python_image
build_image
run_image
run_compose
