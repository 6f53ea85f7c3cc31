package harness_test

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"database/sql"
	"encoding"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/harness"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// TestPowerLoss records every write and flush of the real program under load,
// and rebuilds from them what a power failure at some moment would leave on the
// disk: what was flushed, and of the rest nothing, all, or any part. In each of
// these states, every change that was acknowledged until then is there with its
// event, no event stands for a change that did not happen, the database is whole
// and so are the files of large blobs. On some of them the program is started
// again, and rings all it owes.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	states, restarts, tries := 200, 5, 12
	if testing.Short() || raceEnabled {
		states, restarts, tries = 24, 1, 6
	}
	if n, err := strconv.Atoi(os.Getenv("DOCKBELL_TEST_POWER_FAILURES")); err == nil {
		states = n
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))

	var receiver atomic.Pointer[bell] // nil while the program is recorded
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b := receiver.Load(); b != nil {
			b.ServeHTTP(w, r)
			return
		}
		time.Sleep(200 * time.Millisecond) // so that at any time some events are owed
	}))
	defer hook.Close()
	r := record(t, hook.URL, seed)

	t.Run("States", func(t *testing.T) {
		r.fail(t, newDisk(r.data), r.points(rnd, states), seed, func(f failure, problems []string) {
			if len(problems) > 0 {
				t.Errorf("%s:\n%s", f, strings.Join(problems, "\n"))
			}
		})
	})
	t.Run("Restarts", func(t *testing.T) {
		for range restarts {
			r.restart(t, failure{seed, len(r.steps)/4 + rnd.IntN(len(r.steps)*3/4), losses[rnd.IntN(len(losses))]}, &receiver)
		}
	})
	// On disks that do not keep what they promise, something is lost each time.
	for name, bad := range map[string]func(path string, folder bool) bool{
		"AllFlushes":        func(string, bool) bool { return true },
		"FlushesOfFolders":  func(_ string, folder bool) bool { return folder },
		"FlushesOfLog":      func(path string, _ bool) bool { return strings.HasSuffix(path, ".db-wal") },
		"FlushesOfDatabase": func(path string, _ bool) bool { return strings.HasSuffix(path, ".db") },
		"FlushesOfBlobs":    func(path string, folder bool) bool { return !folder && strings.Contains(path, "/uploads/") },
	} {
		t.Run("ModelHasTeeth/Ignored"+name, func(t *testing.T) {
			d := newDisk(r.data)
			d.ignores = bad
			var caught []string
			r.fail(t, d, r.points(rnd, tries), seed, func(_ failure, problems []string) { caught = append(caught, problems...) })
			if len(caught) == 0 {
				t.Errorf("%d power failures on a disk that ignores %s lost nothing: this test cannot fail", tries, name)
			} else {
				t.Logf("for example: %.200s", caught[0])
			}
		})
	}
}

// recording is what the program did under load.
type recording struct {
	data     string
	steps    []harness.Step
	requests []*request
	acked    map[string]int // by request: the step in which its answer was sent
}

// request is a change that a client asked for.
type request struct {
	id   string
	repo string
	want int // the status that acknowledges it

	change  *change // of a manifest
	content []byte  // of a blob that was pushed whole, or of a part of an upload
	session string  // of an upload that the part begins: where its rest goes
	goesOn  bool    // somebody asked for the rest

	answered bool // with want, as the client sees it
}

// record runs the program three times on one data folder: to an end in good
// order, after a rest in which it empties its write-ahead log; and twice to a
// kill -9 under load.
func record(t *testing.T, hook string, seed uint64) *recording {
	t.Helper()
	r := &recording{data: filepath.Join(t.TempDir(), "data"), acked: map[string]int{}}
	if err := os.Mkdir(r.data, 0o700); err != nil {
		t.Fatal(err)
	}
	d := newDisk(r.data)
	for round := range 3 {
		trace := filepath.Join(t.TempDir(), "trace")
		s := harness.StartTraced(t, r.data, trace)
		if round == 0 {
			s.Webhook("powerhook", hook, "push", "delete")
			r.load(t, s, seed, 300, nil)
			awaitEmpty(t, filepath.Join(r.data, "dockbell.db-wal"))
			r.load(t, s, seed, 20, nil)
			s.Stop()
		} else {
			// As kill -9, but at a moment when strace has recorded all that the
			// server did: of calls that a kill cuts off, it tells lies.
			r.load(t, s, seed, 150, func() { s.Freeze(); s.Kill() })
		}
		r.read(t, d, trace)
	}
	r.rehearsed(t)
	for _, q := range r.requests {
		if _, sent := r.acked[q.id]; q.answered && !sent {
			t.Fatalf("the answer to %s is not in the trace", q.id)
		}
	}
	return r
}

