package app

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/registry"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/tenant"
)

// Policies are due every hour, and when they change.
func TestRetentionDue(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	policy := func(id int64, days, changed string) tenant.Registry {
		settings := tenant.Settings{"policies.retentionPolicy.status": "enabled", "policies.retentionPolicy.days": days, "policies.retentionPolicy.lastUpdatedTime": changed}
		return tenant.Registry{ID: id, SKU: tenant.Premium, Settings: settings}
	}
	none := tenant.Registry{ID: 9, SKU: tenant.Premium, Settings: tenant.Settings{}}
	due := policiesDue{}
	for i, step := range []struct {
		after      time.Duration
		registries []tenant.Registry
		want       []int64
	}{
		{0, []tenant.Registry{none}, nil},
		{time.Minute, []tenant.Registry{none, policy(1, "7", "2026-03-01T12:00:30Z")}, []int64{1}},
		{2 * time.Minute, []tenant.Registry{none, policy(1, "7", "2026-03-01T12:00:30Z"), policy(2, "0", "2026-03-01T12:01:30Z")}, []int64{2}},
		{3 * time.Minute, []tenant.Registry{policy(1, "8", "2026-03-01T12:02:30Z"), policy(2, "0", "2026-03-01T12:01:30Z")}, []int64{1}},
		{62 * time.Minute, []tenant.Registry{policy(1, "8", "2026-03-01T12:02:30Z"), policy(2, "0", "2026-03-01T12:01:30Z")}, []int64{2}},
		{63 * time.Minute, []tenant.Registry{policy(1, "8", "2026-03-01T12:02:30Z")}, []int64{1}},
		{64 * time.Minute, []tenant.Registry{policy(1, "8", "2026-03-01T12:02:30Z"), policy(2, "0", "2026-03-01T12:01:30Z")}, []int64{2}}, // it was gone meanwhile
	} {
		var got []int64
		for _, r := range due.next(step.registries, start.Add(step.after), retention) {
			got = append(got, r.ID)
		}
		if len(got) != len(step.want) || len(got) > 0 && got[0] != step.want[0] {
			t.Errorf("step %d: %v are due, want %v", i, got, step.want)
		}
	}
}

// What was deleted is looked for in every registry, whether the policy is on now or not,
// and at once where it changed.
func TestSoftDeleteDue(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	changed := tenant.Registry{ID: 1, Settings: tenant.Settings{"policies.softDeletePolicy.retentionDays": "1", "policies.softDeletePolicy.lastUpdatedTime": "2026-03-01T12:00:30Z"}}
	due := policiesDue{}
	for i, step := range []struct {
		after    time.Duration
		registry tenant.Registry
		want     int
	}{
		{0, tenant.Registry{ID: 1, Settings: tenant.Settings{}}, 1}, {time.Minute, tenant.Registry{ID: 1, Settings: tenant.Settings{}}, 0},
		{2 * time.Minute, changed, 1}, {3 * time.Minute, changed, 0}, {62 * time.Minute, changed, 1},
	} {
		if got := len(due.next([]tenant.Registry{step.registry}, start.Add(step.after), softDelete)); got != step.want {
			t.Errorf("step %d: %d due, want %d", i, got, step.want)
		}
	}
}

func TestUntaggedBefore(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 8, 12, 0, 0, 0, time.UTC)
	for days, want := range map[int]time.Duration{0: time.Hour, 1: 24 * time.Hour, 7: 168 * time.Hour, 365: 8760 * time.Hour} {
		if got := now.Sub(untaggedBefore(tenant.RetentionPolicy{Days: days}, now)); got != want {
			t.Errorf("%d days: %v", days, got)
		}
	}
}

// TestRetain has a policy switched on by a request, and carried out as the days go
// by: images lose their tags, and then themselves.
func TestRetain(t *testing.T) {
	t.Parallel()
	s := openServer(t, t.TempDir())
	reg := s.source(s.tenants.Default())
	images := s.registry.For(reg, registry.Caller{Actor: "ada"})
	digests := map[oci.Tag]oci.Digest{}
	for _, tag := range []oci.Tag{"v1", "v2"} {
		put := oci.ManifestPut{Data: []byte(`{"schemaVersion":2,"mediaType":"` + oci.MediaTypeImageIndex + `","manifests":[],"annotations":{"tag":"` + string(tag) + `"}}`), Tags: []oci.Tag{tag}}
		pushed, err := images.PutManifest(t.Context(), "app", put)
		if err != nil {
			t.Fatal(err)
		}
		digests[tag] = pushed.Descriptor.Digest
	}
	if _, err := images.DeleteTag(t.Context(), "app", "v1"); err != nil {
		t.Fatal(err)
	}
	day := 24 * time.Hour
	due := policiesDue{}
	retain := func(after time.Duration) {
		t.Helper()
		s.retain(context.Background(), time.Now().Add(after), due)
	}
	there := func(tag oci.Tag) bool {
		t.Helper()
		w := s.do(s.Operator(), s.Password, http.MethodHead, "localhost", "/v2/app/manifests/"+string(digests[tag]), "")
		return w.Code == http.StatusOK
	}
	retain(1000 * day)
	if !there("v1") {
		t.Fatal("removed without a policy")
	}
	body := s.operate("PATCH", "/"+reg.Name, `{"properties":{"policies":{"retentionPolicy":{"status":"enabled","days":10,"lastUpdatedTime":"2020-01-01T00:00:00Z"}}}}`)
	var answer struct {
		Properties struct {
			Policies struct {
				RetentionPolicy struct {
					Days                    int
					Status, LastUpdatedTime string
				}
			}
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatal(err)
	}
	if p := answer.Properties.Policies.RetentionPolicy; p.Days != 10 || p.Status != "enabled" || strings.HasPrefix(p.LastUpdatedTime, "2020") {
		t.Errorf("policy %+v", p)
	}
	retain(9 * day)
	if !there("v1") {
		t.Fatal("removed after 9 days of 10")
	}
	retain(10*day + time.Hour)
	if there("v1") || !there("v2") {
		t.Errorf("after the days of the policy: the untagged is there: %v, the tagged: %v", there("v1"), there("v2"))
	}
	var last outbox.Entry
	err := s.db.Read(t.Context(), func(tx *sqldb.Tx) error {
		pos, err := outbox.Last(tx)
		if err != nil {
			return err
		}
		last, err = outbox.At(tx, pos)
		return err
	})
	if e := last.Event; err != nil || e.Action != event.Delete || e.Target.Digest != string(digests["v1"]) || e.Request.Host != reg.LoginServer || e.Cause != "retention" {
		t.Errorf("event %+v, error %v", e, err)
	}
}
