package harness_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/harness"
)

// TestRealPortalPages goes to every page that links lead to, of a registry that is in
// use, as the operator: no page does what it may not, is inaccessible by axe-core's
// rules, is wider than a phone, or has anything out of reach of the keyboard.
func TestRealPortalPages(t *testing.T) {
	browser := forBrowser(t)
	c := newCompany(t, t.TempDir())
	c.open()
	c.settle("deployhook")
	w := newWalk(t, c.names...)
	for _, path := range []string{"/portal/no/such/page", "/portal/registries/nosuch", "/portal/registries/contoso/webhooks/nosuch", "/portal/registries/contoso/repositories/nosuch",
		"/portal/registries/contoso/repositories/worker@" + c.gone} {
		w.addError(path, http.StatusNotFound)
	}
	w.add("/portal/")
	w.run(t, func(t *testing.T) *tab {
		b := newTab(t, browser, c.Server)
		b.login("contoso", harness.Password)
		return b
	}, func(b *tab) { b.whole(w.axe) })
	slices.Sort(w.visited)
	t.Logf("%d pages:\n%s", len(w.visited), strings.Join(w.visited, "\n"))
}

// TestPortalWeight bounds what a browser has to load beside a page.
func TestPortalWeight(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, t.TempDir())
	for _, name := range []string{"style.css", "script.js"} {
		if size := len(s.Must(http.StatusOK, "GET", "/portal/assets/"+name, nil, nil)); size >= 30_000 {
			t.Errorf("%s has %d bytes", name, size)
		}
	}
}
