package collect_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/blob/blobtest"
	"github.com/dockbell/dockbell/internal/blob/fs"
	"github.com/dockbell/dockbell/internal/collect"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

func TestMain(m *testing.M) { sqldbtest.Main(m) }

var bg = context.Background()

// lockedLog is a log that a test reads while it is written.
type lockedLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// server is a store over contents that a test makes up.
type server struct {
	*collect.Store
	t    *testing.T
	log  lockedLog
	dir  string
	step func(n int) collect.Contents // what the nth step has come to; nil: there are none
}

func open(t *testing.T, db *sqldb.DB, change func(*collect.Options)) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir()}
	files, err := fs.Open(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { files.Close() })
	o := collect.Options{DB: db, Blobs: files, Log: slog.New(slog.NewTextHandler(&s.log, nil)), Grace: time.Hour, Contents: s.contents}
	if change != nil {
		change(&o)
	}
	if s.Store, err = collect.Open(bg, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

func (s *server) contents(ctx context.Context, how collect.How) error {
	for n := 0; s.step != nil; n++ {
		so := s.step(n)
		if so.Phase == "" {
			return how.Step(ctx, so)
		}
		if err := how.Step(ctx, so); err != nil {
			return err
		}
	}
	return nil
}

// ended waits for the end of a collection.
func (s *server) ended(id int64) collect.Collection {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		c, err := s.Collection(bg, id)
		if err != nil {
			s.t.Fatal(err)
		}
		if c.State != collect.Running {
			return c
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("collection %d does not end: %+v", id, c)
		}
	}
}

func (s *server) collect(dryRun bool) collect.Collection {
	s.t.Helper()
	c, err := s.Collect(bg, "someone", dryRun)
	if err != nil {
		s.t.Fatal(err)
	}
	if c.State != collect.Running || c.ID == 0 || c.StartedBy != "someone" || c.DryRun != dryRun || c.StartedAt.IsZero() {
		s.t.Errorf("begun: %+v", c)
	}
	return s.ended(c.ID)
}

// forever makes a collection that does not end by itself.
func forever(n int) collect.Contents {
	return collect.Contents{Phase: "links", Done: 0.5, Links: int64(n) + 1}
}

// TestRecord: what a collection came to is on record and in the log, and the newest
// hundred are kept.
func TestRecord(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, opened func() *sqldb.DB) {
		s := open(t, opened(), nil)
		came := collect.Contents{Uploads: 1, Repositories: 2, Manifests: 3, Links: 4, Condemned: 5, Unlinked: 6, Blobs: 7, Bytes: 8}
		s.step = func(int) collect.Contents { return came }
		c := s.collect(true)
		want := came
		want.Done = 1
		if c.State != collect.Done || c.Contents != want || c.EndedAt.Before(c.StartedAt) || c.Problem != "" {
			t.Errorf("ended: %+v, want %+v", c, want)
		}
		for _, text := range []string{"a collection begins", "by=someone", "dryRun=true", "a collection ended", "state=done", "manifests=3", "bytes=8"} {
			if !strings.Contains(s.log.String(), text) {
				t.Errorf("the log does not say %q:\n%s", text, s.log.String())
			}
		}
		for range 104 {
			s.collect(false)
		}
		all, err := s.Collections(bg)
		if err != nil || len(all) != 100 || all[0].ID != 105 || all[99].ID != 6 {
			t.Errorf("%d on record, %v: %+v", len(all), err, all[0])
		}
		if _, err := s.Collection(bg, 5); !fault.Is(err, fault.NotFound) {
			t.Errorf("one that was forgotten: %v", err)
		}
		s.step = nil
		s.Store.Contents = func(context.Context, collect.How) error { return errors.New("secret path") }
		if c := s.collect(false); c.State != collect.Failed || c.Problem == "" || strings.Contains(c.Problem, "secret") || !strings.Contains(s.log.String(), "secret path") {
			t.Errorf("failed: %+v", c)
		}
	})
}