// awaitEmpty waits until a file has no bytes.
func awaitEmpty(t *testing.T, file string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		info, err := os.Stat(file)
		if err == nil && info.Size() == 0 {
			return
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%s is not emptied: %v", file, err)
		}
	}
}

// read adds a trace of a server that ended.
func (r *recording) read(t *testing.T, d *disk, trace string) {
	t.Helper()
	steps, err := harness.ReadTrace(trace)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range append(steps, harness.Step{}) {
		if id, ok := answerTo(s); ok {
			r.acked[id] = len(r.steps)
		}
		r.steps = append(r.steps, s)
		if err := d.apply(s); err != nil {
			t.Fatal(err)
		}
	}
	d.compare(t)
}

// rehearsed checks that the recording has what a power failure may disturb.
func (r *recording) rehearsed(t *testing.T) {
	t.Helper()
	seen := map[string]int{}
	for _, s := range r.steps {
		if s.Call == nil || s.Returned {
			continue
		}
		path := s.Operands[0].Path
		if names := paths(s.Call); names != nil {
			path = names[len(names)-1]
		}
		if rel, ok := strings.CutPrefix(path, r.data+"/"); ok {
			folder, _, _ := strings.Cut(rel, "/")
			seen[s.Name+" "+folder]++
		}
	}
	for _, what := range []string{
		"pwrite64 dockbell.db-wal", "fsync dockbell.db-wal", "pwrite64 dockbell.db", "fsync dockbell.db", // copied while it runs
		"ftruncate dockbell.db-wal", "unlink dockbell.db-wal", // emptied at rest, and gone after a stop
		"write uploads", "fsync uploads", "renameat blobs",
	} {
		if seen[what] == 0 {
			t.Errorf("nothing in the trace does %s, want some: %v", what, seen)
		}
	}
}

// requestID is the header by which an answer is known in the trace.
const requestID = "X-Ms-Client-Request-Id"

// answerTo reports whether a step begins to send the answer to a request that
// was carried out, and to which.
func answerTo(s harness.Step) (id string, ok bool) {
	if s.Call == nil || s.Returned || s.Name != "write" || !strings.HasPrefix(s.Operands[1].Text, "HTTP/1.1 2") {
		return "", false
	}
	_, rest, ok := strings.Cut(s.Operands[1].Text, "\r\n"+requestID+": ")
	id, _, _ = strings.Cut(rest, "\r\n")
	return id, ok
}

// load sends n requests; then it calls end, if there is one, and goes on until
// the server is gone.
func (r *recording) load(t *testing.T, s *harness.Server, seed uint64, n int, end func()) {
	t.Helper()
	var left atomic.Int64
	left.Store(int64(n))
	var mu sync.Mutex
	var wg sync.WaitGroup
	const clients = 4
	for i := range clients {
		number := len(r.requests) + i // that no other client has
		wg.Go(func() {
			c := &powerClient{s: s, name: fmt.Sprintf("c%d", number), rnd: rand.New(rand.NewPCG(seed, uint64(number)))}
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				r.requests = append(r.requests, c.sent...)
			}()
			c.repo = fmt.Sprintf("load/r%d", c.rnd.IntN(3))
			if !c.blob([]byte("{}")) {
				return
			}
			for c.next() {
				if left.Add(-1) <= 0 && end == nil {
					return
				}
			}
			if end == nil {
				t.Errorf("%s: %s", c.name, c.failed)
			}
		})
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		wg.Wait()
	}()
	if end != nil {
		for waiting := true; waiting && left.Load() > 0; {
			select {
			case <-gone:
				waiting = false
			case <-time.After(time.Millisecond):
			}
		}
		end()
	}
	<-gone
}

