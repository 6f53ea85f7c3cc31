package cli

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

// TestListenAfterSleep: a machine that slept for longer than the server keeps a
// listener makes another, and says what it missed.
func TestListenAfterSleep(t *testing.T) {
	t.Parallel()
	var asked []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked = append(asked, strings.TrimSpace(r.Method+" "+strings.TrimPrefix(r.URL.Path, "/api/v1/registries/contoso/")+" "+string(body)))
		if r.Method == http.MethodPost {
			io.WriteString(w, `{"name":"listennew","location":"local","properties":{"actions":["push"],"scope":"a:*"}}`)
			return
		}
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"error":{"code":"ResourceNotFound","message":"no such listener"}}`)
	}))
	t.Cleanup(srv.Close)
	server, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	newListening := func(away time.Duration) (*listening, *bytes.Buffer) {
		var said bytes.Buffer
		return &listening{
			env:      Env{Stdout: io.Discard, Stderr: &said},
			server:   &connected{Client: controlclient.New(server, "", "", srv.Client())},
			registry: "contoso", name: "listenold", lastSeen: time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC),
			now:    func() time.Time { return time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC).Add(away) },
			wanted: controlclient.ListenerCreate{Actions: []string{"push"}, Scope: "a:*"},
		}, &said
	}
	nothing := func(controlclient.Delivery) error { return nil }

	l, said := newListening(keptFor - time.Second)
	err = l.listen(t.Context(), func() {}, nothing)
	if !fault.Is(err, fault.NotFound) || !forGood(err) || len(asked) != 1 || said.String() != "" {
		t.Errorf("awake: %v, asked %s, said %s", err, asked, said)
	}

	asked = nil
	l, said = newListening(keptFor)
	err = l.listen(t.Context(), func() {}, nothing)
	if !fault.Is(err, fault.Unavailable) || forGood(err) {
		t.Errorf("asleep: %v", err)
	}
	if want := `[GET listeners/listenold/deliveries POST listeners {"actions":["push"],"scope":"a:*"}]`; fmt.Sprint(asked) != want {
		t.Errorf("asked %s, want %s", asked, want)
	}
	want := "listenold was deleted meanwhile, listennew takes its place: what happened since 2026-11-22T04:00:00Z did not ring here, dockbell events list -r contoso shows it\n" +
		"signed with a secret: dockbell webhook get-config -r contoso -n listennew --query signingSecret -o tsv\n"
	if said.String() != want {
		t.Errorf("said\n%swant\n%s", said, want)
	}
}

// TestJudge is the table of answers in docs/webhooks.md.
func TestJudge(t *testing.T) {
	t.Parallel()
	for want, statuses := range map[verdict][]int{
		delivered: {200, 201, 202, 204, 299},
		tried:     {0, 300, 301, 302, 307, 308, 401, 403, 404, 408, 425, 429, 500, 502, 503, 504, 599},
		refused:   {400, 402, 405, 406, 409, 411, 413, 415, 418, 422, 499},
		stopped:   {410},
	} {
		for _, status := range statuses {
			if got := judge(controlclient.DeliveryResult{Status: status}); got != want {
				t.Errorf("%d: %v, want %v", status, got, want)
			}
		}
	}
}

func TestForGood(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{io.ErrClosedPipe, true}, // of standard output
		{fault.New(fault.Unavailable, "down"), false},
		{fault.New(fault.Internal, "502 of a proxy"), false},
		{fault.New(fault.NotFound, "404 of a proxy"), false},
		{fault.New(fault.Unavailable, "stopping").WithCode("ServiceUnavailable"), false},
		{fault.New(fault.Internal, "a bug").WithCode("InternalServerError"), false},
		{fault.New(fault.NotFound, "deleted").WithCode("ResourceNotFound"), true},
		{fault.New(fault.Unauthenticated, "another password").WithCode("AuthenticationFailed"), true},
		{fault.New(fault.OutOfRange, "expired").WithCode("PositionExpired"), true},
	} {
		if got := forGood(tt.err); got != tt.want {
			t.Errorf("%v: %v", tt.err, got)
		}
	}
}
