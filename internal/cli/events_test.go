package cli_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// feed is a server with nothing but the feed of registry contoso.
type feed struct {
	*httptest.Server
	streams chan struct{} // gets one for each stream that begins

	mu      sync.Mutex
	changed chan struct{}
	entries []string // as JSON; their positions count from oldest
	oldest  int      // position of the first of them
	down    bool     // a proxy answers, since the server is not there
	asked   []string // query and Last-Event-ID of the streams asked for
}

func newFeed(t *testing.T) *feed {
	f := &feed{streams: make(chan struct{}, 100), changed: make(chan struct{}), oldest: 1}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	t.Cleanup(f.CloseClientConnections)
	return f
}

func (f *feed) shell(t *testing.T) *shell {
	sh := newShell(t)
	sh.env = map[string]string{"DOCKBELL_SERVER": f.URL, "DOCKBELL_USERNAME": "dockbell", "DOCKBELL_PASSWORD": "s3cret", "DOCKBELL_REGISTRY": "contoso"}
	return sh
}

// do changes the feed and tells those who wait.
func (f *feed) do(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	close(f.changed)
	f.changed = make(chan struct{})
}

// push adds an event.
func (f *feed) push(repository, tag string) {
	f.do(func() {
		pos := f.oldest + len(f.entries)
		f.entries = append(f.entries, fmt.Sprintf(`{"position":%d,"location":"local","actor":"ci","event":{"id":"e%d","timestamp":"2026-11-22T03:04:%02d.123456789Z","action":"push","target":{"repository":%q,"tag":%q,"digest":"sha256:0123456789abcdef0123"}}}`,
			pos, pos, pos%60, repository, tag))
	})
}

// lose cuts all connections.
func (f *feed) lose(down bool) {
	f.do(func() { f.down = down })
	f.CloseClientConnections()
}

func (f *feed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		http.Error(w, "<html>Bad Gateway</html>", http.StatusBadGateway)
		return
	}
	if r.URL.Path != "/api/v1/registries/contoso/events" {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, `{"error":{"code":"ResourceNotFound","message":"nothing is at %s"}}`, r.URL.Path)
		return
	}
	q := r.URL.Query()
	newest := f.oldest + len(f.entries) - 1
	if q.Has("last") {
		n, _ := strconv.Atoi(q.Get("last"))
		f.page(w, f.entries[max(0, len(f.entries)-n):], newest)
		return
	}
	after, _ := strconv.Atoi(q.Get("after"))
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		after, _ = strconv.Atoi(id)
	}
	if after < f.oldest-1 {
		w.WriteHeader(http.StatusGone)
		fmt.Fprintf(w, `{"error":{"code":"PositionExpired","message":"go on with after=%d"},"oldest":%d}`, f.oldest-1, f.oldest)
		return
	}
	if r.Header.Get("Accept") != "text/event-stream" {
		limit, _ := strconv.Atoi(q.Get("limit"))
		some := f.entries[after-f.oldest+1:]
		some = some[:min(limit, len(some))]
		f.page(w, some, after+len(some))
		return
	}
	f.asked = append(f.asked, r.URL.RawQuery+" "+r.Header.Get("Last-Event-ID"))
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprint(w, ":\n\n")
	f.streams <- struct{}{}
	for after >= f.oldest-1 {
		for ; after < f.oldest+len(f.entries)-1; after++ {
			fmt.Fprintf(w, "id: %d\nevent: push\ndata: %s\n\n", after+1, f.entries[after+1-f.oldest])
		}
		http.NewResponseController(w).Flush()
		changed := f.changed
		f.mu.Unlock()
		select {
		case <-changed:
			f.mu.Lock()
		case <-r.Context().Done():
			f.mu.Lock()
			return
		}
	}
}

func (f *feed) page(w http.ResponseWriter, entries []string, next int) {
	fmt.Fprintf(w, `{"value":[%s],"next":%d}`, strings.Join(entries, ","), next)
}

