package audit_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dockbell/dockbell/internal/audit"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

func TestMain(m *testing.M) { sqldbtest.Main(m) }

// fakeTime runs f with a clock of its own, on which nothing takes time.
func fakeTime(t *testing.T, f func(*testing.T)) {
	t.Helper()
	if raceEnabled {
		t.Skip("fake time and the race detector crash Go 1.26 together: run go test ./internal/audit without -race")
	}
	synctest.Test(t, f)
}

// lines is a log that a test reads.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// newLog returns a log over db, and its lines.
func newLog(db *sqldb.DB, opts audit.Options) (*audit.Log, *lines) {
	told := &lines{}
	opts.DB, opts.Log = db, slog.New(slog.NewTextHandler(told, nil))
	return audit.New(opts), told
}

// run keeps the log until stop is called.
func run(t *testing.T, l *audit.Log) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.Run(ctx)
	}()
	stop = sync.OnceFunc(func() { cancel(); <-ended })
	t.Cleanup(stop)
	return stop
}

// all returns every entry that a filter wants.
func all(t *testing.T, l *audit.Log, f audit.Filter) []audit.Entry {
	t.Helper()
	entries, next, err := l.Entries(t.Context(), f, "", 1_000_000)
	if err != nil || next != "" {
		t.Fatal(next, err)
	}
	return entries
}

var example = audit.Entry{
	Registry: 7, Actor: "ci", ActorKind: audit.Application, Client: "192.0.2.7", Action: "Microsoft.ContainerRegistry/registries/repositories/delete",
	Resource: "team/web@sha256:1f", Outcome: audit.Succeeded, Request: "r1", Correlation: "c1", Detail: "by tag", Count: 1,
}

