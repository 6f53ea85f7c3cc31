package harness_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/harness"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/tenant"
)

// offline opens the database of a server that does not run.
func offline(t testing.TB, data string, fn func(*sqldb.DB) error) {
	t.Helper()
	db, err := sqldb.Open(context.Background(), sqldb.Config{Path: filepath.Join(data, "dockbell.db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := fn(db); err != nil {
		t.Fatal(err)
	}
}

// appendPast adds n pushes to the log of a server that does not run, as package
// outbox writes them, into its default registry. To the server they are what
// happened long ago: everybody was told. It returns them in commit order.
func appendPast(t testing.TB, data string, n int) (past []*event.Event) {
	t.Helper()
	ctx := context.Background()
	offline(t, data, func(db *sqldb.DB) error {
		tenants, err := tenant.Open(ctx, db, tenant.Options{})
		if err != nil {
			return err
		}
		source := sourceOf(tenants.Default())
		log := outbox.New(func(entry outbox.Entry) { past = append(past, entry.Event) })
		for from := 0; from < n; from += 1000 {
			var drafts []*outbox.Draft
			for i := from; i < min(n, from+1000); i++ {
				drafts = append(drafts, outbox.Prepare(pushOf(source, fmt.Sprintf("past/r%d", i%10), fmt.Sprintf("t%d", i))))
			}
			err := db.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) error {
				for _, d := range drafts {
					if err := log.Append(tx, d); err != nil {
						return err
					}
				}
				return outbox.SetExpanded(tx, drafts[len(drafts)-1].Event.Pos)
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return past
}

// sourceOf returns a registry as events name it.
func sourceOf(r tenant.Registry) event.Registry {
	return event.Registry{ID: r.ID, Name: r.Name, LoginServer: r.LoginServer("dockbell.localhost"), ResourceID: r.ResourceID(), Location: r.Location}
}

// pushOf returns the push of an image that no other push has.
func pushOf(source event.Registry, repository, tag string) *event.Event {
	manifest := harness.Manifest(repository + ":" + tag)
	return &event.Event{
		Action: event.Push, Registry: source, Actor: "dockbell",
		Target: event.Target{
			MediaType: harness.ManifestType.Get("Content-Type"), Size: int64(len(manifest)), Digest: harness.Digest(manifest),
			Repository: repository, Tag: tag,
		},
		Request: event.Request{
			ID: "00000000-0000-4000-8000-000000000000", Host: source.LoginServer, Method: "PUT",
			UserAgent: "docker/27.3.1 go/go1.22.7 kernel/6.8.0 os/linux arch/amd64", Addr: "127.0.0.1",
		},
	}
}
