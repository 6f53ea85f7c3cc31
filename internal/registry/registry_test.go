package registry_test

import (
	"log/slog"
	"testing"

	"github.com/dockbell/dockbell/internal/blob/fs"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/oci/ocitest"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/registry"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

func TestMain(m *testing.M) { sqldbtest.Main(m) }

// contoso is the hosted registry of these tests, and docker its client.
var (
	contoso = event.Registry{ID: 1, Name: "contoso", LoginServer: "contoso.dockbell.localhost", ResourceID: "/subscriptions/s/registries/contoso", Location: "local"}
	docker  = registry.Caller{
		Request: event.Request{ID: "b1f1a3f4-0c2a-4b57-8a0f-9a4d6d1f2e33", Host: "contoso.example", Method: "PUT", UserAgent: "docker/27.3.1", Addr: "192.0.2.7"},
		Actor:   "contoso",
	}
)

func openStore(t *testing.T, db *sqldb.DB, blobs string) *registry.Store {
	t.Helper()
	files, err := fs.Open(blobs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { files.Close() })
	return registry.New(registry.Options{
		DB: db, Blobs: files, Log: slog.New(slog.DiscardHandler), UploadKey: make([]byte, 32),
		Outbox: outbox.New(func(outbox.Entry) {}),
		Wanted: func(int64, event.Action) bool { return false },
	})
}

func TestSuite(t *testing.T) {
	for engine, database := range map[string]func(*testing.T) func() *sqldb.DB{"sqlite": sqldbtest.SQLite, "postgres": sqldbtest.Postgres} {
		t.Run(engine, func(t *testing.T) {
			ocitest.Run(t, func(t *testing.T) oci.Registry {
				return openStore(t, database(t)(), t.TempDir()).For(contoso, docker)
			})
		})
	}
}
