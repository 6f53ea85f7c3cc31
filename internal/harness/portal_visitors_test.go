package harness_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/harness"
)

// TestRealPortalReader goes everywhere as a service principal with the role Reader,
// who sees what there is, no button that would be refused and no secret.
func TestRealPortalReader(t *testing.T) {
	browser := forBrowser(t)
	c := newCompany(t, t.TempDir())
	c.open()
	c.settle("deployhook")
	w := newWalk(t, c.names...)
	w.addError("/portal/registries/contoso/repositories/worker@"+c.gone, http.StatusNotFound)
	for _, path := range []string{"/webhooks/new", "/webhooks/deployhook/edit", "/webhooks/deployhook/delete", "/subscriptions/new", "/subscriptions/inventory/edit", "/access/new-token", "/access/new-scope-map"} {
		w.addError("/portal/registries/contoso"+path, http.StatusForbidden)
	}
	w.add("/portal/")
	// What is secret of the company's webhooks, subscriptions and accounts.
	secrets := []string{"hook-secret", "query-secret", harness.Password, c.reader.Password, "whsec_"}
	allowed := map[string]bool{"/portal/logout": true, "/portal/theme": true}
	w.run(t, func(t *testing.T) *tab {
		b := newTab(t, browser, c.Server)
		b.login(c.reader.AppID, c.reader.Password)
		return b
	}, func(b *tab) {
		at := eval[string](b, `location.pathname + location.search`)
		for _, wrong := range append(b.axe(w.axe), b.tooWide()...) {
			b.t.Errorf("%s: %s", at, wrong)
		}
		page := eval[string](b, `document.documentElement.outerHTML`)
		for _, secret := range secrets {
			if strings.Contains(page, secret) {
				b.t.Errorf("%s has the secret %.4s…", at, secret)
			}
		}
		for _, to := range eval[[]string](b, `[...document.forms].filter((f) => f.method === "post").map((f) => new URL(f.action).pathname)`) {
			if !allowed[to] {
				b.t.Errorf("%s has a form for %s, which a reader may not send", at, to)
			}
		}
	})
	for _, page := range []string{"/webhooks/deployhook", "/subscriptions/inventory", "/repositories/web/shop", "/events", "/access"} {
		if path := "/portal/registries/contoso" + page; w.alike[w.shape(path)] == 0 {
			t.Errorf("no link leads a reader to %s", path)
		}
	}
}

// TestRealPortalWithoutScript does what matters most in a browser that runs none.
func TestRealPortalWithoutScript(t *testing.T) {
	browser := forBrowser(t)
	c := newCompany(t, t.TempDir())
	b := newTab(t, browser, c.Server)
	b.withoutScript()
	b.login("contoso", harness.Password)
	b.follow("Webhooks")
	b.follow("Add webhook")
	b.fill("Name", "no good")
	b.fill("Service URI", c.deploy.url)
	if status := b.follow("Add webhook"); status != http.StatusBadRequest {
		t.Errorf("a form with errors is answered %d", status)
	}
	b.wrongAt("Name", "not a letter or digit")
	if got := eval[string](b, field("Service URI")+".value"); got != c.deploy.url {
		t.Errorf("the form came back with the address %q", got)
	}
	b.fill("Name", "plainhook")
	b.follow("Add webhook")
	b.text("The webhook is there.")
	b.follow("Ping")
	b.text("Pinged")
	c.image("web/shop", "v1.0", "amd64", nil)
	b.pageWith("/portal/registries/contoso/webhooks/plainhook", "web/shop:v1.0")
	for _, text := range []string{"ping", "200", "Delivered"} {
		b.text(text)
	}
	for _, button := range []string{"Hold new rows", "Copy"} {
		if b.has(button) {
			t.Errorf("there is a button %s, which does nothing without script", button)
		}
	}
	b.fill("Image", "web/shop:v1.0")
	b.follow("Filter")
	b.await("one row", `document.querySelectorAll("#log ~ table tbody tr").length === 1`)
	b.follow("Show the whole log")
	b.clickOn("link to a story", `document.querySelector("#log ~ table tbody th a")`)
	b.text("Came back")
	b.follow("Redeliver")
	b.text("It is rung once more")
	b.follow("plainhook")
	b.follow("Pause")
	b.text("Paused")
	b.follow("Resume")
	b.follow("Delete")
	b.follow("Delete plainhook")
	b.text("The webhook is deleted.")
	b.sound()
	b.choose("Colours", "Dark")
	b.follow("Set")
	b.await("dark page", `document.documentElement.dataset.theme === "dark"`)
	b.sound()
	b.follow("Log out")
	b.await("page to log in", `location.pathname === "/portal/login"`)
}
