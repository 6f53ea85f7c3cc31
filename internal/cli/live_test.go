package cli_test

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"
)

// process is a command that runs until it is interrupted.
type process struct {
	t         *testing.T
	out, err  *screen
	interrupt context.CancelFunc
	code      chan int
}

// start runs a command beside the test.
func (s *shell) start(args ...string) *process {
	ctx, interrupt := context.WithCancel(s.t.Context())
	p := &process{t: s.t, out: newScreen(), err: newScreen(), interrupt: interrupt, code: make(chan int, 1)}
	go func() { p.code <- s.execute(ctx, p.out, p.err, args) }()
	s.t.Cleanup(interrupt)
	return p
}

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// wait returns the exit code.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case code := <-p.code:
		return code
	case <-time.After(patience):
		p.t.Fatalf("the command does not end; it printed\n%s%s", p.err, p.out)
		return 0
	}
}

// stop presses Ctrl-C and returns the exit code.
func (p *process) stop() int {
	p.t.Helper()
	p.interrupt()
	return p.wait()
}

// sees waits until the screen shows a text.
func (p *process) sees(s *screen, text string) {
	p.t.Helper()
	if !s.await(text) {
		p.t.Fatalf("%q is not printed; but\n%s%s", text, p.err, p.out)
	}
}

// screen is a writer whose text can be waited for.
type screen struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func newScreen() *screen { return &screen{changed: make(chan struct{})} }

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
	return s.text.Write(b)
}

func (s *screen) look() (string, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String(), s.changed
}

func (s *screen) String() string {
	text, _ := s.look()
	return text
}

func (s *screen) await(text string) bool {
	late := time.After(patience)
	for {
		shown, changed := s.look()
		if strings.Contains(shown, text) {
			return true
		}
		select {
		case <-changed:
		case <-late:
			return false
		}
	}
}
