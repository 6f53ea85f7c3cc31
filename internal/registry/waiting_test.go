package registry_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/registry"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

// TestWaitingChangesRingLater has those who ask for more than ACR tells hear of
// nothing that is in quarantine, and of all of it when it has passed: as of those
// who pushed it. Meanwhile no policy takes what waits for having no tag.
func TestWaitingChangesRingLater(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		s := openStore(t, db, t.TempDir())
		s.Wanted = func(_ int64, a event.Action) bool { return a != event.Pull }
		pusher, scanner := docker, docker
		pusher.Quarantine, scanner.Quarantine, scanner.Actor = registry.Hidden, registry.Seen, "scanner"
		r, judge := s.For(contoso, pusher), s.For(contoso, scanner)
		const app oci.Repository = "team/app"
		config := pushBlob(t, r, app, "{}")
		one := image(config)
		two := append(image(config), '\n')
		first, second := oci.FromBytes(oci.SHA256, one), oci.FromBytes(oci.SHA256, two)
		about := referrer(config, second, len(two))
		signature := oci.FromBytes(oci.SHA256, about)
		put := func(data []byte, tags ...oci.Tag) {
			t.Helper()
			if _, err := r.PutManifest(bg, app, oci.ManifestPut{Data: data, Digest: oci.FromBytes(oci.SHA256, data), Tags: tags}); err != nil {
				t.Fatal(err)
			}
		}
		pass := func(dgst oci.Digest) {
			t.Helper()
			if _, err := judge.SetQuarantine(bg, app, dgst, oci.QuarantineChange{State: oci.Passed}); err != nil {
				t.Fatal(err)
			}
		}
		seen := 0
		rang := func(want ...string) {
			t.Helper()
			all := eventLog(t, db)
			var got []string
			for _, e := range all[seen:] {
				if e.Event.Actor != docker.Actor && e.Event.Action != event.Delete { // those are the policy's
					t.Errorf("%s is told to be of %s", e.Event.Action, e.Event.Actor)
				}
				name := map[string]string{string(first): "one", string(second): "two", string(signature): "signature"}
				got = append(got, fmt.Sprintf("%s %s %s %s%s", e.Event.Action, e.Event.Target.Tag, name[e.Event.Target.Digest],
					name[e.Event.Target.PreviousDigest], name[e.Event.Target.SubjectDigest]))
			}
			seen = len(all)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("rang (-want +got):\n%s", diff)
			}
		}
		retain := func(wantLeft int64) {
			t.Helper()
			if _, err := s.RemoveUntagged(bg, contoso, time.Now().Add(time.Hour), false); err != nil {
				t.Fatal(err)
			}
			d, err := judge.DescribeRepository(bg, app)
			if err != nil || d.ManifestCount != wantLeft {
				t.Errorf("%d manifests are left, %v; want %d", d.ManifestCount, err, wantLeft)
			}
		}

		put(one, "v1")
		rang("quarantine v1 one ")
		retain(1) // it waits for its first tag
		pass(first)
		rang("push v1 one ")
		put(two, "v1")
		put(about)
		rang("quarantine v1 two ", "quarantine  signature ")
		retain(3) // the tag stands at one, two waits for it, and the signature waits
		rang()
		pass(second) // and with it what refers to it
		rang("push v1 two ", "tag_moved v1 two one", "push  signature ", "referrer_attached  signature two")
		if _, err := r.DeleteTag(bg, app, "nosuch"); err == nil {
			t.Error("a tag that is not there is deleted")
		}
		retain(2) // nothing names one any more
		rang("delete  one ")
		tags, _, err := r.Tags(bg, app, "", 0)
		if err != nil || !slices.Equal(tags, []oci.Tag{"v1"}) {
			t.Errorf("tags %v, %v", tags, err)
		}
	})
}
