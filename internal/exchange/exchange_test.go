package exchange

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/fault"
)

// TestAnswersHaveALimit: a server cannot fill the memory of a client. What else can
// go wrong is tested by the clients.
func TestAnswersHaveALimit(t *testing.T) {
	t.Parallel()
	piece := make([]byte, 1<<20)
	for pieces, ok := range map[int]bool{maxAnswer >> 20: true, maxAnswer>>20 + 1: false} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for range pieces {
				w.Write(piece)
			}
		}))
		server, err := url.Parse(srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		req, err := Request(t.Context(), server, http.MethodGet, "/", nil, "", "")
		if err != nil {
			t.Fatal(err)
		}
		client := Client(srv.Client())
		answer, err := Do(&client, server, req)
		if ok && (err != nil || !answer.Done() || len(answer.Body) != maxAnswer) {
			t.Errorf("%d MiB: %d bytes, %v", pieces, len(answer.Body), err)
		}
		if !ok && (!fault.Is(err, fault.Internal) || !strings.Contains(err.Error(), "answered with more than")) {
			t.Errorf("%d MiB: %v", pieces, err)
		}
		srv.Close()
	}
}
