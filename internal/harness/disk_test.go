package harness_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockbell/dockbell/internal/harness"
)

// mount mounts an empty file system of that many bytes on dir, until the end of
// the test or until the function it returns is called.
func mount(t *testing.T, dir string, size int64, flags uintptr) (unmount func()) {
	t.Helper()
	err := syscall.Mount("dockbell-test", dir, "tmpfs", flags, fmt.Sprintf("size=%d,mode=0700", size))
	if err != nil {
		t.Skipf("NO FILE SYSTEM OF ITS OWN: %v\nThis test proves nothing without the right to mount: run it as root.", err)
	}
	done := false
	unmount = func() {
		if !done {
			done = true
			if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(unmount)
	return unmount
}

// fill takes all the space that dir's file system has left, and returns how to
// give it back.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	name := filepath.Join(dir, "filler")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for len(block) > 0 {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		if err := os.Remove(name); err != nil {
			t.Error(err)
		}
	}
}

// rings is a receiver that tells the digests of pushes.
func rings(t *testing.T) (url string, rang <-chan string) {
	t.Helper()
	digests := make(chan string, 10_000)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var e struct{ Target struct{ Digest string } }
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
			t.Error(err)
		}
		digests <- e.Target.Digest
	}))
	t.Cleanup(receiver.Close)
	return receiver.URL, digests
}

