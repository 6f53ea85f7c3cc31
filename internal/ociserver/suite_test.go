package ociserver_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/oci/ocitest"
	"github.com/dockbell/dockbell/internal/ociserver"
)

// TestClientAndServer runs the contract of oci.Registry through HTTP.
func TestClientAndServer(t *testing.T) {
	ocitest.Run(t, func(t *testing.T) oci.Registry {
		server := serve(t, ocitest.Memory())
		return ocitest.Client(t, server.URL, server.Client().Transport)
	})
}

// maxManifestSize is the limit of the servers under test.
const maxManifestSize = 4 << 20

// serve serves a registry for the duration of the test.
func serve(t *testing.T, registry oci.Registry) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler(t, registry))
	t.Cleanup(server.Close)
	return server
}

func handler(t *testing.T, registry oci.Registry) http.Handler {
	return ociserver.New(ociserver.Config{
		Open:            func(*http.Request) (oci.Registry, error) { return registry, nil },
		MaxManifestSize: maxManifestSize,
		Log:             slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
}
