package harness_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/harness"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// TestKill9HostileReceivers kills the real program under load, again and again,
// while it rings receivers of every bad kind beside a good one. In the end some
// of the bad ones are mended. The good one has heard every event then, and those
// that were mended have too, but for dead letters; of those that stay bad, each
// event is accounted for. Nobody hears an event that it took a second time,
// unless an attempt is marked interrupted. The server stays small throughout.
func TestKill9HostileReceivers(t *testing.T) {
	t.Parallel()
	kills := 15
	if n, err := strconv.Atoi(os.Getenv("DOCKBELL_TEST_KILLS")); err == nil {
		kills = n
	}
	if testing.Short() {
		kills = 6
	}
	data := t.TempDir()
	var trapped atomic.Int64
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { trapped.Add(1) }))
	defer trap.Close()
	receivers := hostileReceivers(t, trap.URL)

	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	var history []*change
	var peak int64
	for round := range kills {
		s := harness.Start(t, data)
		if round == 0 {
			for _, r := range receivers {
				r.hook(s)
			}
		}
		done := make(chan []*change)
		ctx, cancel := context.WithCancel(context.Background())
		const workers = 2
		for w := range workers {
			go func() {
				done <- load(ctx, s, fmt.Sprintf("%d.%d", round, w), rand.New(rand.NewPCG(seed, uint64(round*workers+w+1))))
			}()
		}
		time.Sleep(time.Duration(20+rnd.IntN(200)) * time.Millisecond) // when the power goes is chance
		if round%3 == 2 {
			cancel() // without more load, until attempts have ended at their time limit
			time.Sleep(2 * attemptLimit)
		}
		peak = max(peak, s.PeakMemory())
		s.Kill()
		cancel()
		for range workers {
			history = append(history, <-done...)
		}
		checkEvents(t, data, history)
		if t.Failed() {
			t.Fatalf("after kill %d", round+1)
		}
	}
	events := checkEvents(t, data, history)
	parked := 0
	for _, e := range openLedger(t, data).endpoints {
		if e.cursor.Valid {
			parked++
		}
	}
	if parked == 0 {
		t.Error("no endpoint is parked: this test shows nothing of what waits behind a cursor")
	}

	s := harness.Start(t, data)
	for _, r := range receivers {
		if r.mend {
			r.repair(t)
			s.Must(http.StatusOK, "POST", r.path()+"/pause", nil, nil)
			s.Must(http.StatusOK, "POST", r.path()+"/resume", nil, nil) // which is to say: try it now
		}
	}
	for _, r := range receivers {
		if r.mend || r.mild {
			r.await(t, s)
		}
	}
	peak = max(peak, s.PeakMemory())
	s.Stop()

	books := openLedger(t, data)
	for _, r := range receivers {
		r.check(t, &books, events)
	}
	if n := trapped.Load(); n > 0 {
		t.Errorf("%d requests went where a redirect pointed", n)
	}
	if bound := int64(128 << 20); peak > bound {
		t.Errorf("the server had %d MiB in RAM, want at most %d", peak>>20, bound>>20)
	}
	t.Logf("%d kills, %d events for %d receivers, %d parked, at most %d MiB", kills, len(events), len(receivers), parked, peak>>20)
}

// attemptLimit is the time limit of an attempt at the bad receivers.
const attemptLimit = time.Second

// hostile is a receiver that misbehaves until it is mended.
type hostile struct {
	name      string
	misbehave func(c *net.TCPConn, took func()) // answers a request; took says that it counts as delivered
	mild      bool                              // it takes everything in the end
	mend      bool                              // it shall be repaired in the end

	address string
	closed  int // a socket that nobody listens on yet; 0 for none
	well    atomic.Bool

	mu   sync.Mutex
	took map[string]int // how often it took each event
}

