// Package harness runs the real program for tests: it builds the binary, starts
// it on a free port, talks to it like any client, and kills it.
package harness

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Password is the operator's in every server of this package.
const Password = "kernel-test-password"

var build struct {
	once sync.Once
	path string
	err  error
}

// Binary builds the program once per test process and returns its path.
func Binary(t testing.TB) string {
	t.Helper()
	build.once.Do(func() {
		dir, err := os.MkdirTemp("", "dockbell-bin-")
		if err != nil {
			build.err = err
			return
		}
		build.path = filepath.Join(dir, "dockbell")
		cmd := exec.Command("go", "build", "-o", build.path, "github.com/dockbell/dockbell/cmd/dockbell")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			build.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if build.err != nil {
		t.Fatal(build.err)
	}
	return build.path
}

// Clean removes the binary; call it at the end of TestMain.
func Clean() {
	if build.path != "" {
		os.RemoveAll(filepath.Dir(build.path))
	}
}

// Server is a dockbell process.
type Server struct {
	URL  string // http://127.0.0.1:port, or what its settings say
	Host string // 127.0.0.1:port
	User string // name of the operator; empty is dockbell

	t    testing.TB
	cmd  *exec.Cmd
	log  *lockedBuffer
	done chan struct{}
}

// Start runs dockbell serve on data, and returns when it is ready. The process
// is killed at the end of the test.
func Start(t testing.TB, data string, flags ...string) *Server {
	t.Helper()
	return start(t, append([]string{Binary(t)}, serve(data, flags)...))
}

func serve(data string, flags []string) []string {
	return append([]string{"serve", "--listen", "127.0.0.1:0", "--data", data}, flags...)
}

func start(t testing.TB, command []string) *Server {
	t.Helper()
	s := &Server{t: t, cmd: exec.Command(command[0], command[1:]...), log: &lockedBuffer{}, done: make(chan struct{})}
	s.cmd.Env = append(foreignEnv(), "DOCKBELL_ADMIN_PASSWORD="+Password)
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stderr = s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	address := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			// "dockbell dev serves registry dockbell on http://127.0.0.1:1234, data in …"
			if _, rest, ok := strings.Cut(lines.Text(), " serves registry "); ok {
				_, rest, _ = strings.Cut(rest, " on ")
				at, _, _ := strings.Cut(rest, ",")
				address <- at
			}
		}
		s.cmd.Wait()
		close(s.done)
	}()
	t.Cleanup(s.Kill)
	select {
	case s.URL = <-address:
		_, s.Host, _ = strings.Cut(s.URL, "://")
	case <-s.done:
		t.Fatalf("dockbell serve ended:\n%s", s.log)
	case <-time.After(time.Minute):
		t.Fatalf("dockbell serve is not ready after a minute:\n%s", s.log)
	}
	return s
}

// foreignEnv is the environment without settings of ours.
func foreignEnv() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "DOCKBELL_") })
}

// Kill ends the process with SIGKILL. Killing it twice is fine.
func (s *Server) Kill() {
	s.cmd.Process.Kill()
	<-s.done
}

// Stop ends the process with SIGTERM and checks that it went in good order.
func (s *Server) Stop() {
	s.t.Helper()
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(time.Minute):
		s.t.Fatalf("dockbell does not stop:\n%s", s.log)
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		s.t.Errorf("dockbell stopped with code %d:\n%s", code, s.log)
	}
}

// Log returns what the process wrote to standard error.
func (s *Server) Log() string { return s.log.String() }

// AwaitLog waits until the process has written text to standard error, which
// reaches us a moment later than its answers do.
func (s *Server) AwaitLog(text string) {
	s.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(s.Log(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Errorf("the log does not say %q:\n%s", text, s.Log())
			return
		}
	}
}

// PeakMemory returns the most memory that the process had in RAM so far, in
// bytes. It works on Linux only.
func (s *Server) PeakMemory() int64 {
	s.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	var kib int64
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		s.t.Fatalf("VmHWM: %v in\n%s", err, status)
	}
	return kib << 10
}

// Do sends a request as the operator and returns status and body. An error
// means that no whole answer came.
func (s *Server) Do(ctx context.Context, method, path string, header http.Header, body []byte) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.URL+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	req.SetBasicAuth(cmp.Or(s.User, "dockbell"), Password)
	res, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	return res.StatusCode, answer, err
}

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 128}}

// Must is Do for requests that have to be answered with status.
func (s *Server) Must(status int, method, path string, header http.Header, body []byte) []byte {
	s.t.Helper()
	got, answer, err := s.Do(context.Background(), method, path, header, body)
	if err != nil || got != status {
		s.t.Fatalf("%s %s: status %d, error %v, want %d\n%s", method, path, got, err, status, answer)
	}
	return answer
}

// Webhook makes or replaces a webhook of the default registry.
func (s *Server) Webhook(name, uri string, actions ...string) {
	s.t.Helper()
	body, err := json.Marshal(map[string]any{"location": "local", "properties": map[string]any{"serviceUri": uri, "actions": actions}})
	if err != nil {
		s.t.Fatal(err)
	}
	status, answer, err := s.Do(context.Background(), "PUT", "/api/v1/registries/dockbell/webhooks/"+name, nil, body)
	if err != nil || status/100 != 2 {
		s.t.Fatalf("webhook %s: status %d, error %v\n%s", name, status, err, answer)
	}
}

// Digest returns the sha256 digest of content.
func Digest(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }

// PushBlob pushes a blob in one request after the POST.
func (s *Server) PushBlob(ctx context.Context, repo string, content []byte) error {
	path := "/v2/" + repo + "/blobs/uploads/?digest=" + Digest(content)
	status, answer, err := s.Do(ctx, "POST", path, http.Header{"Content-Type": {"application/octet-stream"}}, content)
	if err == nil && status != http.StatusCreated {
		err = fmt.Errorf("push blob: status %d: %s", status, answer)
	}
	return err
}

// Manifest returns an image manifest of a config that has the bytes "{}", made
// unlike any other by note.
func Manifest(note string) []byte {
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
		`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":2},"layers":[],"annotations":{"note":%q}}`,
		Digest([]byte("{}")), note)
}

// ManifestType is the media type of Manifest.
var ManifestType = http.Header{"Content-Type": {"application/vnd.oci.image.manifest.v1+json"}}

// lockedBuffer is a buffer that a process writes and a test reads.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