func TestEventsList(t *testing.T) {
	t.Parallel()
	f := newFeed(t)
	sh := f.shell(t)
	sh.terminal = true
	if got := sh.run("events", "list"); got.code != 0 || got.out != "" || !strings.HasPrefix(got.err, "nothing happened in registry contoso yet: docker push 127.0.0.1:") {
		t.Errorf("empty: %+v", got)
	}
	for i := range 30 {
		f.push("team/web", "v"+strconv.Itoa(i+1))
	}
	f.do(func() {
		f.entries[28] = `{"position":29,"actor":"\u001b[31mx","sample":true,"event":{"timestamp":"2026-11-22T03:04:29.5Z","action":"chart_push","target":{"name":"web","version":"1.2"}}}`
		f.entries[29] = `{"position":30,"cause":"retention","event":{"timestamp":"2026-11-22T03:04:30.5Z","action":"delete","target":{"repository":"old","digest":"sha256:0123456789abcdef0123"}}}`
	})
	golden(t, "feed.txt", transcript(sh, "events list --limit 3 -o wide", "events list --after 27 --query '[].position'"))
	f.do(func() {
		f.entries[29] = fmt.Sprintf(`{"position":30,"event":{"timestamp":%q}}`, time.Now().Add(-90*time.Minute).Format(time.RFC3339Nano))
	})
	if got := sh.run("events", "list", "--limit", "1"); got.out != "POSITION  TIME  ACTION  IMAGE  DIGEST  WHO\n30        1h\n" {
		t.Errorf("age: %+v", got)
	}
	for line, want := range map[string]struct{ first, last int }{
		"events list -o json":                               {11, 30},
		"events list -o json --limit 5":                     {26, 30},
		"events list -o json --after 3 --limit 4":           {4, 7},
		"events list -o json --after 0 --limit 1000":        {1, 30},
		"events list -o json -r contoso.azurecr.io":         {11, 30},
		"events list --query [].{position:position} -ojson": {11, 30},
	} {
		var entries []struct{ Position int }
		got := sh.run(strings.Fields(line)...)
		if err := json.Unmarshal([]byte(got.out), &entries); err != nil || got.code != 0 {
			t.Errorf("%s: %+v", line, got)
			continue
		}
		if n := len(entries); n != want.last-want.first+1 || entries[0].Position != want.first || entries[n-1].Position != want.last {
			t.Errorf("%s: %v, want %v", line, entries, want)
		}
	}
	if got := sh.run("events", "list", "--after", "30"); got.err != "nothing happened in registry contoso behind position 30 yet: dockbell events tail -r contoso\n" {
		t.Errorf("beyond the newest: %+v", got)
	}
	f.do(func() { f.oldest = 500 })
	want := "error: events behind position 7 are not kept any more, the oldest has position 500: go on with dockbell events list -r contoso --after 499\n"
	if got := sh.run("events", "list", "--after", "7"); got.code != 1 || got.err != want {
		t.Errorf("expired: %+v", got)
	}
}

// TestEventsTail loses the connection in every way, and nothing of the feed.
func TestEventsTail(t *testing.T) {
	t.Parallel()
	f := newFeed(t)
	f.push("team/web", "before")
	p := f.shell(t).start("events", "tail", "-o", "table")
	<-f.streams
	f.push("team/web", "v1")
	p.sees(p.out, "2026-11-22T03:04:02Z  push  team/web:v1  0123456789ab  ci\n")
	f.lose(false)
	p.sees(p.err, "connected to "+f.URL+" again")
	f.push("team/web", "v2")
	p.sees(p.out, "team/web:v2")
	f.lose(true)
	p.sees(p.err, "trying again until it is back: "+f.URL+" closed the connection\n")
	f.push("a", "v3")
	f.do(func() { f.down = false })
	p.sees(p.out, "a:v3")
	if code := p.stop(); code != 0 {
		t.Errorf("exit %d\n%s", code, p.err)
	}
	if got := p.out.String(); strings.Count(got, "\n") != 3 || strings.Contains(got, "before") {
		t.Errorf("printed\n%s", got)
	}
	f.do(func() {
		if got := strings.Join(f.asked, ", "); !strings.HasPrefix(got, "after=1 1, after=2 2, ") || !strings.HasSuffix(got, ", after=3 3") {
			t.Errorf("streams were asked for with %s", got)
		}
	})
	if got := strings.Count(p.err.String(), "lost the connection"); got != 2 {
		t.Errorf("the loss was told %d times:\n%s", got, p.err)
	}
}