// TestOneAtATime: a second one is refused, here and on another node; either node
// cancels it; what is over cannot be cancelled.
func TestOneAtATime(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, opened func() *sqldb.DB) {
		db := opened()
		s := open(t, db, nil)
		s.step = forever
		nodes := []*server{s}
		for range 2 {
			c, err := s.Collect(bg, "someone", false)
			if err != nil {
				t.Fatal(err)
			}
			if db.Dialect() == "postgres" && len(nodes) == 1 { // opens while one runs, and leaves it alone
				nodes = append(nodes, open(t, opened(), nil))
			}
			for _, n := range nodes {
				if _, err := n.Collect(bg, "another", false); !fault.Is(err, fault.Conflict) {
					t.Errorf("a second one: %v", err)
				}
			}
			who := nodes[len(nodes)-1]
			if got, err := who.Cancel(bg, c.ID); err != nil || got.ID != c.ID {
				t.Errorf("cancel: %+v, %v", got, err)
			}
			if c := s.ended(c.ID); c.State != collect.Cancelled || c.Links == 0 {
				t.Errorf("cancelled: %+v", c)
			}
			if _, err := who.Cancel(bg, c.ID); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "cancelled at") {
				t.Errorf("cancelled once more: %v", err)
			}
		}
		if _, err := s.Cancel(bg, 99); !fault.Is(err, fault.NotFound) {
			t.Errorf("one that never was: %v", err)
		}
	})
}

// TestInterrupted: a stop ends a collection at once, and what a killed process left is
// seen to at the next start.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, opened func() *sqldb.DB) {
		db := opened()
		s := open(t, db, nil)
		s.step = forever
		c, err := s.Collect(bg, "someone", false)
		if err != nil {
			t.Fatal(err)
		}
		s.Stop()
		if c, err := s.Collection(bg, c.ID); err != nil || c.State != collect.Interrupted || c.EndedAt.IsZero() {
			t.Errorf("stopped: %+v, %v", c, err)
		}
		if _, err := s.Collect(bg, "someone", false); !fault.Is(err, fault.Unavailable) {
			t.Errorf("after the stop: %v", err)
		}
		err = db.Write(bg, sqldb.Change, func(tx *sqldb.Tx) error { // as a killed one leaves it
			_, err := tx.Exec("UPDATE collection SET state = 'running', ended_at = NULL")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		s = open(t, db, nil)
		if c, err := s.Collection(bg, c.ID); err != nil || c.State != collect.Interrupted || c.EndedAt.IsZero() {
			t.Errorf("after a kill: %+v, %v", c, err)
		}
		s.collect(false)
	})
}

// records is an owner of files.
type records struct {
	files []string
	asked []string
}

func (r *records) Named(_ *sqldb.Tx, files []string) (theirs []string, err error) {
	for _, name := range files {
		r.asked = append(r.asked, name)
		if slices.Contains(r.files, name) {
			theirs = append(theirs, name)
		}
	}
	return theirs, nil
}

// TestSweep: files that no owner knows go, once they are a day old.
func TestSweep(t *testing.T) {
	t.Parallel()
	var images, charts records
	s := open(t, sqldbtest.SQLite(t)(), func(o *collect.Options) { o.Owners = []collect.Owner{&images, &charts} })
	var want []string // that stay
	var young string
	for i := range 250 {
		file := blobtest.Keep(t, s.Blobs, fmt.Sprint("u", i), fmt.Sprintf("content %03d", i))
		age := 25 * time.Hour
		switch i % 5 {
		case 0:
			images.files, want = append(images.files, file), append(want, file)
		case 1:
			charts.files, want = append(charts.files, file), append(want, file)
		case 2:
			age, young = 23*time.Hour, file
			want = append(want, file)
		}
		at := time.Now().Add(-age)
		if err := os.Chtimes(filepath.Join(s.dir, file), at, at); err != nil {
			t.Fatal(err)
		}
	}
	left := func() (files []string) {
		for f, err := range s.Blobs.Kept() {
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f.Name)
		}
		slices.Sort(files)
		return files
	}
	slices.Sort(want)
	if c := s.collect(true); c.Files != 100 || c.FileBytes != 100*11 || len(left()) != 250 {
		t.Errorf("dry run: %+v, %d left", c, len(left()))
	}
	s.Foreign = true
	if c := s.collect(false); c.Files != 0 || len(left()) != 250 || !strings.Contains(s.log.String(), "another database") {
		t.Errorf("files of another database: %+v, %d left", c, len(left()))
	}
	s.Foreign = false
	if c := s.collect(false); c.State != collect.Done || c.Files != 100 || c.FileBytes != 100*11 {
		t.Errorf("swept: %+v", c)
	}
	if got := left(); !slices.Equal(got, want) {
		t.Errorf("left %q, want %q", got, want)
	}
	if slices.Contains(images.asked, young) || slices.ContainsFunc(charts.asked, func(f string) bool { return slices.Contains(images.files, f) }) {
		t.Error("owners are asked about files that stay anyway")
	}
	if c := s.collect(false); c.Files != 0 {
		t.Errorf("once more: %+v", c)
	}
}

