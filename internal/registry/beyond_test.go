package registry_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

// referrer is an artifact about an image.
func referrer(config oci.Descriptor, subject oci.Digest, size int) []byte {
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"artifactType":"application/x","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":%q,"size":%d},"layers":[],`+
		`"subject":{"mediaType":%[1]q,"digest":%[4]q,"size":%[5]d}}`,
		oci.MediaTypeImageManifest, config.Digest, config.Size, subject, size)
}

// What ACR tells nobody of is an event for those who ask, in the order of what
// happened, and for the action they ask for alone.
func TestEventsBeyondACR(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		for i, asked := range [][]event.Action{
			nil, {event.Untag}, {event.TagMoved}, {event.ReferrerAttached}, {event.Untag, event.TagMoved, event.ReferrerAttached},
		} {
			db := open()
			s := openStore(t, db, t.TempDir())
			s.Wanted = func(reg int64, a event.Action) bool { return reg == contoso.ID && slices.Contains(asked, a) }
			r := s.For(contoso, docker)
			repo := oci.Repository(fmt.Sprintf("app%d", i))
			var from int64
			for _, e := range eventLog(t, db) {
				from = e.Event.Pos
			}
			put := func(data []byte, tags ...oci.Tag) oci.Digest {
				t.Helper()
				got, err := r.PutManifest(bg, repo, oci.ManifestPut{Data: data, Tags: tags})
				if err != nil {
					t.Fatal(err)
				}
				return got.Descriptor.Digest
			}
			one, two := image(pushBlob(t, r, repo, "{}")), image(pushBlob(t, r, repo, `{"a":1}`))
			first := put(one, "v1", "latest")
			second := put(two, "v2", "latest") // latest moves
			put(two, "latest")                 // and does not
			signature := put(referrer(pushBlob(t, r, repo, "{}"), second, len(two)))
			if _, err := r.DeleteTag(bg, repo, "v1"); err != nil {
				t.Fatal(err)
			}
			if err := r.DeleteManifest(bg, repo, second); err != nil { // takes two tags
				t.Fatal(err)
			}
			third := put(one, "v3")
			if _, err := r.DeleteRepository(bg, repo); err != nil { // takes one
				t.Fatal(err)
			}

			type line struct {
				Action            event.Action
				Tag               string
				Digest            oci.Digest
				Previous, Subject oci.Digest
			}
			gone := []line{
				{Action: event.Delete, Digest: third},
				{Action: event.Delete, Digest: signature},
			}
			if signature < third {
				slices.Reverse(gone)
			}
			i := slices.IndexFunc(gone, func(l line) bool { return l.Digest == third })
			gone = slices.Insert(gone, i, line{Action: event.Untag, Tag: "v3", Digest: third})
			all := append([]line{
				{Action: event.Push, Tag: "v1", Digest: first}, {Action: event.Push, Tag: "latest", Digest: first},
				{Action: event.Push, Tag: "v2", Digest: second}, {Action: event.Push, Tag: "latest", Digest: second},
				{Action: event.TagMoved, Tag: "latest", Digest: second, Previous: first},
				{Action: event.Push, Tag: "latest", Digest: second},
				{Action: event.Push, Digest: signature}, {Action: event.ReferrerAttached, Digest: signature, Subject: second},
				{Action: event.Untag, Tag: "v1", Digest: first},
				{Action: event.Untag, Tag: "latest", Digest: second}, {Action: event.Untag, Tag: "v2", Digest: second},
				{Action: event.Delete, Digest: second},
				{Action: event.Push, Tag: "v3", Digest: third},
			}, gone...)
			want := slices.DeleteFunc(all, func(l line) bool { return !l.Action.OfACR() && !slices.Contains(asked, l.Action) })
			var got []line
			for _, e := range eventLog(t, db) {
				if e.Event.Pos > from {
					tt := e.Event.Target
					got = append(got, line{e.Event.Action, tt.Tag, oci.Digest(tt.Digest), oci.Digest(tt.PreviousDigest), oci.Digest(tt.SubjectDigest)})
				}
			}
			sortUntags := func(lines []line) {
				for i := range lines { // the tags of one manifest go in any order
					if i > 0 && lines[i].Action == event.Untag && lines[i-1].Action == event.Untag && lines[i].Digest == lines[i-1].Digest && lines[i].Tag < lines[i-1].Tag {
						lines[i], lines[i-1] = lines[i-1], lines[i]
					}
				}
			}
			sortUntags(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("asked for %v: events differ (-want +got):\n%s", asked, diff)
			}
		}
	})
}

// A refused push leaves no event of what it would have done.
func TestRefusedMoveLeavesNoEvent(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		s := openStore(t, db, t.TempDir())
		s.Wanted = func(int64, event.Action) bool { return true }
		r := s.For(contoso, docker)
		one, two := image(pushBlob(t, r, "app", "{}")), image(pushBlob(t, r, "app", `{"a":1}`))
		if _, err := r.PutManifest(bg, "app", oci.ManifestPut{Data: one, Tags: []oci.Tag{"a", "b"}}); err != nil {
			t.Fatal(err)
		}
		off := false
		if _, err := r.SetTagAttributes(bg, "app", "b", oci.AttributesChange{Write: &off}); err != nil {
			t.Fatal(err)
		}
		before := len(eventLog(t, db))
		_, err := r.PutManifest(bg, "app", oci.ManifestPut{Data: two, Tags: []oci.Tag{"a", "b"}})
		if err := refusal(err); err != nil {
			t.Error(err)
		}
		if _, err := r.DeleteTag(bg, "app", "b"); refusal(err) != nil {
			t.Error(err)
		}
		if now := len(eventLog(t, db)); now != before {
			t.Errorf("%d events of what was refused", now-before)
		}
	})
}

// A pull is an event if it is a GET by tag that somebody is owed, and nothing
// waits for it: what is in the queue when the server stops is written then.
func TestPulls(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		s := openStore(t, db, t.TempDir())
		asked := true
		s.Wanted = func(_ int64, a event.Action) bool { return asked && a == event.Pull }
		s.Owed = func(e *event.Event) bool { return e.Target.Repository == "app" }
		r := s.For(contoso, docker)
		client := func(method string) oci.Registry {
			c := docker
			c.Request.Method = method
			return s.For(contoso, c)
		}
		var dgst oci.Digest
		for _, repo := range []oci.Repository{"app", "other"} {
			got, err := r.PutManifest(bg, repo, oci.ManifestPut{Data: image(pushBlob(t, r, repo, "{}")), Tags: []oci.Tag{"v1"}})
			if err != nil {
				t.Fatal(err)
			}
			dgst = got.Descriptor.Digest
		}
		get := func(method string, repo oci.Repository, ref oci.Reference) {
			t.Helper()
			if _, err := client(method).GetManifest(bg, repo, ref); err != nil {
				t.Fatal(err)
			}
		}
		get("GET", "app", oci.Reference{Tag: "v1"}) // the one
		get("HEAD", "app", oci.Reference{Tag: "v1"})
		get("GET", "app", oci.Reference{Digest: dgst})
		get("GET", "other", oci.Reference{Tag: "v1"})
		get("", "app", oci.Reference{Tag: "v1"})
		if _, err := client("GET").GetManifest(bg, "app", oci.Reference{Tag: "none"}); refusal(err) != nil {
			t.Error(err)
		}
		asked = false
		get("GET", "app", oci.Reference{Tag: "v1"})
		if n := len(eventLog(t, db)); n != 2 {
			t.Fatalf("%d events before any pull is written, want the 2 pushes", n)
		}
		stopped, cancel := context.WithCancel(bg)
		cancel()
		s.Run(stopped)
		events := eventLog(t, db)
		if len(events) != 3 {
			t.Fatalf("%d events, want 2 pushes and a pull", len(events))
		}
		e := events[2].Event
		want := event.Target{MediaType: oci.MediaTypeImageManifest, Size: e.Target.Size, Digest: string(dgst), Repository: "app", Tag: "v1"}
		if e.Action != event.Pull || e.Target.Size == 0 || e.Request.Method != "GET" || e.Actor != docker.Actor {
			t.Errorf("event %+v", e)
		}
		if diff := cmp.Diff(want, e.Target); diff != "" {
			t.Errorf("target differs (-want +got):\n%s", diff)
		}
	})
}

// Pulls that come faster than they are written are dropped, and no pull waits.
func TestPullsAreBounded(t *testing.T) {
	db := sqldbtest.SQLite(t)()
	s := openStore(t, db, t.TempDir())
	s.Wanted = func(_ int64, a event.Action) bool { return a == event.Pull }
	s.Owed = func(*event.Event) bool { return true }
	get := docker
	get.Request.Method = "GET"
	r := s.For(contoso, get)
	if _, err := r.PutManifest(bg, "app", oci.ManifestPut{Data: image(pushBlob(t, r, "app", "{}")), Tags: []oci.Tag{"v1"}}); err != nil {
		t.Fatal(err)
	}
	const most = 1024
	for range most + 100 {
		if _, err := r.GetManifest(bg, "app", oci.Reference{Tag: "v1"}); err != nil {
			t.Fatal(err)
		}
	}
	stopped, cancel := context.WithCancel(bg)
	cancel()
	s.Run(stopped)
	var last int64
	err := db.Read(bg, func(tx *sqldb.Tx) (err error) {
		last, err = outbox.Last(tx)
		return err
	})
	if err != nil || last != 1+most {
		t.Errorf("%d events, error %v; want a push and %d pulls", last, err, most)
	}
}
