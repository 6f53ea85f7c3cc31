package app_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestFiguresPage pushes an image that rings, and sees it counted by the API and drawn
// by the portal.
func TestFiguresPage(t *testing.T) {
	t.Parallel()
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(receiver.Close)
	r := start(t, settings(t.TempDir()))
	form := url.Values{"username": {r.Operator()}, "password": {r.Password}}
	status, header, _ := r.do("POST", "/portal/login", []byte(form.Encode()), func(req *http.Request) {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	})
	if status != http.StatusSeeOther {
		t.Fatalf("login: %d", status)
	}
	session, _, _ := strings.Cut(header.Get("Set-Cookie"), ";")
	page := func(query string) string {
		status, _, body := r.do("GET", "/portal/registries/"+r.Operator()+"/figures"+query, nil, func(req *http.Request) { req.Header.Set("Cookie", session) })
		if status != http.StatusOK {
			t.Fatalf("%s: %d %s", query, status, body)
		}
		return string(body)
	}
	if empty := page(""); !strings.Contains(empty, "nothing to count") || !strings.Contains(empty, "dockbell webhook create -r "+r.Operator()) {
		t.Errorf("without endpoints: %s", empty)
	}
	r.webhook("deployhook", receiver.URL)
	if idle := page("?span=7d"); !strings.Contains(idle, "Nothing was sent in the last 7 d.") || strings.Contains(idle, "<rect") {
		t.Errorf("without deliveries: %s", idle)
	}
	r.push("app", "v1")
	counted := func() (c struct {
		Delivered int
		Value     []struct {
			Name      string
			Delivered int
		}
	}) {
		_, _, body := r.do("GET", "/api/v1/registries/"+r.Operator()+"/statistics?step=minute", nil, r.asOperator)
		if err := json.Unmarshal(body, &c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	for deadline := time.Now().Add(20 * time.Second); counted().Delivered == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the delivery is not counted")
		}
	}
	if c := counted(); c.Delivered != 1 || len(c.Value) != 1 || c.Value[0].Name != "deployhook" || c.Value[0].Delivered != 1 {
		t.Errorf("counted are %+v", c)
	}
	for query, step := range map[string]string{"": "hour", "?span=1h": "minute", "?span=7d": "hour", "?span=nonsense": "hour"} {
		drawn := page(query)
		for _, want := range []string{"Deliveries per " + step, "1 delivered", `<rect class="good"`, `<path class="line third"`, `href="/portal/registries/` + r.Operator() + `/webhooks/deployhook"`, "Nothing waits."} {
			if !strings.Contains(drawn, want) {
				t.Errorf("%q: %s is missing in\n%s", query, want, drawn)
			}
		}
		if strings.Contains(drawn, " style=") {
			t.Errorf("%q has a style of its own", query)
		}
	}
}