// powerClient sends requests one after the other.
type powerClient struct {
	s          *harness.Server
	name, repo string
	rnd        *rand.Rand
	sent       []*request
	mine       []string // manifests that it may delete
	failed     string   // how the last request failed
}

// do sends a request of which the trace shall tell when it was answered.
func (c *powerClient) do(q *request, method, path string, header http.Header, body []byte) (location string, ok bool) {
	q.id, q.repo = fmt.Sprintf("%s.%d", c.name, len(c.sent)), c.repo
	c.sent = append(c.sent, q)
	return c.send(q, method, path, header, body)
}

func (c *powerClient) send(q *request, method, path string, header http.Header, body []byte) (location string, ok bool) {
	req, err := http.NewRequest(method, c.s.URL+path, bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	req.Header.Set(requestID, q.id)
	req.SetBasicAuth("dockbell", harness.Password)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.failed = err.Error()
		return "", false
	}
	defer res.Body.Close()
	if res.StatusCode != q.want {
		c.failed = res.Status
		return "", false
	}
	q.answered = true
	return res.Header.Get("Location"), true
}

var octets = http.Header{"Content-Type": {"application/octet-stream"}}

// blob pushes a blob whole.
func (c *powerClient) blob(content []byte) bool {
	path := "/v2/" + c.repo + "/blobs/uploads/?digest=" + harness.Digest(content)
	_, ok := c.do(&request{want: http.StatusCreated, content: content}, "POST", path, octets, content)
	return ok
}

// part pushes a part of a blob, and returns where the rest goes.
func (c *powerClient) part(content []byte) (location string, ok bool) {
	location, ok = c.send(&request{want: http.StatusAccepted}, "POST", "/v2/"+c.repo+"/blobs/uploads/", nil, nil)
	if !ok {
		return "", false
	}
	return c.do(&request{want: http.StatusAccepted, content: content, session: location}, "PATCH", location, octets, content)
}

// bytes returns n bytes that no other blob has.
func (c *powerClient) bytes(n int) []byte {
	content := make([]byte, n)
	for i := 0; i+8 <= n; i += 8 {
		binary.NativeEndian.PutUint64(content[i:], c.rnd.Uint64())
	}
	return append(content, c.name+strconv.Itoa(len(c.sent))...)
}

// next sends one request, or a few that belong together.
func (c *powerClient) next() bool {
	switch c.rnd.IntN(10) {
	case 0: // in the database
		return c.blob(c.bytes(c.rnd.IntN(60 << 10)))
	case 1: // in a file, and an image of it
		layer := c.bytes(70<<10 + c.rnd.IntN(100<<10))
		return c.blob(layer) && c.manifest(image(layer))
	case 2: // in a file, in two parts
		content := c.bytes(140<<10 + c.rnd.IntN(100<<10))
		half := len(content) / 2
		location, ok := c.part(content[:half])
		if !ok {
			return false
		}
		c.sent[len(c.sent)-1].goesOn = true
		_, ok = c.do(&request{want: http.StatusCreated, content: content}, "PUT", location+"?digest="+harness.Digest(content), octets, content[half:])
		return ok
	case 3: // a part that nobody goes on with
		_, ok := c.part(c.bytes(c.rnd.IntN(140 << 10)))
		return ok
	case 4, 5:
		if len(c.mine) > 0 {
			at := c.rnd.IntN(len(c.mine))
			gone := c.mine[at]
			c.mine = slices.Delete(c.mine, at, at+1)
			q := &request{want: http.StatusAccepted, change: &change{action: "delete", repo: c.repo, digest: gone}}
			_, ok := c.do(q, "DELETE", "/v2/"+c.repo+"/manifests/"+gone, nil, nil)
			return ok
		}
	}
	return c.manifest(harness.Manifest(fmt.Sprintf("%s.%d", c.name, len(c.sent))))
}

// manifest pushes a manifest, with or without a tag.
func (c *powerClient) manifest(manifest []byte) bool {
	q := &request{want: http.StatusCreated, change: &change{action: "push", repo: c.repo, digest: harness.Digest(manifest)}}
	if c.rnd.IntN(4) > 0 {
		q.change.tag = fmt.Sprintf("t%d", c.rnd.IntN(5))
	}
	_, ok := c.do(q, "PUT", "/v2/"+c.repo+"/manifests/"+cmp.Or(q.change.tag, q.change.digest), harness.ManifestType, manifest)
	c.mine = append(c.mine, q.change.digest)
	return ok
}