// TestFullDisk fills the disk of the data folder under a running server. Pushes
// are refused with a sentence and ring nothing, pulls go on, and when there is
// space again everything goes on where it was, without a restart.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	data := t.TempDir()
	mount(t, data, 32<<20, 0)
	s := harness.Start(t, data)
	hook, rang := rings(t)
	s.Webhook("diskhook", hook, "push")
	small, layer := []byte("{}"), bytes.Repeat([]byte("layer"), 40_000)
	for _, blob := range [][]byte{small, layer} {
		if err := s.PushBlob(ctx, "app", blob); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]bool{}
	push := func(tag string, manifest []byte) (int, []byte) {
		t.Helper()
		status, answer, err := s.Do(ctx, "PUT", "/v2/app/manifests/"+tag, harness.ManifestType, manifest)
		if err != nil {
			t.Fatal(err)
		}
		if status == http.StatusCreated {
			want[harness.Digest(manifest)] = true
		}
		return status, answer
	}
	keep := image(layer)
	if status, answer := push("keep", keep); status != http.StatusCreated {
		t.Fatalf("%d %s", status, answer)
	}
	// An upload that was under way.
	big := bytes.Repeat([]byte("big layer "), 300_000)
	session := upload(t, s, "app")
	half := len(big) / 2
	session = patch(t, s, session, big[:half], 0, http.StatusAccepted)
	fresh := upload(t, s, "app")

	free := fill(t, data)

	// The database has some pages to write over before it needs new ones.
	var refused int
	for i := 0; refused < 3; i++ {
		if i > 5000 {
			t.Fatal("5000 pushes went to a full disk")
		}
		status, answer := push(fmt.Sprintf("full%d", i), harness.Manifest(fmt.Sprintf("%d %s", i, strings.Repeat("x", 50_000))))
		switch status {
		case http.StatusCreated:
		case http.StatusInsufficientStorage:
			refused++
			sentence(t, answer, "UNAVAILABLE", "the server's disk is full: nothing was changed; free space in its data folder and try again")
		default:
			t.Fatalf("push to a full disk: %d %s", status, answer)
		}
	}
	status, answer, err := s.Do(ctx, "PUT", "/api/v1/registries/dockbell/webhooks/fullhook", nil,
		fmt.Appendf(nil, `{"location":"local","tags":{"t":%q},"properties":{"serviceUri":%q,"actions":["push"],"customHeaders":{"X-Large":%q}}}`, strings.Repeat("x", 200), hook, strings.Repeat("x", 8000)))
	if err != nil || status != http.StatusInsufficientStorage && status != http.StatusOK && status != http.StatusCreated {
		t.Errorf("webhook on a full disk: %d %v %s", status, err, answer)
	}
	if status == http.StatusInsufficientStorage && !bytes.Contains(answer, []byte("disk is full")) {
		t.Errorf("webhook on a full disk: %s", answer)
	}
	if err := s.PushBlob(ctx, "app", bytes.Repeat([]byte("new"), 1<<20)); err == nil || !strings.Contains(err.Error(), "507") || !strings.Contains(err.Error(), "disk is full") {
		t.Errorf("a whole blob: %v", err)
	}
	patch(t, s, fresh, big, 0, http.StatusInsufficientStorage)
	patch(t, s, session, big[half:], half, http.StatusInsufficientStorage)
	// Pulls go on, and so does the control plane's reading.
	if got := s.Must(http.StatusOK, "GET", "/v2/app/manifests/keep", nil, nil); !bytes.Equal(got, keep) {
		t.Errorf("manifest: %s", got)
	}
	if got := s.Must(http.StatusOK, "GET", "/v2/app/blobs/"+harness.Digest(layer), nil, nil); !bytes.Equal(got, layer) {
		t.Errorf("layer: %d bytes", len(got))
	}
	s.Must(http.StatusOK, "GET", "/v2/app/tags/list", nil, nil)
	s.Must(http.StatusOK, "GET", "/api/v1/registries/dockbell/webhooks", nil, nil)
	s.Must(http.StatusOK, "GET", "/readyz", nil, nil)

	free()

	for name, session := range map[string]string{"under way": session, "fresh": fresh} {
		at := offset(t, s, session)
		if name == "under way" && at < half {
			t.Errorf("the upload has %d bytes left of the %d before", at, half)
		}
		session = patch(t, s, session, big[at:], at, http.StatusAccepted)
		s.Must(http.StatusCreated, "PUT", session+"?digest="+harness.Digest(big), nil, nil)
		if got := s.Must(http.StatusOK, "GET", "/v2/app/blobs/"+harness.Digest(big), nil, nil); !bytes.Equal(got, big) {
			t.Errorf("upload %s: %d bytes, want %d", name, len(got), len(big))
		}
	}
	if status, answer := push("later", harness.Manifest("later")); status != http.StatusCreated {
		t.Errorf("push after space was freed: %d %s", status, answer)
	}
	got := map[string]bool{}
	for len(got) < len(want) {
		select {
		case digest := <-rang:
			if got[digest] {
				t.Errorf("%s rang twice", digest)
			}
			got[digest] = true
		case <-time.After(30 * time.Second):
			t.Fatalf("%d of %d rang", len(got), len(want))
		}
	}
	s.Stop()
	for len(rang) > 0 {
		got["further "+<-rang] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-answered with 201 +rang:\n%s", diff)
	}
	if entries, err := os.ReadDir(filepath.Join(data, "uploads")); err != nil || len(entries) > 0 {
		t.Errorf("in uploads there is still %v, %v", entries, err)
	}
}

// runToEnd runs the program to its end and returns its exit code and what it wrote.
func runToEnd(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), harness.Binary(t), args...)
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(text)
}

// sentence checks an error of the data plane.
func sentence(t *testing.T, answer []byte, code, message string) {
	t.Helper()
	var body struct {
		Errors []struct{ Code, Message string }
	}
	strictly(t, answer, &body)
	if len(body.Errors) != 1 || body.Errors[0].Code != code || body.Errors[0].Message != message {
		t.Errorf("%s\nwant %s, %s", answer, code, message)
	}
}

// patch sends a chunk, which has to be answered with status, and returns where
// the upload goes on.
func patch(t *testing.T, s *harness.Server, location string, chunk []byte, at, status int) string {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), "PATCH", s.URL+location, bytes.NewReader(chunk))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Range", fmt.Sprintf("%d-%d", at, at+len(chunk)-1))
	req.SetBasicAuth("dockbell", harness.Password)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, _ := io.ReadAll(res.Body)
	if res.StatusCode != status {
		t.Fatalf("chunk at %d: %s %s, want %d", at, res.Status, answer, status)
	}
	if status == http.StatusInsufficientStorage {
		sentence(t, answer, "UNAVAILABLE", "the server's disk is full: nothing was changed; free space in its data folder and try again")
	}
	return res.Header.Get("Location")
}

