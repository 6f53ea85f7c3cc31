package app_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const hopsField = "Dockbell-Hops"

// relay is a receiver that passes on what rings it: push is called for each
// request, with its header.
func relay(t *testing.T, pass func(http.Header)) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		pass(r.Header)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// hopsOf returns the hops in the first ring of a webhook of s.
func hopsOf(t *testing.T, s *running) string {
	t.Helper()
	rang := make(chan string, 1)
	s.webhook("askhops", relay(t, func(h http.Header) {
		select {
		case rang <- h.Get(hopsField):
		default:
		}
	}))
	s.push("ask", "hops")
	select {
	case hops := <-rang:
		return hops
	case <-time.After(patience):
		t.Fatal("nothing rang")
	}
	return ""
}

// TestOwnRequestsAreRefused: checklist point 6. A request that this server's own
// ring led to is refused on every face, whatever other servers it came through.
func TestOwnRequestsAreRefused(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s := start(t, settings(data))
	own := hopsOf(t, s)
	if own == "" || strings.ContainsAny(own, ", ") {
		t.Fatalf("the hops of a first ring are %q, want one id", own)
	}
	for _, path := range append(faces, "/healthz") {
		for _, hops := range []string{own, "other," + own, own + ", other", "a,b," + own + ",c"} {
			status, _, body := s.do("POST", path, []byte("{}"), field(hopsField, hops), s.asOperator)
			if m := message(t, body); status != http.StatusLoopDetected || !strings.Contains(m, "webhook") {
				t.Errorf("%s with hops %q: %d %s; want 508 and a sentence about webhooks", path, hops, status, body)
			}
		}
	}
	for _, hops := range []string{"", "other", "x" + own, own + "x"} {
		if status, _, body := s.do("GET", "/v2/", nil, field(hopsField, hops), s.asOperator); status != http.StatusOK {
			t.Errorf("with hops %q: %d %s", hops, status, body)
		}
	}
	if status, _, body := s.do("GET", "/v2/", nil, s.asOperator, func(r *http.Request) {
		r.Header.Add(hopsField, "other")
		r.Header.Add(hopsField, own)
	}); status != http.StatusLoopDetected {
		t.Errorf("with two fields: %d %s", status, body)
	}

	s.stop()
	s = start(t, settings(data))
	if status, _, body := s.do("GET", "/v2/", nil, field(hopsField, own), s.asOperator); status != http.StatusLoopDetected {
		t.Errorf("after a restart: %d %s", status, body)
	}
	another := start(t, settings(t.TempDir()))
	if status, _, body := another.do("GET", "/v2/", nil, field(hopsField, own), another.asOperator); status != http.StatusOK {
		t.Errorf("another server: %d %s", status, body)
	}
}

// TestOwnAddressIsRefused: checklist point 6. A webhook cannot be made to ring
// the server that has it.
func TestOwnAddressIsRefused(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	_, port, _ := strings.Cut(s.Addr().String(), ":")
	for _, uri := range []string{s.URL() + "/v2/", "http://localhost:" + port + "/"} {
		body := []byte(`{"location":"local","properties":{"serviceUri":"` + uri + `","actions":["push"]}}`)
		status, _, answer := s.do("PUT", plane+"webhooks/selfhook", body, s.asOperator)
		if status/100 != 4 {
			t.Errorf("%s: %d %s", uri, status, answer)
		}
	}
}

// TestLoopOfTwoServers: checklist point 6. A rings a program that pushes to B, B
// rings A: A refuses, and the loop has ended.
func TestLoopOfTwoServers(t *testing.T) {
	t.Parallel()
	a, b := start(t, settings(t.TempDir())), start(t, settings(t.TempDir()))
	b.webhook("ringsserver", a.URL()+"/v2/app/manifests/v1")
	pushed := make(chan struct{}, 10)
	a.webhook("ringsrelay", relay(t, func(h http.Header) {
		// As a program does that passes on the headers it knows nothing of.
		b.push("app", "v1", func(r *http.Request) { r.Header[hopsField] = h[hopsField] })
		pushed <- struct{}{}
	}))
	a.push("app", "v1")
	<-pushed
	log := b.log(t, "ringsserver", 1)
	if len(log) != 1 || !strings.HasPrefix(log[0], "1 failed 508 ") || !strings.Contains(log[0], "webhook") {
		t.Errorf("the log of B's webhook has %q; want a 508", log)
	}
	if n := len(pushed); n != 0 {
		t.Errorf("%d more pushes to B", n)
	}
}

// TestLoopToSelf: checklist point 6. The address of a server may be hidden behind
// another one.
func TestLoopToSelf(t *testing.T) {
	t.Parallel()
	a := start(t, settings(t.TempDir()))
	answered := make(chan int, 10)
	a.webhook("ringsitself", relay(t, func(h http.Header) {
		req, err := http.NewRequest("PUT", a.URL()+"/v2/app/manifests/v2", bytes.NewReader(nil))
		if err != nil {
			t.Error(err)
			return
		}
		req.Header = h.Clone()
		a.asOperator(req)
		res, err := a.http.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		res.Body.Close()
		answered <- res.StatusCode
	}))
	a.push("app", "v1")
	if status := <-answered; status != http.StatusLoopDetected {
		t.Errorf("the server answers itself with %d", status)
	}
}

// TestRingsDoNotOperateTheControlPlane: checklist point 6. A webhook whose address
// is another server's ping could go round unseen: a ping remembers no hops.
func TestRingsDoNotOperateTheControlPlane(t *testing.T) {
	t.Parallel()
	a, b := start(t, settings(t.TempDir())), start(t, settings(t.TempDir()))
	rang := make(chan struct{}, 10)
	b.webhook("pinged", relay(t, func(http.Header) { rang <- struct{}{} }))
	body := []byte(`{"location":"local","properties":{"serviceUri":"` + strings.Replace(b.URL(), "://", "://dockbell:"+b.Password+"@", 1) +
		plane + `webhooks/pinged/ping","actions":["push"]}}`)
	if status, _, answer := a.do("PUT", plane+"webhooks/pingsother", body, a.asOperator); status != http.StatusCreated {
		t.Fatalf("webhook: %d %s", status, answer)
	}
	a.push("app", "v1")
	if log := a.log(t, "pingsother", 1); len(log) != 1 || !strings.HasPrefix(log[0], "1 failed 508 ") || !strings.Contains(log[0], "control plane") {
		t.Errorf("the log of A's webhook has %q; want a 508", log)
	}
	// A program that is rung, and passes on the headers it got, may.
	if status, _, answer := b.do("PATCH", plane+"webhooks/pinged", []byte(`{}`), b.asOperator, field(hopsField, "other")); status != http.StatusOK {
		t.Errorf("PATCH: %d %s", status, answer)
	}
	select {
	case <-rang:
		t.Error("B rang")
	default:
	}
}
