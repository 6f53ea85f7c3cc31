#!/usr/bin/env python3
"""Scans what comes into quarantine, and says what was found.

    scanner.py COMMAND [ARGUMENT...]

looks for the images that nobody has judged yet, and then is a webhook receiver on
127.0.0.1:9000 for those that come. For each it runs the command with the image's
name, HOST/REPOSITORY@DIGEST, as its last argument and in $IMAGE: 0 means Passed, 1
Failed, and anything else that it could not be told; the image then stays where it is.

    DOCKBELL_URL     the registry, for example http://localhost:5000
    SCANNER_USER     an account with the role AcrQuarantineWriter
    SCANNER_PASSWORD
    SCANNER_LISTEN   another address than 127.0.0.1:9000; empty: what is there is
                     judged, and that is all
    SCANNER_SECRET   what the webhook sends as Authorization: Bearer SECRET
"""
import base64, hmac, http.server, json, os, queue, subprocess, sys, threading, urllib.parse, urllib.request

url = os.environ["DOCKBELL_URL"].rstrip("/")
login = base64.b64encode((os.environ["SCANNER_USER"] + ":" + os.environ["SCANNER_PASSWORD"]).encode()).decode()
secret = "Bearer " + os.environ.get("SCANNER_SECRET", "")
listen = os.environ.get("SCANNER_LISTEN", "127.0.0.1:9000")
waiting = queue.Queue()


def ask(method, path, body=None):
    """Sends a request to the registry; returns the answer, and where it goes on."""
    request = urllib.request.Request(url + path, method=method, headers={"Authorization": "Basic " + login})
    if body is not None:
        request.data = json.dumps(body).encode()
    with urllib.request.urlopen(request, timeout=30) as answer:
        link = answer.headers.get("Link", "")
        return json.load(answer), link[1 : link.index(">")] if link else None


def pages(path, member):
    while path:
        answer, path = ask("GET", path)
        yield from answer[member]


def sweep():
    """Looks for what nobody has judged: while the policy is off, that has no state."""
    for repository in pages("/acr/v1/_catalog", "repositories"):
        for manifest in pages(f"/acr/v1/{repository}/_manifests", "manifests"):
            if manifest["changeableAttributes"].get("quarantineState", "Quarantined") == "Quarantined":
                waiting.put((repository, manifest["digest"]))


def scan(repository, digest):
    image = f"{urllib.parse.urlsplit(url).netloc}/{repository}@{digest}"
    code = subprocess.run(sys.argv[1:] + [image], env=os.environ | {"IMAGE": image}).returncode
    if code not in (0, 1):
        print(f"{image}: the command ended with {code}: the image stays in quarantine", flush=True)
        return
    state = "Failed" if code else "Passed"
    details = {"scanner": sys.argv[1], "state": "scan " + state.lower()}
    ask("PATCH", f"/acr/v1/{repository}/_manifests/{digest}", {"quarantineState": state, "quarantineDetails": json.dumps(details)})
    print(f"{image}: {state}", flush=True)


def work(forever):
    while forever or not waiting.empty():
        repository, digest = waiting.get()
        try:
            scan(repository, digest)
        except Exception as e:  # it stays in quarantine, and the next start finds it
            print(f"{repository}@{digest}: {e}", flush=True)


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not hmac.compare_digest(self.headers.get("Authorization", "").encode(), secret.encode()):
            self.send_response(401)
        else:
            event = json.loads(body)
            if event["action"] == "quarantine":
                waiting.put((event["target"]["repository"], event["target"]["digest"]))
            self.send_response(202)  # at once: a scan may take longer than the sender waits
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


if len(sys.argv) < 2:
    sys.exit(__doc__)
if not listen:
    sweep()
    work(forever=False)
    sys.exit()
if secret == "Bearer ":
    sys.exit("SCANNER_SECRET is not set: without it anyone could ring")
host, _, port = listen.rpartition(":")
server = http.server.ThreadingHTTPServer((host, int(port)), Receiver)
threading.Thread(target=work, args=(True,), daemon=True).start()
sweep()
print(f"listening on {listen}", flush=True)
server.serve_forever()
