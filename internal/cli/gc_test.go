package cli_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/collect"
	"github.com/dockbell/dockbell/internal/fault"
)

// collections is the collections of a server, oldest first: each goes on by one step
// whenever it is looked at alone.
type collections struct {
	all []collect.Collection
	end collect.State // in which the next ones end
	off bool          // none begins by itself
}

func (c *collections) Collect(_ context.Context, by string, dryRun bool) (collect.Collection, error) {
	if n := len(c.all); n > 0 && c.all[n-1].State == collect.Running {
		return collect.Collection{}, fault.New(fault.Conflict, "a collection runs already: wait for its end, or cancel it")
	}
	started := collect.Collection{ID: int64(len(c.all) + 1), State: collect.Running, DryRun: dryRun, StartedAt: time.Now(), StartedBy: by}
	c.all = append(c.all, started)
	return started, nil
}

func (c *collections) Collections(context.Context) (newest []collect.Collection, err error) {
	for i := range c.all {
		newest = append(newest, c.all[len(c.all)-1-i])
	}
	return newest, nil
}

func (c *collections) Collection(_ context.Context, id int64) (collect.Collection, error) {
	if id > int64(len(c.all)) {
		return collect.Collection{}, fault.New(fault.NotFound, "there is no collection %d on record", id)
	}
	one := &c.all[id-1]
	switch {
	case one.State != collect.Running:
	case one.Done < 0.5:
		one.Phase, one.Done, one.Manifests, one.Bytes = "links", 0.5, 1200, 5<<20
	default:
		one.State, one.Phase, one.Done, one.EndedAt = c.end, "", 1, one.StartedAt.Add(90*time.Second)
		one.Manifests, one.Condemned, one.Blobs, one.Uploads, one.Files, one.Bytes, one.FileBytes = 2400, 3, 40, 2, 1, 3<<30, 1<<20
		if c.end == collect.Failed {
			one.Problem = "the server's disk is full"
		}
	}
	return *one, nil
}

func (c *collections) Cancel(_ context.Context, id int64) (collect.Collection, error) {
	c.all[id-1].State, c.all[id-1].EndedAt = collect.Cancelled, c.all[id-1].StartedAt.Add(time.Second)
	return c.all[id-1], nil
}

func (c *collections) Next(context.Context) (time.Time, error) {
	if c.off {
		return time.Time{}, nil
	}
	return time.Now().Add(time.Hour), nil
}

// TestCollections runs the commands of garbage collection.
func TestCollections(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	srv.collections.off, srv.collections.end = true, collect.Done
	sh := srv.shell(t)
	lines := []string{
		"gc status",
		"gc list",
		"gc cancel",
		"gc run --dry-run",
		"gc run",
		"gc run --no-wait",
		"gc run",
		"gc status",
		"gc cancel",
		"gc status --query state -o tsv",
		"gc list --query '[].[id,state]' -o tsv",
		"gc run now",
		"gc collect",
	}
	got := transcript(sh, lines...)
	srv.collections.all = nil
	sh.terminal, sh.env["NO_COLOR"] = true, "1"
	got += transcript(sh, append(lines, "gc list", "gc run --help")...)
	golden(t, "gc.txt", got)
}

// TestCollectionProgress: a bar on a terminal, lines elsewhere, and an exit code that
// tells whether the collection came to its end.
func TestCollectionProgress(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	srv.collections.end = collect.Done
	sh := srv.shell(t)
	got := sh.run(split("gc run -o none")...)
	if want := "collection 1: 0 manifests looked at, 0 bytes freed\ncollection 1: 2400 manifests looked at, 3.0 GiB freed, 3 condemned\n"; got.err != want || got.code != 0 || got.out != "" {
		t.Errorf("%d, %q, %q", got.code, got.out, got.err)
	}
	sh.terminal = true
	if got, want := sh.run(split("gc run --dry-run -o none")...).err, "\r[....................]   0 %  collection 2: 0 manifests looked at, 0 bytes to free\x1b[K"+
		"\r[##########..........]  50 %  collection 2: 1200 manifests looked at, 5.0 MiB to free\x1b[K"+
		"\r[####################] 100 %  collection 2: 2400 manifests looked at, 3.0 GiB to free, 3 condemned\x1b[K\n"; got != want {
		t.Errorf("bar: %q\nwant %q", got, want)
	}
	if got := sh.run(split("gc run -o none")...).err; !strings.Contains(got, "\nwhat was condemned goes at 2") {
		t.Errorf("%q", got)
	}
	sh.terminal = false
	for state, says := range map[collect.State]string{
		collect.Failed:      "failed: the server's disk is full",
		collect.Cancelled:   "was cancelled after 2400 manifests looked at, 3.0 GiB freed, 3 condemned: what it did is done",
		collect.Interrupted: "was interrupted after",
	} {
		srv.collections.end = state
		if got := sh.run(split("gc run")...); got.code != 1 || got.out != "" || !strings.Contains(got.err, says) {
			t.Errorf("%s: %d, %q, %q", state, got.code, got.out, got.err)
		}
	}
}

// TestCollectionGoesOn: whoever interrupts the command is told that the work goes on.
func TestCollectionGoesOn(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	srv.collections.end = collect.Running
	sh := srv.shell(t)
	ctx, cancel := context.WithCancel(t.Context())
	sh.ctx = ctx
	time.AfterFunc(300*time.Millisecond, cancel)
	if got := sh.run(split("gc run")...); got.code != 1 || !strings.Contains(got.err, "interrupted, and collection 1 goes on: dockbell gc cancel ends it") {
		t.Errorf("%d, %q", got.code, got.err)
	}
	if srv.collections.all[0].State != collect.Running {
		t.Errorf("%+v", srv.collections.all[0])
	}
}
