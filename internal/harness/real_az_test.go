package harness_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/harness"
)

// TestRealAzureCLI has the real az, as its distribution has it, do what the
// sessions in testdata/real/az show. Each has a server of its own, HTTPS with an
// authority of its own on a port of this moment, and a home folder. The login
// server of the default registry is localhost, so that no name has to be known
// to this machine. The outputs are those of az 2.45.0 and skopeo 1.9, which
// Debian 12 has; others may word something differently.
//
// In the environment are SERVER, the URL of the server, HOST, its host and port,
// and HOOK, the URL of a receiver that answers 200, and agrees when it is asked; in the folder are
// password, the operator's, certs/ca.crt, the authority, image, an image for skopeo, scanner.py of the
// documents, and az/sitecustomize.py. The program await repeats a command until it prints what matches.
func TestRealAzureCLI(t *testing.T) {
	forReal(t, "az", "skopeo", "helm")
	play(t, "az")
}

// TestRealClients has the programs that push and pull do what the sessions in
// testdata/real/clients show, in the same way.
func TestRealClients(t *testing.T) {
	forReal(t, "helm", "skopeo", "curl")
	play(t, "clients")
}

// play plays the sessions in a folder of testdata/real.
func play(t *testing.T, folder string) {
	files, err := filepath.Glob("testdata/real/" + folder + "/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no sessions: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			if strings.HasPrefix(filepath.Base(file), "names") {
				needsOwnHosts(t)
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want := parseSession(string(text))
			dir := t.TempDir()
			listen := freeAddress()
			_, port, _ := net.SplitHostPort(listen)
			at := "https://localhost:" + port
			harness.Start(t, filepath.Join(dir, "data"), "--listen", listen, "--tls", "self-signed",
				"--external-url", at, "--domain", "dockbell.localhost:"+port, "--allow-destinations", "127.0.0.0/8", "--log-level", "warn")
			hook := receiverAt(t, freeAddress())
			env := append(prepare(t, dir), "SERVER="+at, "HOST=localhost:"+port, "HOOK=http://"+hook)
			got := want.run(t, dir, env).masked(dir, "/home/ada", ":"+port, ":44300", "%3A"+port, "%3A44300", hook, "127.0.0.1:29000")
			got.compare(t, file, want)
		})
	}
}

// TestRealAzureQuickstart does what docs/az-cli.md begins with, as it is written,
// but for the ports.
func TestRealAzureQuickstart(t *testing.T) {
	forReal(t, "az", "curl")
	t.Parallel()
	text, err := os.ReadFile("../../docs/az-cli.md")
	if err != nil {
		t.Fatal(err)
	}
	_, script, _ := strings.Cut(string(text), "```sh\n")
	script, _, _ = strings.Cut(script, "```")
	for _, must := range []string{"localhost:5000", "127.0.0.1:9000", "&\n"} {
		if !strings.Contains(script, must) {
			t.Fatalf("the first script of the document has no %s:\n%s", must, script)
		}
	}
	listen := freeAddress()
	_, port, _ := net.SplitHostPort(listen)
	script = strings.NewReplacer(
		"dockbell serve", "dockbell serve --listen "+listen, "localhost:5000", "localhost:"+port,
		"127.0.0.1:9000", receiverAt(t, freeAddress()),
	).Replace(script)
	dir := t.TempDir()
	out := shell(t, dir, home(t, dir), "set -e\n"+script+"kill $!\nwait\n")
	if !regexp.MustCompile(`(?m)^ID +ACTION +IMAGE +HTTP STATUS +TIMESTAMP\n-.*\n[0-9a-f-]{36}  ping +200 OK +20`).MatchString(out) {
		t.Errorf("the log of deliveries does not show the ping:\n%s", out)
	}
}

// needsOwnHosts ends a test where a command cannot be given an /etc/hosts of its
// own.
func needsOwnHosts(t *testing.T) {
	t.Helper()
	out, err := exec.Command("unshare", "--mount", "true").CombinedOutput()
	if err != nil {
		missing(t, fmt.Sprintf("NO MOUNTS OF ITS OWN: unshare --mount: %v %s: nothing shows that registries are found by their names; run it as root", err, out))
	}
}