// hostileReceivers starts a receiver of each kind, until the end of the test.
func hostileReceivers(t *testing.T, elsewhere string) (all []*hostile) {
	t.Helper()
	answer := func(status string) func(*net.TCPConn, func()) {
		return func(c *net.TCPConn, _ func()) { io.WriteString(c, "HTTP/1.1 "+status+"\r\n\r\n") }
	}
	forever := func(head, text string, pause time.Duration) func(*net.TCPConn, func()) {
		return func(c *net.TCPConn, _ func()) {
			_, err := io.WriteString(c, head)
			for ; err == nil; time.Sleep(pause) {
				_, err = io.WriteString(c, text)
			}
		}
	}
	bomb := gzipped(64 << 20)
	var turn atomic.Int64
	all = []*hostile{
		{name: "sound", mild: true, misbehave: answerWell},
		{name: "slow0", mild: true, misbehave: func(c *net.TCPConn, took func()) {
			time.Sleep(attemptLimit / 10)
			answerWell(c, took)
		}},
		{name: "flaps", mend: true, misbehave: func(c *net.TCPConn, took func()) {
			switch turn.Add(1) % 3 {
			case 0:
				answerWell(c, took)
			case 1:
				answer("503 Service Unavailable")(c, nil)
			case 2:
				c.SetLinger(0) // what comes is a reset
			}
		}},
		{name: "silent", mend: true, misbehave: func(c *net.TCPConn, _ func()) { io.Copy(io.Discard, c) }},
		{name: "drips", mend: true, misbehave: forever("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", "x", time.Second)},
		{name: "dripsheaders", misbehave: forever("HTTP/1.1 200 OK\r\n", "x", time.Second)},
		{name: "streams", misbehave: forever("HTTP/1.1 500 Internal Server Error\r\n\r\n", strings.Repeat("x", 64<<10), 0)},
		{name: "bombs", mend: true, misbehave: func(c *net.TCPConn, _ func()) {
			fmt.Fprintf(c, "HTTP/1.1 502 Bad Gateway\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", len(bomb), bomb)
		}},
		{name: "floods", misbehave: forever("", "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n", 0)},
		{name: "resets", mend: true, misbehave: func(c *net.TCPConn, _ func()) { c.SetLinger(0) }},
		{name: "redirects", misbehave: answer("307 Temporary Redirect\r\nLocation: " + elsewhere)},
		{name: "headers", misbehave: answer("200 OK" + strings.Repeat("\r\nX-Header: "+strings.Repeat("x", 1000), 10_000))},
		{name: "absent", mend: true},
		{name: "refuses", misbehave: answer("400 Bad Request")},
	}
	for _, r := range all {
		r.took = map[string]int{}
		r.open(t)
	}
	return all
}

// answerWell takes an event.
func answerWell(c *net.TCPConn, took func()) {
	took()
	io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
}

// open takes an address of its own, and listens there if it ever answers.
func (r *hostile) open(t *testing.T) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	if err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	r.address, r.closed = fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port), fd
	if r.misbehave != nil {
		r.listen(t)
	}
}

func (r *hostile) listen(t *testing.T) {
	t.Helper()
	if err := syscall.Listen(r.closed, 128); err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(r.closed), r.address)
	l, err := net.FileListener(file)
	if err = errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r.converse(c.(*net.TCPConn))
			}()
		}
	}()
}

// repair makes it a good receiver.
func (r *hostile) repair(t *testing.T) {
	t.Helper()
	r.well.Store(true)
	if r.misbehave == nil {
		r.listen(t)
	}
}

// gzipped returns n zeros, compressed.
func gzipped(n int) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	w.Write(make([]byte, n))
	w.Close()
	return buf.Bytes()
}

// converse answers the requests on a connection: one after the other, or none
// after one that it dealt badly with.
func (r *hostile) converse(c *net.TCPConn) {
	for in := bufio.NewReader(c); ; {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		var body struct{ ID string }
		text, err := io.ReadAll(req.Body)
		if err != nil || json.Unmarshal(text, &body) != nil {
			return
		}
		took := func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.took[body.ID]++
		}
		if r.well.Load() {
			answerWell(c, took)
			continue
		}
		r.misbehave(c, took)
		if !r.mild {
			return
		}
	}
}

func (r *hostile) path() string { return "/api/v1/registries/dockbell/webhooks/" + r.name }

// hook makes the webhook that rings it.
func (r *hostile) hook(s *harness.Server) {
	policy := fmt.Sprintf(`{"timeoutInSeconds":%d}`, attemptLimit/time.Second)
	if r.mild {
		policy = "null" // time enough, however busy this machine is
	}
	s.Must(http.StatusCreated, "PUT", r.path(), nil, fmt.Appendf(nil,
		`{"location":"local","properties":{"serviceUri":"http://%s","actions":["push","delete"],"retryPolicy":%s}}`, r.address, policy))
}

// await waits until nothing is owed to it any more.
func (r *hostile) await(t *testing.T, s *harness.Server) {
	t.Helper()
	var webhook struct {
		Health struct {
			State           string
			Waiting, Behind int
		}
	}
	h := &webhook.Health
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		answer := s.Must(http.StatusOK, "GET", r.path()+"?expand=health", nil, nil)
		if err := json.Unmarshal(answer, &webhook); err != nil {
			t.Fatal(err)
		}
		if h.State == "ok" && h.Waiting == 0 && h.Behind == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not done: %+v", r.name, *h)
		}
	}
}

