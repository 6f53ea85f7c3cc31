package harness_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/dockbell/dockbell/internal/harness"
)

// TestScripts runs the program as people do, from scripts that can be read as
// examples. Beside the commands of testscript they have
//
//	exits code command…       the command must end with that exit code
//	until pattern command…    repeat the command until it succeeds and prints what matches
//	push repo:tag             push an image, each time another
//	rang count pattern        wait until that many requests that match rang, and no more
//	answer status             the receiver answers with that status from now on
//
// and in the environment ADDR, a free address to listen on, HOOK, the URL of a
// receiver, PASSWORD, the operator's, and REGISTRY, what push takes for the name
// of the registry and of the operator.
func TestScripts(t *testing.T) {
	binary := harness.Binary(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			heard := &heard{}
			receiver := httptest.NewServer(heard)
			env.Defer(receiver.Close)
			env.Values[heardKey{}] = heard
			env.Setenv("HOOK", receiver.URL+"/hook")
			env.Setenv("ADDR", freeAddress())
			env.Setenv("PATH", filepath.Dir(binary)+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, ".config"))
			env.Setenv("REGISTRY", "dockbell")
			env.Setenv("PASSWORD", harness.Password)
			env.Setenv("DOCKBELL_ADMIN_PASSWORD", harness.Password)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "until": until, "push": pushImage, "rang": rang, "answer": answer,
		},
	})
}

// freeAddress returns an address that nobody listens on, with a port that is
// given to no outgoing connection: a server can come back to it.
func freeAddress() string {
	for {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(20_000+rand.IntN(12_000)))
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			return address
		}
	}
}

// patience is how long a script waits for something to come.
const patience = 30 * time.Second

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code command [argument...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until pattern command [argument...]")
	}
	pattern, err := regexp.Compile(args[0])
	ts.Check(err)
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := ts.Exec(args[1], args[2:]...)
		if err == nil && pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("not within %s: %v", patience, err)
		}
	}
}

func pushImage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: push repo:tag")
	}
	repo, tag, _ := strings.Cut(args[0], ":")
	host := ts.Getenv("ADDR")
	s := &harness.Server{URL: "http://" + host, Host: host, User: ts.Getenv("REGISTRY")}
	ts.Check(s.PushBlob(context.Background(), repo, []byte("{}")))
	manifest := harness.Manifest(fmt.Sprint(rand.Uint64()))
	status, answer, err := s.Do(context.Background(), http.MethodPut, "/v2/"+repo+"/manifests/"+tag, harness.ManifestType, manifest)
	ts.Check(err)
	if status != http.StatusCreated {
		ts.Fatalf("push %s: %d %s", args[0], status, answer)
	}
}

// heard is a receiver that keeps what it was sent.
type heard struct {
	mu       sync.Mutex
	requests []string // header fields and body
	status   int      // of the answers; 0 is 200
}

type heardKey struct{}

func (h *heard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s\n", r.Method, r.URL)
	r.Header.Write(&text)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	text.Write(body)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests = append(h.requests, text.String())
	if h.status != 0 {
		w.WriteHeader(h.status)
	}
	io.WriteString(w, "thanks\n")
}

func (h *heard) count(pattern *regexp.Regexp) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.requests {
		if pattern.MatchString(r) {
			n++
		}
	}
	return n
}

func answer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: answer status")
	}
	status, err := strconv.Atoi(args[0])
	ts.Check(err)
	h := ts.Value(heardKey{}).(*heard)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.status = status
}

func rang(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: rang count pattern")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	pattern, err := regexp.Compile("(?s)" + args[1])
	ts.Check(err)
	h := ts.Value(heardKey{}).(*heard)
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		n := h.count(pattern)
		if n == want {
			return
		}
		if n > want || time.Now().After(deadline) {
			h.mu.Lock()
			defer h.mu.Unlock()
			ts.Fatalf("%d requests match %s, want %d, of\n%s", n, pattern, want, strings.Join(h.requests, "\n\n"))
		}
	}
}