// TestEntries writes entries in each way and reads them back.
func TestEntries(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		l, told := newLog(db, audit.Options{})
		l.Record(t.Context(), example)
		begin := time.Now()
		err := db.Write(t.Context(), sqldb.Change, func(tx *sqldb.Tx) error {
			e := example
			e.Actor, e.Registry = "second", 8
			return l.Append(tx, e)
		})
		if err != nil {
			t.Fatal(err)
		}
		undone := fault.New(fault.Conflict, "no")
		err = db.Write(t.Context(), sqldb.Change, func(tx *sqldb.Tx) error {
			e := example
			e.Actor = "undone"
			if err := l.Append(tx, e); err != nil {
				return err
			}
			return undone
		})
		if !fault.Is(err, fault.Conflict) {
			t.Fatal(err)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		last := example
		last.Actor = "gone"
		l.Record(gone, last)

		got := all(t, l, audit.Filter{})
		if len(got) != 3 || got[0].Actor != "gone" || got[1].Actor != "second" || got[2].Actor != "ci" {
			t.Fatalf("%+v", got)
		}
		if at := got[1].Time; at.Before(begin.Add(-time.Minute)) || at.After(time.Now().Add(time.Minute)) {
			t.Errorf("the second happened at %s", at)
		}
		first := got[2]
		first.ID, first.Time = 0, time.Time{}
		if first != example {
			t.Errorf("got  %+v\nwant %+v", first, example)
		}
		const line = `level=INFO msg=audit actor=ci kind=Application client=192.0.2.7 action=Microsoft.ContainerRegistry/registries/repositories/delete ` +
			`resource=team/web@sha256:1f registry=7 outcome=succeeded request=r1 correlation=c1 detail="by tag" count=1`
		if text := told.String(); strings.Count(text, "msg=audit") != 3 || !strings.Contains(text, line) || strings.Contains(text, "undone") {
			t.Errorf("the log has\n%s", text)
		}
		if got := all(t, l, audit.Filter{Registry: 8}); len(got) != 1 || got[0].Actor != "second" {
			t.Errorf("of a registry: %+v", got)
		}

		// In pages, newest first, each once.
		var names []string
		for after := ""; ; {
			page, next, err := l.Entries(t.Context(), audit.Filter{}, after, 1)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page {
				names = append(names, e.Actor)
			}
			if after = next; after == "" {
				break
			}
		}
		if !slices.Equal(names, []string{"gone", "second", "ci"}) {
			t.Errorf("in pages: %v", names)
		}
		for _, place := range []string{"x", "1", "1.", "1.2.3", "-"} {
			if _, _, err := l.Entries(t.Context(), audit.Filter{}, place, 1); !fault.Is(err, fault.Invalid) {
				t.Errorf("place %q: %v", place, err)
			}
		}
		for name, f := range map[string]audit.Filter{
			"actor":         {Actor: "CI"},
			"action":        {Action: "microsoft.CONTAINERregistry/reg", Actor: "ci"},
			"resource":      {Resource: "TEAM/", Actor: "ci"},
			"outcome":       {Outcome: audit.Succeeded, Actor: "ci"},
			"time":          {After: time.Now().Add(-time.Hour), Before: time.Now().Add(time.Hour), Actor: "ci"},
			"all that fits": {Registry: 7, Actor: "ci", Action: example.Action, Resource: example.Resource, Outcome: audit.Succeeded},
		} {
			if got := all(t, l, f); len(got) != 1 || got[0].Actor != "ci" {
				t.Errorf("%s: %+v", name, got)
			}
		}
		for name, f := range map[string]audit.Filter{
			"actor":        {Actor: "c_"},
			"action":       {Action: "%"},
			"action's end": {Action: "registries/repositories/delete"},
			"resource":     {Resource: `\`},
			"outcome":      {Outcome: audit.Failed},
			"before":       {Before: begin.Add(-time.Hour)},
			"after":        {After: time.Now().Add(time.Hour)},
			"a NUL":        {Actor: "c\x00\xff"},
		} {
			if got := all(t, l, f); len(got) != 0 {
				t.Errorf("not of %s: %+v", name, got)
			}
		}
	})
}

// TestFailuresAreCounted: what is alike becomes one entry a minute.
func TestFailuresAreCounted(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		db := sqldbtest.SQLite(t)()
		l, told := newLog(db, audit.Options{})
		stop := run(t, l)
		failed := func(registry int64, user, client string) {
			l.Count(audit.Entry{Registry: registry, Actor: user, ActorKind: audit.User, Client: client, Action: "login/failed", Outcome: audit.Refused, Detail: "wrong password", Request: client})
		}
		for range 10_000 {
			failed(1, "admin", "192.0.2.7")
			time.Sleep(time.Millisecond)
		}
		failed(1, "admin", "192.0.2.8")
		failed(2, "admin", "192.0.2.7")
		failed(1, "", "192.0.2.7")
		for i := range 100 {
			failed(1, "admin", fmt.Sprintf("2001:db8:0:1::%x", i+1))
		}
		failed(1, "admin", "2001:db8:0:2::1")
		if got := all(t, l, audit.Filter{}); len(got) != 0 {
			t.Fatalf("%d entries were written on the way", len(got))
		}
		before := db.Commits()
		time.Sleep(time.Minute)
		synctest.Wait()
		got := all(t, l, audit.Filter{})
		count := map[string]int64{}
		for _, e := range got {
			count[fmt.Sprint(e.Registry, e.Actor, " ", e.Client)] = e.Count
		}
		want := map[string]int64{
			"1admin 192.0.2.7": 10_000, "1admin 192.0.2.8": 1, "2admin 192.0.2.7": 1, "1 192.0.2.7": 1, "1admin 2001:db8:0:1::/64": 100, "1admin 2001:db8:0:2::/64": 1,
		}
		if fmt.Sprint(count) != fmt.Sprint(want) || len(got) != len(want) {
			t.Errorf("got  %v\nwant %v", count, want)
		}
		if n := db.Commits() - before; n > 2 {
			t.Errorf("%d commits for them, want one", n)
		}
		if n := strings.Count(told.String(), "msg=audit"); n != len(want) {
			t.Errorf("%d lines, want %d", n, len(want))
		}
		// What is new goes into an entry of its own, also when the server stops.
		failed(1, "admin", "192.0.2.7")
		stop()
		if got := all(t, l, audit.Filter{Registry: 1, Actor: "admin"}); len(got) != len(want)-1 || got[0].Count != 1 {
			t.Errorf("after the stop: %+v", got)
		}
	})
}

// TestFloodOfFailures: more different ones than are told apart cost bounded memory,
// few rows and no count is lost.
func TestFloodOfFailures(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		l, _ := newLog(sqldbtest.SQLite(t)(), audit.Options{})
		run(t, l)
		const flood = 50_000
		for i := range flood {
			l.Count(audit.Entry{Actor: fmt.Sprint("user", i), Client: fmt.Sprintf("10.%d.%d.%d", i>>16&255, i>>8&255, i&255), Action: "login/failed", Outcome: audit.Refused})
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		got := all(t, l, audit.Filter{})
		if len(got) > 251 {
			t.Errorf("%d entries", len(got))
		}
		var sum, rest int64
		for _, e := range got {
			sum += e.Count
			if e.Client == "" {
				rest = e.Count
			}
		}
		if sum != flood || rest < flood-250 {
			t.Errorf("%d are accounted for, %d of them by their action alone; want %d", sum, rest, flood)
		}
	})
}

// TestFailuresWaitForTheDatabase: what cannot be written counts on.
func TestFailuresWaitForTheDatabase(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		db := sqldbtest.SQLite(t)()
		l, told := newLog(db, audit.Options{})
		run(t, l)
		rename := func(from, to string) {
			t.Helper()
			err := db.Write(t.Context(), sqldb.Change, func(tx *sqldb.Tx) error {
				_, err := tx.Exec("ALTER TABLE " + from + " RENAME TO " + to)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		rename("audit_entry", "hidden")
		for i := range 250 {
			l.Count(audit.Entry{Actor: fmt.Sprint(i % 125), Action: "login/failed"})
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		rename("hidden", "audit_entry")
		l.Count(audit.Entry{Actor: "0", Action: "login/failed"})
		time.Sleep(time.Minute)
		synctest.Wait()
		var sum int64
		for _, e := range all(t, l, audit.Filter{}) {
			sum += e.Count
		}
		if sum != 251 || !strings.Contains(told.String(), "level=ERROR") {
			t.Errorf("%d are written, want 251", sum)
		}
	})
}

// TestRetention: entries go with age, and beyond a number of them.
func TestRetention(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		const most = 1000
		l, _ := newLog(sqldbtest.SQLite(t)(), audit.Options{Keep: 30 * 24 * time.Hour, Most: 2 * most})
		run(t, l)
		for i := range 60 { // a day apart
			e := example
			e.Detail = fmt.Sprint(i)
			l.Record(t.Context(), e)
			time.Sleep(24 * time.Hour)
		}
		synctest.Wait()
		got := all(t, l, audit.Filter{})
		if len(got) < 30 || len(got) > 31 || got[0].Detail != "59" {
			t.Errorf("%d entries are kept of 60 days, want those of 30", len(got))
		}
		for i := range 2 * most { // within an hour
			e := example
			e.Detail = fmt.Sprint("flood ", i)
			l.Record(t.Context(), e)
			if i%100 == 0 {
				time.Sleep(50 * time.Second)
				synctest.Wait()
				if n := len(all(t, l, audit.Filter{})); n > most+2*most/10+200 {
					t.Fatalf("%d entries are kept of a flood, want %d and a tenth", n, most)
				}
			}
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got = all(t, l, audit.Filter{}); len(got) != most || got[0].Detail != fmt.Sprint("flood ", 2*most-1) {
			t.Errorf("%d entries are kept, the newest %q", len(got), got[0].Detail)
		}
		for range most {
			e := example
			e.Outcome = audit.Refused
			l.Record(t.Context(), e)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if done, refused := len(all(t, l, audit.Filter{Outcome: audit.Succeeded})), len(all(t, l, audit.Filter{Outcome: audit.Refused})); done != most || refused != most/2 {
			t.Errorf("after a flood of refusals %d entries of what was done are kept, and %d refusals; want %d and %d", done, refused, most, most/2)
		}
	})
}

// TestRetentionOnEveryEngine sweeps by number, and then by age.
func TestRetentionOnEveryEngine(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		l, _ := newLog(db, audit.Options{Most: 10})
		for i := range 20 {
			e := example
			e.Detail = fmt.Sprint(i)
			l.Record(t.Context(), e)
		}
		left := func() (details []string) {
			t.Helper()
			if err := l.Sweep(t.Context(), time.Now()); err != nil {
				t.Fatal(err)
			}
			for _, e := range all(t, l, audit.Filter{}) {
				details = append(details, e.Detail)
			}
			return details
		}
		if got := left(); !slices.Equal(got, []string{"19", "18", "17", "16", "15"}) {
			t.Errorf("left are %v", got)
		}
		err := db.Write(t.Context(), sqldb.Change, func(tx *sqldb.Tx) error {
			_, err := tx.Exec("UPDATE audit_entry SET at = at - $1 WHERE detail IN ('17', '18')", int64(91*24*time.Hour))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := left(); !slices.Equal(got, []string{"19", "16", "15"}) {
			t.Errorf("then left are %v", got)
		}
	})
}

func TestClean(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"ci-build":                      "ci-build",
		"":                              "",
		"two words":                     "two words",
		"a\nlevel=ERROR":                `a\u000alevel=ERROR`,
		"\x1b[31mred":                   `\u001b[31mred`,
		"\u202eevil":                    `\u202eevil`,
		"\x00\xff":                      `\u0000` + "\ufffd",
		"Müller":                        "Müller",
		strings.Repeat("a", 20):         strings.Repeat("a", 20),
		strings.Repeat("a", 21):         strings.Repeat("a", 20) + "…",
		strings.Repeat("ü", 11):         strings.Repeat("ü", 10) + "…",
		strings.Repeat("\n", 1_000_000): strings.Repeat(`\u000a`, 4) + "…",
	} {
		if got := audit.Clean(given, 20); got != want {
			t.Errorf("%.40q became %q, want %q", given, got, want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\n\x1b\xff\u202e", 10)
	f.Fuzz(func(t *testing.T, text string, limit int) {
		limit = max(0, min(limit, 1000))
		got := audit.Clean(text, limit)
		if !utf8.ValidString(got) || len(got) > limit+len("…")+6 || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Fatalf("%q became %q", text, got)
		}
	})
}