func TestEventsTailJSON(t *testing.T) {
	t.Parallel()
	f := newFeed(t)
	for range 5 {
		f.push("team/web", "v1")
	}
	got := f.shell(t).run("events", "tail", "--after", "2", "--limit", "2")
	lines := strings.Split(strings.TrimSuffix(got.out, "\n"), "\n")
	if got.code != 0 || got.err != "" || len(lines) != 2 {
		t.Fatalf("got %+v", got)
	}
	for i, line := range lines {
		var e struct{ Position int }
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Position != i+3 {
			t.Errorf("line %d: %s, %v", i, line, err)
		}
	}
}

func TestEventsTailRefusals(t *testing.T) {
	t.Parallel()
	f := newFeed(t)
	f.do(func() { f.oldest = 500 })
	sh := f.shell(t)
	for _, tt := range []struct {
		line, want string
		code       int
	}{
		{"events tail --after 7", "error: events behind position 7 are not kept any more, the oldest has position 500: go on with dockbell events tail -r contoso --after 499\n", 1},
		{"events tail --limit -1", "error: --limit: -1 is below zero: use 0 for no end\n", 2},
		{"events tail -o yaml", "error: --output: \"yaml\" is not one of json, table\n", 2},
		{"events list --limit 0", "error: --limit: 0 is out of range: use 1 to 1000\n", 2},
		{"events list --limit 1001", "error: --limit: 1001 is out of range: use 1 to 1000\n", 2},
		{"events tail -r nosuch", "error: nothing is at /api/v1/registries/nosuch/events\n", 1},
		{"events tail --server http://127.0.0.1:1 -p s3cret", "error: nothing listens at 127.0.0.1:1: start the server with dockbell serve, or name another with --server\n", 1},
	} {
		if got := sh.run(strings.Fields(tt.line)...); got.code != tt.code || got.err != tt.want || got.out != "" {
			t.Errorf("%s: %+v", tt.line, got)
		}
	}
	// While the connection was lost, what comes next was removed.
	f.do(func() { f.oldest = 1 })
	f.push("team/web", "v1")
	p := sh.start("events", "tail", "--after", "0")
	p.sees(p.out, `"position":1`)
	f.do(func() { f.oldest = 500 })
	f.CloseClientConnections()
	if code := p.wait(); code != 1 || !strings.HasSuffix(p.err.String(), "error: events behind position 1 are not kept any more, the oldest has position 500: go on with dockbell events tail -r contoso --after 499\n") {
		t.Errorf("exit %d\n%s", code, p.err)
	}
}

func TestEventsTailOnATerminal(t *testing.T) {
	t.Parallel()
	f := newFeed(t)
	f.push("team/web", "v1")
	sh := f.shell(t)
	sh.terminal = true
	p := sh.start("events", "tail", "--after", "0")
	p.sees(p.out, "2026-11-22T03:04:01Z  push  team/web:v1")
	if code := p.stop(); code != 0 {
		t.Errorf("exit %d", code)
	}
	want := "what happens in registry contoso from here on; Ctrl-C ends it\nto go on from here: dockbell events tail -r contoso --after 1\n"
	if got := p.err.String(); got != want {
		t.Errorf("said\n%swant\n%s", got, want)
	}
}