// points returns n moments of the recording in which the power may fail, oldest
// first: some anywhere, some where a flush or an answer has just been, and some
// while pages are copied from the log into the database.
func (r *recording) points(rnd *rand.Rand, n int) []int {
	var turns, copies []int
	for i, s := range r.steps {
		switch _, answer := answerTo(s); {
		case answer, s.Call != nil && s.Returned && slices.Contains([]string{"fsync", "fdatasync", "ftruncate", "renameat", "unlink"}, s.Name):
			turns = append(turns, i)
		case s.Call != nil && s.Name == "pwrite64" && strings.HasSuffix(s.Operands[0].Path, ".db"):
			copies = append(copies, i)
		}
	}
	points := make([]int, n)
	for i := range points {
		switch rnd.IntN(3) {
		case 0:
			points[i] = rnd.IntN(len(r.steps))
		case 1:
			points[i] = turns[rnd.IntN(len(turns))] + rnd.IntN(3)
		case 2:
			points[i] = copies[rnd.IntN(len(copies))] + rnd.IntN(3)
		}
		points[i] = min(points[i], len(r.steps)-1)
	}
	slices.Sort(points)
	return points
}

// failure is a loss of power.
type failure struct {
	seed  uint64
	point int // the last step before it
	kind  lossKind
}

func (f failure) String() string {
	return fmt.Sprintf("seed %d: the power fails after step %d, lost of what is not flushed: %s", f.seed, f.point, f.kind)
}

// fail plays the recording on a disk, and lets the power fail at the points. It
// tells found what is wrong with each state that is left, one at a time.
func (r *recording) fail(t *testing.T, d *disk, points []int, seed uint64, found func(failure, []string)) {
	t.Helper()
	type state struct {
		failure
		dir string
	}
	states := make(chan state)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for s := range states {
				all := problems(t, func(t testing.TB) { r.check(t, s.dir, s.point) })
				os.RemoveAll(s.dir)
				mu.Lock()
				found(s.failure, all)
				mu.Unlock()
			}
		})
	}
	defer wg.Wait()
	defer close(states)
	for i, next := 0, 0; next < len(points); i++ {
		if err := d.apply(r.steps[i]); err != nil {
			t.Error(err)
			return
		}
		for ; next < len(points) && points[next] == i; next++ {
			f := failure{seed, i, losses[next%len(losses)]}
			dir := inMemory(t)
			if err := f.leave(d, dir); err != nil {
				t.Error(err)
				return
			}
			states <- state{f, dir}
		}
	}
}