// offset asks how much of an upload is stored.
func offset(t *testing.T, s *harness.Server, location string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), "GET", s.URL+location, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("dockbell", harness.Password)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	var last int
	if _, err := fmt.Sscanf(res.Header.Get("Range"), "0-%d", &last); err != nil || res.StatusCode != http.StatusNoContent {
		t.Fatalf("upload status: %s, range %q", res.Status, res.Header.Get("Range"))
	}
	if last == 0 {
		return 0
	}
	return last + 1
}

// TestReadOnlyUploads makes the folder of uploads read-only under a running
// server, as a file system does that has found an error.
func TestReadOnlyUploads(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	data := t.TempDir()
	s := harness.Start(t, data)
	layer := bytes.Repeat([]byte("layer"), 40_000)
	if err := s.PushBlob(ctx, "app", layer); err != nil {
		t.Fatal(err)
	}
	repair := mount(t, filepath.Join(data, "uploads"), 1<<20, syscall.MS_RDONLY)
	other := bytes.Repeat([]byte("other"), 40_000)
	status, answer, err := s.Do(ctx, "POST", "/v2/app/blobs/uploads/?digest="+harness.Digest(other), nil, other)
	if err != nil || status != http.StatusServiceUnavailable {
		t.Errorf("push: %d %v %s", status, err, answer)
	}
	sentence(t, answer, "UNAVAILABLE", "the registry takes no changes at the moment: its data folder cannot be written; the server's log says why")
	s.AwaitLog("read-only file system")
	if got := s.Must(http.StatusOK, "GET", "/v2/app/blobs/"+harness.Digest(layer), nil, nil); !bytes.Equal(got, layer) {
		t.Errorf("pull: %d bytes", len(got))
	}
	repair()
	if err := s.PushBlob(ctx, "app", other); err != nil {
		t.Errorf("push after the repair: %v", err)
	}
}

// TestReadOnlyData: a server does not start where it could keep nothing.
func TestReadOnlyData(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	mount(t, data, 1<<20, syscall.MS_RDONLY)
	code, out := runToEnd(t, "serve", "--listen", "127.0.0.1:0", "--data", data)
	if code != 1 || strings.Count(out, "\n") != 1 || !strings.Contains(out, data) || !strings.Contains(out, "--data") {
		t.Errorf("exit code %d, %q; want 1 and a sentence that names the folder and --data", code, out)
	}
}

// TestStartOnFullDisk: a server that finds no room to start says so, and starts
// when there is some.
func TestStartOnFullDisk(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	mount(t, data, 16<<20, 0)
	s := harness.Start(t, data)
	if err := s.PushBlob(t.Context(), "app", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	for i, end := range []func(*harness.Server){(*harness.Server).Stop, (*harness.Server).Kill} {
		tag := fmt.Sprintf("v%d", i)
		s.Must(http.StatusCreated, "PUT", "/v2/app/manifests/"+tag, harness.ManifestType, harness.Manifest(tag))
		end(s)
		free := fill(t, data)
		code, out := runToEnd(t, "serve", "--listen", "127.0.0.1:0", "--data", data, "--log-level", "error")
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if last := lines[len(lines)-1]; code != 1 || !strings.HasPrefix(last, "error: the ") || !strings.Contains(last, "disk is full") || !strings.Contains(last, "free s") {
			t.Errorf("start %d on a full disk: exit code %d, %q", i, code, out)
		}
		free()
		s = harness.Start(t, data)
		s.Must(http.StatusOK, "GET", "/v2/app/manifests/"+tag, nil, nil)
	}
}