// check compares what a receiver heard with what is on record, and that with
// what happened.
func (r *hostile) check(t *testing.T, books *ledger, events []outbox.Entry) {
	t.Helper()
	endpoint := books.endpoint(t, r.name)
	fates := map[fate]int{}
	answers := map[string]int{}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range events {
		o := owed{endpoint.id, e.Event.Pos}
		is, log, took := books.fate(endpoint, e.Event.Pos), books.attempts[o], r.took[e.Event.ID]
		fates[is]++
		for _, a := range log {
			answers[a.answer]++
		}
		n := count(log, "delivered")
		switch interrupted := count(log, "interrupted"); {
		case is == lost:
			t.Errorf("%s: nothing is on record of event %d: %+v", r.name, o.pos, log)
		case (r.mild || r.mend) && is != delivered && is != refused && is != dead:
			t.Errorf("%s: event %d is %s, in the end: %+v", r.name, o.pos, is, log)
		case is == dead && interrupted < 3:
			t.Errorf("%s: event %d is %s for no reason: %+v", r.name, o.pos, is, log)
		case is == delivered && (n != 1 || took == 0):
			t.Errorf("%s: event %d was delivered on record, in truth taken %d times: %+v", r.name, o.pos, took, log)
		case is != delivered && n > 0:
			t.Errorf("%s: event %d was delivered, and is %s too: %+v", r.name, o.pos, is, log)
		case took > n && interrupted < took-n:
			t.Errorf("%s: event %d was taken %d times: %+v", r.name, o.pos, took, log)
		case r.name == "sound" && took == 0:
			t.Errorf("the sound receiver never heard event %d: %+v", o.pos, log)
		}
		delete(r.took, e.Event.ID)
	}
	for id := range r.took {
		t.Errorf("%s heard of %s, which did not happen", r.name, id)
	}
	t.Logf("%s: events %v, attempts %v", r.name, fates, answers)
}

func count(log []attempt, outcome string) (n int) {
	for _, a := range log {
		if a.outcome == outcome {
			n++
		}
	}
	return n
}

// fate is what became of an event at an endpoint that it is owed to.
type fate string

const (
	delivered fate = "delivered"
	refused   fate = "refused"
	waiting   fate = "waiting in a row"
	behind    fate = "beyond the cursor"
	unknown   fate = "not expanded yet"
	dead      fate = "a dead letter"
	lost      fate = "nowhere"
)

// ledger is what a database knows of deliveries, other than of replays.
type ledger struct {
	endpoints []endpointRow
	expanded  int64 // every event up to here has its deliveries on record
	attempts  map[owed][]attempt
	rows      map[owed]bool
	letters   []letter
}

type endpointRow struct {
	id     int64
	name   string
	cursor sql.NullInt64
}

// owed is an event that is owed to an endpoint.
type owed struct{ endpoint, pos int64 }

// attempt is one to bring an event to an endpoint.
type attempt struct {
	outcome string
	answer  string // outcome, status, and class of failure
}

// letter is a dead letter: one event or a range.
type letter struct{ endpoint, from, to int64 }

// openLedger reads the ledger of a server that does not run.
func openLedger(t *testing.T, data string) (l ledger) {
	t.Helper()
	read(t, data, func(tx *sqldb.Tx) (err error) {
		l, err = readLedger(tx)
		return err
	})
	return l
}

func readLedger(tx *sqldb.Tx) (l ledger, err error) {
	if err := tx.Get("SELECT expanded FROM event_position", nil, &l.expanded); err != nil {
		return l, err
	}
	l.endpoints, err = sqldb.Select(tx, func(scan sqldb.Scan) (e endpointRow, err error) {
		return e, scan(&e.id, &e.name, &e.cursor)
	}, "SELECT e.id, w.name, e.cursor FROM endpoint e JOIN webhook w ON w.id = e.id ORDER BY e.id")
	if err != nil {
		return l, err
	}
	l.attempts = map[owed][]attempt{}
	err = tx.Each("SELECT endpoint, pos, outcome, status, error_class FROM attempt WHERE replay_no = 0 ORDER BY n", nil, func(scan sqldb.Scan) error {
		var o owed
		var a attempt
		var status int
		var class string
		err := scan(&o.endpoint, &o.pos, &a.outcome, &status, &class)
		a.answer = strings.TrimSpace(fmt.Sprintf("%s %d %s", a.outcome, status, class))
		l.attempts[o] = append(l.attempts[o], a)
		return err
	})
	if err != nil {
		return l, err
	}
	l.rows = map[owed]bool{}
	err = tx.Each("SELECT endpoint, pos FROM delivery WHERE replay_no = 0", nil, func(scan sqldb.Scan) error {
		var o owed
		err := scan(&o.endpoint, &o.pos)
		l.rows[o] = true
		return err
	})
	if err != nil {
		return l, err
	}
	l.letters, err = sqldb.Select(tx, func(scan sqldb.Scan) (d letter, err error) {
		return d, scan(&d.endpoint, &d.from, &d.to)
	}, "SELECT endpoint, pos_from, pos_to FROM dead_letter")
	return l, err
}

func (l *ledger) endpoint(t *testing.T, webhook string) endpointRow {
	t.Helper()
	for _, e := range l.endpoints {
		if e.name == webhook {
			return e
		}
	}
	t.Fatalf("there is no webhook %s", webhook)
	return endpointRow{}
}

// fate returns what became of an event that is owed to an endpoint.
func (l *ledger) fate(e endpointRow, pos int64) fate {
	o := owed{e.id, pos}
	switch log := l.attempts[o]; {
	case count(log, "delivered") > 0:
		return delivered
	case count(log, "refused") > 0:
		return refused
	case l.rows[o]:
		return waiting
	case e.cursor.Valid && pos > e.cursor.Int64:
		return behind
	case pos > l.expanded:
		return unknown
	}
	for _, d := range l.letters {
		if d.endpoint == e.id && d.from <= pos && pos <= d.to {
			return dead
		}
	}
	return lost
}
