package registry_test

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/audit"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

// TestOnRecord has everything that is on record of what registries hold: what was
// deleted and what was locked, by whom, and nothing that was refused or read.
func TestOnRecord(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		log := audit.New(audit.Options{DB: db, Log: slog.New(slog.DiscardHandler)})
		store := openStore(t, db, t.TempDir())
		store.Audit = log
		caller := docker
		caller.Kind, caller.Correlation = audit.Token, "c1"
		r := store.For(contoso, caller)
		const app oci.Repository = "team/app"
		blob := pushBlob(t, r, app, "{}")
		first, second := image(blob), append(image(blob), '\n')
		one := oci.FromBytes(oci.SHA256, first)
		for data, tags := range map[string][]oci.Tag{string(first): {"v1", "v2"}, string(second): {"v3"}} {
			if _, err := r.PutManifest(bg, app, oci.ManifestPut{Data: []byte(data), Digest: oci.FromBytes(oci.SHA256, []byte(data)), Tags: tags}); err != nil {
				t.Fatal(err)
			}
		}
		off, on := false, true
		set := func(write *bool) error {
			_, err := r.SetTagAttributes(bg, app, "v1", oci.AttributesChange{Write: write, List: write})
			return err
		}
		untag := func(tag oci.Tag) error { _, err := r.DeleteTag(bg, app, tag); return err }
		change := func(c oci.AttributesChange) error { _, err := r.SetRepositoryAttributes(bg, app, c); return err }
		for i, step := range []struct {
			do   func() error
			want []string // action's last words, resource, detail
		}{
			{func() error { return set(&off) }, []string{"metadata/write team/app:v1 writeEnabled=false listEnabled=false"}},
			{func() error { return refusal(untag("v1")) }, nil},
			{func() error { return refusal(r.DeleteManifest(bg, app, one)) }, nil},
			{func() error { return set(&on) }, []string{"metadata/write team/app:v1 writeEnabled=true listEnabled=true"}},
			{func() error { return untag("v1") }, []string{"content/delete team/app:v1 untagged " + string(one)}},
			{func() error { return refusal(untag("v1")) }, nil},
			{func() error { _, err := r.DescribeRepository(bg, app); return err }, nil},
			{func() error { return change(oci.AttributesChange{}) }, nil},
			{func() error { return change(oci.AttributesChange{Read: &on}) }, []string{"metadata/write team/app readEnabled=true"}},
			{func() error { return r.DeleteManifest(bg, app, one) }, []string{"content/delete team/app@" + string(one) + " "}},
			{func() error { return r.DeleteBlob(bg, app, blob.Digest) }, []string{"content/delete team/app@" + string(blob.Digest) + " blob"}},
			{func() error { _, err := r.DeleteRepository(bg, app); return err }, []string{
				"content/delete team/app 1 of its manifests, and what is left of it"}},
			{func() error { _, err := r.DeleteRepository(bg, app); return refusal(err) }, nil},
		} {
			before := entries(t, log)
			if err := step.do(); err != nil {
				t.Fatalf("step %d: %v", i, err)
			}
			if got := entries(t, log)[len(before):]; !slices.Equal(got, step.want) {
				t.Errorf("step %d is on record as %q, want %q", i, got, step.want)
			}
		}
		all, _, err := log.Entries(bg, audit.Filter{}, "", 1)
		if err != nil {
			t.Fatal(err)
		}
		e := all[0]
		if e.Registry != contoso.ID || e.Actor != docker.Actor || e.ActorKind != audit.Token || e.Client != docker.Request.Addr ||
			e.Request != docker.Request.ID || e.Correlation != "c1" || e.Outcome != audit.Succeeded {
			t.Errorf("the entry is %+v", e)
		}
	})
}

// entries returns what is on record, oldest first.
func entries(t *testing.T, log *audit.Log) (texts []string) {
	t.Helper()
	all, _, err := log.Entries(bg, audit.Filter{}, "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range slices.Backward(all) {
		action := strings.TrimPrefix(strings.TrimPrefix(e.Action, "Microsoft.ContainerRegistry/registries/"), "repositories/")
		texts = append(texts, fmt.Sprintf("%s %s %s", action, e.Resource, e.Detail))
	}
	return texts
}