// sitecustomize makes az eventgrid work as Debian has it. There az 2.45 is installed
// beside a newer library of Azure's than it was made for, so that each of its commands
// for Event Grid ends with an ImportError, whatever the server. Python reads this file,
// where PYTHONPATH leads to it, before az: it gives the library the names that az
// imports for other commands, and changes nothing of what is sent.
const sitecustomize = `import azure.mgmt.eventgrid.models as models

for name in (
    "ResourceSku", "EventChannel", "EventChannelSource", "EventChannelDestination", "EventChannelFilter", "ExtendedLocation",
    "PartnerDestinationUpdateParameters", "PartnerDestination", "WebhookUpdatePartnerDestinationInfo", "WebhookPartnerDestinationInfo",
    "AzureADPartnerClientAuthentication",
):
    if not hasattr(models, name):
        setattr(models, name, type(name, (), {}))
`

// receive answers whoever rings, and agrees to be told of events, as CloudEvents and
// Event Grid ask for it.
func receive(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodOptions {
		w.Header().Set("WebHook-Allowed-Origin", r.Header.Get("WebHook-Request-Origin"))
		w.Header().Set("WebHook-Allowed-Rate", "*")
		return
	}
	if r.Header.Get("aeg-event-type") != "SubscriptionValidation" {
		io.WriteString(w, "thanks\n")
		return
	}
	var question []struct {
		Data struct{ ValidationCode string }
	}
	if err := json.NewDecoder(r.Body).Decode(&question); err != nil || len(question) != 1 {
		http.Error(w, "this is no question", http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "{\"validationResponse\": %q}", question[0].Data.ValidationCode)
}

// receiverAt starts a receiver at an address whose port has as many digits as
// that in the sessions.
func receiverAt(t *testing.T, address string) string {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	receiver := httptest.NewUnstartedServer(http.HandlerFunc(receive))
	receiver.Listener.Close()
	receiver.Listener = l
	receiver.Start()
	t.Cleanup(receiver.Close)
	return address
}

// awaitProgram is one that repeats a command until it prints what matches.
const awaitProgram = `#!/bin/sh
pattern=$1
shift
for _ in $(seq 300); do
	"$@" 2>/dev/null | grep -q "$pattern" && exit
	sleep 0.1
done
echo "await: $* does not print $pattern"
exit 1
`

// prepare puts into dir what the sessions need, beside the data of the server
// that runs there, and returns the whole environment of their commands.
func prepare(t *testing.T, dir string) []string {
	t.Helper()
	authority, err := os.ReadFile(filepath.Join(dir, "data", "tls", "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	scanner, err := os.ReadFile("../../docs/scanner.py")
	if err != nil {
		t.Fatal(err)
	}
	writeFiles(t, dir, map[string][]byte{
		"password":            []byte(harness.Password),
		"certs/ca.crt":        authority,
		"bin/await":           []byte(awaitProgram),
		"scanner.py":          scanner,
		"az/sitecustomize.py": []byte(sitecustomize),
	})
	writeImage(t, filepath.Join(dir, "image"), "hello")
	return home(t, dir)
}

// writeImage makes a folder of an image for skopeo, unlike any other by note.
func writeImage(t *testing.T, dir, note string) {
	t.Helper()
	config := []byte("{}")
	writeFiles(t, dir, map[string][]byte{
		"version":       []byte("Directory Transport Version: 1.1\n"),
		"manifest.json": harness.Manifest(note),
		strings.TrimPrefix(harness.Digest(config), "sha256:"): config,
	})
}

// writeFiles makes files below dir.
func writeFiles(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, content, 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

// home returns an environment in which dir is the home folder, and nothing is
// known of the one of whoever runs the test.
func home(t *testing.T, dir string) []string {
	t.Helper()
	path := strings.Join([]string{filepath.Join(dir, "bin"), filepath.Dir(harness.Binary(t)), os.Getenv("PATH")}, string(os.PathListSeparator))
	return []string{"PATH=" + path, "HOME=" + dir, "TMPDIR=" + dir, "LANG=C.UTF-8"}
}