// TestWhenDue is the schedule.
func TestWhenDue(t *testing.T) {
	t.Parallel()
	s := open(t, sqldbtest.SQLite(t)(), func(o *collect.Options) { o.Every = 24 * time.Hour })
	now := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)
	condemned := collect.Figures{Contents: collect.Contents{Condemned: 1}}
	ended := collect.Collection{ID: 1, State: collect.Done, StartedAt: now.Add(-time.Hour), EndedAt: now, StartedBy: collect.BySchedule}
	daily := ended.StartedAt.Add(24 * time.Hour)
	for name, c := range map[string]struct {
		change func(*collect.Collection)
		due    time.Time
		by     string
	}{
		"done":                 {func(*collect.Collection) {}, daily, collect.BySchedule},
		"condemned":            {func(c *collect.Collection) { c.Figures = condemned }, now.Add(time.Hour + time.Second), collect.BySecond},
		"condemned by someone": {func(c *collect.Collection) { c.Figures, c.StartedBy = condemned, "me" }, now.Add(time.Hour + time.Second), collect.BySecond},
		"the second look":      {func(c *collect.Collection) { c.Figures, c.StartedBy = condemned, collect.BySecond }, daily, collect.BySchedule},
		"cancelled":            {func(c *collect.Collection) { c.Figures, c.State = condemned, collect.Cancelled }, daily, collect.BySchedule},
		"failed":               {func(c *collect.Collection) { c.State = collect.Failed }, daily, collect.BySchedule},
		"running":              {func(c *collect.Collection) { c.State = collect.Running }, now.Add(24 * time.Hour), collect.BySchedule},
	} {
		last := ended
		c.change(&last)
		if due, by := collect.DueAfter(s.Store, last, now); !due.Equal(c.due) || by != c.by {
			t.Errorf("%s: due %v by %s, want %v by %s", name, due, by, c.due, c.by)
		}
	}
	for _, last := range []collect.Collection{{}, {ID: 1, State: collect.Interrupted, StartedAt: now}} {
		if due, by := collect.DueAfter(s.Store, last, now); time.Since(due) > time.Hour || by != collect.BySchedule {
			t.Errorf("after %+v: %v by %s, want the start of the server", last, due, by)
		}
	}
	s.Every = 0
	if next, err := s.Next(bg); err != nil || !next.IsZero() {
		t.Errorf("without a schedule: %v, %v", next, err)
	}
}

// TestSchedule: the first one runs by itself, and what it condemned is looked at again
// after the grace time, once.
func TestSchedule(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, opened func() *sqldb.DB) {
		db := opened()
		off := open(t, db, nil)
		off.Start()
		s := open(t, db, func(o *collect.Options) { o.Every, o.Grace = time.Hour, time.Millisecond })
		s.step = func(int) collect.Contents { return collect.Contents{Condemned: 1} }
		s.Start()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
			all, err := s.Collections(bg)
			if err != nil {
				t.Fatal(err)
			}
			if len(all) == 2 && all[0].State == collect.Done {
				if all[1].StartedBy != collect.BySchedule || all[0].StartedBy != collect.BySecond {
					t.Errorf("by %s, then by %s", all[1].StartedBy, all[0].StartedBy)
				}
				next, err := s.Next(bg)
				if want := all[0].StartedAt.Add(time.Hour); err != nil || !next.Equal(want) {
					t.Errorf("the next one begins at %v, %v, want %v", next, err, want)
				}
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("no second look: %+v", all)
			}
		}
	})
}