// inMemory makes a folder, until the end of the test, where flushes cost nothing
// if this machine has such a place.
func inMemory(t *testing.T) string {
	t.Helper()
	parent := "/dev/shm"
	if info, err := os.Stat(parent); err != nil || !info.IsDir() {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "dockbell-power-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// leave writes to an empty folder what the failure leaves of a disk: the same
// each time. What is left of the index of the write-ahead log, which is never
// flushed, is anything.
func (f failure) leave(d *disk, dir string) error {
	rnd := rand.New(rand.NewPCG(f.seed, uint64(f.point)))
	if err := d.leave(dir, f.kind, rnd); err != nil || rnd.IntN(2) == 0 {
		return err
	}
	junk := make([]byte, 32<<10)
	for i := range junk {
		junk[i] = byte(rnd.Uint32())
	}
	return os.WriteFile(filepath.Join(dir, "dockbell.db-shm"), junk, 0o600)
}

// problems returns what check finds, without failing the test.
func problems(t testing.TB, check func(testing.TB)) []string {
	n := &notes{TB: t}
	done := make(chan struct{})
	go func() { // which Fatal ends
		defer close(done)
		check(n)
	}()
	<-done
	return n.all
}

// notes are what a check has to say.
type notes struct {
	testing.TB
	all []string
}

func (n *notes) Errorf(format string, args ...any) {
	n.all = append(n.all, fmt.Sprintf(format, args...))
}

func (n *notes) Fatal(args ...any) {
	n.all = append(n.all, fmt.Sprint(args...))
	runtime.Goexit()
}

// ackedAt reports whether a request was acknowledged when a step happened.
func (r *recording) ackedAt(q *request, point int) bool {
	at, ok := r.acked[q.id]
	return ok && at <= point
}

// check looks at what the power failure after a step left of the data folder. It
// returns the events and what became of each at the one webhook there is.
func (r *recording) check(t testing.TB, dir string, point int) (events []outbox.Entry, fates map[int64]fate) {
	_, noKey := os.Stat(filepath.Join(dir, "data-key"))
	_, noDatabase := os.Stat(filepath.Join(dir, "dockbell.db"))
	if noKey != nil && noDatabase == nil {
		t.Errorf("there is a database without its key: %v", noKey)
	}
	var history []*change
	for _, q := range r.requests {
		if q.change != nil {
			c := *q.change
			c.acked = r.ackedAt(q, point)
			history = append(history, &c)
		}
	}
	events = checkEvents(t, dir, history)
	read(t, dir, func(tx *sqldb.Tx) error {
		whole, err := sqldb.Select(tx, text, "PRAGMA integrity_check")
		if err != nil {
			return err
		}
		if len(whole) != 1 || whole[0] != "ok" {
			t.Errorf("the database is damaged: %s", strings.Join(whole, "; "))
		}
		if err := r.checkContents(t, tx, dir); err != nil {
			return err
		}
		blobs, err := lines(tx, "SELECT r.name || ' ' || l.digest FROM blob_link l JOIN repository r ON r.id = l.repository JOIN content c ON c.digest = l.digest")
		if err != nil {
			return err
		}
		uploads, err := lines(tx, "SELECT repository || ' ' || size FROM upload")
		if err != nil {
			return err
		}
		for _, q := range r.requests {
			switch {
			case !r.ackedAt(q, point), q.change != nil, q.goesOn:
			case q.session != "":
				if !uploads[fmt.Sprintf("%s %d", q.repo, len(q.content))] {
					t.Errorf("%s: a part of %d bytes in %s was acknowledged and is lost", q.id, len(q.content), q.repo)
				}
			case !blobs[q.repo+" "+harness.Digest(q.content)]:
				t.Errorf("%s: blob %s of %d bytes in %s was acknowledged and is lost", q.id, harness.Digest(q.content), len(q.content), q.repo)
			}
		}
		books, err := readLedger(tx)
		if err != nil || len(events) == 0 {
			return err
		}
		if len(books.endpoints) != 1 {
			t.Errorf("there are %d endpoints, want the one that was acknowledged before the first event", len(books.endpoints))
			return nil
		}
		fates = map[int64]fate{}
		for _, e := range events {
			at := books.fate(books.endpoints[0], e.Event.Pos)
			fates[e.Event.Pos] = at
			if at == lost {
				t.Errorf("nothing is on record of event %d", e.Event.Pos)
			}
		}
		return nil
	})
	return events, fates
}

func text(scan sqldb.Scan) (line string, err error) { return line, scan(&line) }

// lines returns the rows of a query as a set.
func lines(tx *sqldb.Tx, query string) (map[string]bool, error) {
	rows, err := sqldb.Select(tx, text, query)
	set := map[string]bool{}
	for _, row := range rows {
		set[row] = true
	}
	return set, err
}

// checkContents compares everything that has a digest with it, and the uploads
// with the state of their hash.
func (r *recording) checkContents(t testing.TB, tx *sqldb.Tx, dir string) error {
	matches := func(what, digest string, size int64, data []byte, file sql.NullString) {
		if file.Valid {
			var err error
			if data, err = os.ReadFile(filepath.Join(dir, file.String)); err != nil {
				t.Errorf("%s: %v", what, err)
				return
			}
		}
		if is := harness.Digest(data); is != digest || int64(len(data)) != size {
			t.Errorf("%s %s (file %q) has %d bytes of %s, want %d", what, digest, file.String, len(data), is, size)
		}
	}
	return errors.Join(
		tx.Each("SELECT digest, size, data, file FROM content", nil, func(scan sqldb.Scan) error {
			var digest string
			var size int64
			var data []byte
			var file sql.NullString
			err := scan(&digest, &size, &data, &file)
			matches("content", digest, size, data, file)
			return err
		}),
		tx.Each("SELECT digest, size, data FROM manifest", nil, func(scan sqldb.Scan) error {
			var digest string
			var size int64
			var data []byte
			err := scan(&digest, &size, &data)
			matches("manifest", digest, size, data, sql.NullString{})
			return err
		}),
		tx.Each("SELECT id, repository, size, hash_state, data, file FROM upload", nil, func(scan sqldb.Scan) error {
			var id, repo string
			var size int64
			var state, data []byte
			var file sql.NullString
			if err := scan(&id, &repo, &size, &state, &data, &file); err != nil {
				return err
			}
			return r.checkUpload(t, dir, id, repo, size, state, data, file)
		}),
	)
}

// checkUpload: what an upload row says was received is there. A file may be a
// blob's already, that no row tells of yet. It may also be neither: a power
// failure in the middle of the rename that makes it a blob can take both names
// on some file systems, and then the client, whose request was not answered,
// finds the upload unknown and begins anew; parts that nobody is asking to end
// are checked by name.
func (r *recording) checkUpload(t testing.TB, dir string, id, repo string, size int64, state, data []byte, file sql.NullString) error {
	if file.Valid {
		names, err := filepath.Glob(filepath.Join(dir, "blobs", "*", "*", "*."+id))
		if err != nil {
			return err
		}
		for _, name := range append(names, filepath.Join(dir, "uploads", id)) {
			if data, err = os.ReadFile(name); err == nil {
				break
			}
		}
		ending := slices.ContainsFunc(r.requests, func(q *request) bool {
			return q.goesOn && q.repo == repo && int64(len(q.content)) == size
		})
		if err != nil && ending {
			return nil
		}
		if err != nil || int64(len(data)) < size {
			t.Errorf("upload %s has %d of %d bytes: %v", id, len(data), size, err)
			return nil
		}
	}
	h := sha256.New()
	if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(state); err != nil {
		return err
	}
	if is := sha256.Sum256(data[:size]); !bytes.Equal(h.Sum(nil), is[:]) {
		t.Errorf("upload %s: its %d bytes are not those that were received", id, size)
	}
	return nil
}

// restart starts the program on what a power failure leaves. It becomes ready
// and rings what it owes, and the uploads that were under way go on.
func (r *recording) restart(t *testing.T, f failure, receiver *atomic.Pointer[bell]) {
	t.Helper()
	d := newDisk(r.data)
	for _, s := range r.steps[:f.point+1] {
		if err := d.apply(s); err != nil {
			t.Fatal(err)
		}
	}
	// One to look at, which changes it, and one for the program.
	looked, dir := inMemory(t), inMemory(t)
	if err := errors.Join(f.leave(d, looked), f.leave(d, dir)); err != nil {
		t.Fatal(err)
	}
	events, fates := r.check(t, looked, f.point)
	owed := map[string]bool{}
	for _, e := range events {
		if fates[e.Event.Pos] != delivered {
			owed[e.Event.ID] = true
		}
	}
	b := newBell()
	receiver.Store(b)
	s := harness.Start(t, dir)
	resumed := 0
	for _, q := range r.requests {
		if !r.ackedAt(q, f.point) || q.session == "" || q.goesOn {
			continue
		}
		resumed++
		if at := offset(t, s, q.session); at != len(q.content) {
			t.Errorf("upload %s goes on at %d, want %d", q.id, at, len(q.content))
		}
		s.Must(http.StatusCreated, "PUT", q.session+"?digest="+harness.Digest(q.content), nil, nil)
		if got := s.Must(http.StatusOK, "GET", "/v2/"+q.repo+"/blobs/"+harness.Digest(q.content), nil, nil); !bytes.Equal(got, q.content) {
			t.Errorf("upload %s came to %d other bytes", q.id, len(got))
		}
	}
	b.await(t, len(owed))
	s.Stop()
	for id := range b.rang {
		if !owed[id] {
			t.Errorf("event %s rang again after it was delivered on record", id)
		}
	}
	read(t, dir, func(tx *sqldb.Tx) error {
		books, err := readLedger(tx)
		for _, e := range events {
			if at := books.fate(books.endpoints[0], e.Event.Pos); at != delivered {
				t.Errorf("event %d: %s", e.Event.Pos, at)
			}
		}
		return err
	})
	t.Logf("%s: %d events, of which %d rang after the restart; %d uploads went on", f, len(events), len(owed), resumed)
}
