package arm_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/arm"
	"github.com/dockbell/dockbell/internal/collect"
	"github.com/dockbell/dockbell/internal/fault"
)

// collections has one that ended and one that runs, and takes every one that is asked
// for.
type collections struct{ asked []string }

var (
	endedCollection = collect.Collection{
		ID: 1, State: collect.Done, StartedAt: moment, StartedBy: "the schedule", EndedAt: moment.Add(2 * time.Second),
		Figures: collect.Figures{Contents: collect.Contents{Done: 1, Uploads: 1, Repositories: 2, Manifests: 3, Links: 4, Condemned: 5, Unlinked: 6, Blobs: 7, Bytes: 8}, Files: 9, FileBytes: 10},
	}
	runningCollection = collect.Collection{ID: 2, State: collect.Running, DryRun: true, StartedAt: moment, StartedBy: "someone", Figures: collect.Figures{Contents: collect.Contents{Phase: "links", Done: 0.5}}}
)

func (c *collections) Collect(_ context.Context, by string, dryRun bool) (collect.Collection, error) {
	if by == "second" {
		return collect.Collection{}, fault.New(fault.Conflict, "a collection runs already").WithCode("CollectionInProgress")
	}
	c.asked = append(c.asked, by)
	started := runningCollection
	started.StartedBy, started.DryRun = by, dryRun
	return started, nil
}

func (c *collections) Collections(context.Context) ([]collect.Collection, error) {
	return []collect.Collection{runningCollection, endedCollection}, nil
}

func (c *collections) Collection(_ context.Context, id int64) (collect.Collection, error) {
	switch id {
	case 1:
		return endedCollection, nil
	case 2:
		return runningCollection, nil
	}
	return collect.Collection{}, fault.New(fault.NotFound, "there is no collection %d on record", id)
}

func (c *collections) Cancel(_ context.Context, id int64) (collect.Collection, error) {
	if id == 1 {
		return collect.Collection{}, fault.New(fault.Conflict, "collection 1 is over")
	}
	return c.Collection(context.Background(), id)
}

func (c *collections) Next(context.Context) (time.Time, error) { return moment.Add(time.Hour), nil }

// TestCollections: what is sent and answered under both roots.
func TestCollections(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	ours := subscription + "/providers/Microsoft.ContainerRegistry/garbageCollections"
	for _, root := range []string{ours, arm.CollectionsRoot, "/API/V1/garbagecollections"} {
		for _, x := range []struct {
			method, below, body string
			status              int
			says                []string
		}{
			{"GET", "", "", 200, []string{`"nextAt":"2026-03-14T10:26:53.5897932Z"`, `"progress":0.5`, `"phase":"links"`}},
			{"GET", "/1", "", 200, []string{`"id":1,"state":"done","dryRun":false,"startedAt":"2026-03-14T09:26:53.5897932Z","startedBy":"the schedule","endedAt":"2026-03-14T09:26:55.5897932Z"`,
				`"repositories":2,"manifests":3,"links":4,"condemned":5,"unlinked":6,"blobs":7,"uploads":1,"bytes":8,"files":9,"fileBytes":10`}},
			{"GET", "/3", "", 404, []string{"there is no collection 3"}},
			{"GET", "/x", "", 400, []string{"no number of a collection", arm.CollectionsRoot}},
			{"POST", "", "", 202, []string{`"state":"running"`, `"dryRun":false`, `"startedBy":"someone"`}},
			{"POST", "", `{"dryRun":true}`, 202, []string{`"dryRun":true`}},
			{"POST", "", `{"dryrnu":true}`, 400, []string{`dryrnu`, "dryRun"}},
			{"POST", "/2/cancel", "", 202, []string{`"id":2`}},
			{"POST", "/1/cancel", "", 409, []string{"is over"}},
			{"POST", "/0/cancel", "", 400, []string{"no number"}},
			{"DELETE", "/2", "", 405, []string{"takes GET, not DELETE"}},
			{"PUT", "", "", 405, []string{"takes GET or POST, not PUT", strings.ToLower("garbageCollections")}},
			{"GET", "/2/more", "", 404, []string{"garbageCollections/2 has cancel"}},
		} {
			target := root + x.below
			if root == ours {
				target += version
			}
			w := p.as(nil, x.method, target, x.body)
			text := w.Body.String()
			if w.Code != x.status || !json.Valid(w.Body.Bytes()) {
				t.Errorf("%s %s: %d %s", x.method, target, w.Code, text)
			}
			for _, words := range x.says {
				if !strings.Contains(strings.ToLower(text), strings.ToLower(words)) {
					t.Errorf("%s %s does not say %s: %s", x.method, target, words, text)
				}
			}
		}
	}
	if got := strings.Join(p.collections.asked, ","); got != "someone,someone,someone,someone,someone,someone" {
		t.Errorf("started by %s", got)
	}
	log := p.logged.String()
	if !strings.Contains(log, `detail="collection=2 dryRun=true"`) || !strings.Contains(log, "garbageCollections/cancel/action") {
		t.Errorf("log: %s", log)
	}
	contributor := func(action, scope string) bool { return scope == subscription }
	if w := p.as(contributor, "POST", arm.CollectionsRoot, ""); w.Code != http.StatusAccepted {
		t.Errorf("with a role on the subscription: %d %s", w.Code, w.Body)
	}
	owner := func(action, scope string) bool { return strings.HasPrefix(scope, registry) }
	if w := p.as(owner, "POST", arm.CollectionsRoot, ""); w.Code != http.StatusForbidden {
		t.Errorf("with a role on a registry: %d %s", w.Code, w.Body)
	}
}
