package harness_test

import (
	"net/http"
	"testing"

	"github.com/dockbell/dockbell/internal/harness"
)

// TestRealPortalSubscription makes an event subscription by the form, whose receiver
// is asked whether it agrees, and sees it ring, fail, and ring again.
func TestRealPortalSubscription(t *testing.T) {
	browser := forBrowser(t)
	c := &company{t: t, grid: newReceiver(t, http.StatusOK)}
	c.start(t.TempDir())
	axe := string(cacheFile(t, axeCore))
	b := newTab(t, browser, c.Server)
	looks := func() {
		t.Helper()
		b.whole(axe)
		b.sound()
	}
	b.login("contoso", harness.Password)
	b.follow("Subscriptions")
	looks()
	b.follow("Add subscription")
	b.fill("Name", "no/name")
	b.fill("Address of a web hook", "ftp://broken")
	if status := b.follow("Add subscription"); status != http.StatusBadRequest {
		t.Errorf("a form with errors is answered %d", status)
	}
	b.wrongAt("Name", "3 to 64 letters, digits and dashes")
	if got := eval[string](b, field("Address of a web hook")+".value"); got != "ftp://broken" {
		t.Errorf("the form came back with the address %q", got)
	}
	looks()
	b.fill("Name", "on-push")
	b.follow("Add subscription")
	b.wrongAt("Address of a web hook", "http")
	b.fill("Address of a web hook", c.grid.url+"/in?code=query-secret")
	if status := b.follow("Add subscription"); status != http.StatusOK {
		t.Fatalf("the form is answered %d\n%s", status, b.where())
	}
	looks()
	const first = `document.querySelector("[data-tail] tr")`
	c.image("web/shop", "v1.0", "amd64", nil)
	b.await("row of v1.0", `((r) => r && r.innerText.includes("web/shop:v1.0") && r.innerText.includes("Delivered"))(`+first+`)`)
	c.grid.status.Store(http.StatusInternalServerError)
	c.image("web/shop", "v1.1", "amd64", nil)
	b.await("row of v1.1", `((r) => r && r.innerText.includes("web/shop:v1.1") && r.innerText.includes("Failed"))(`+first+`)`)
	looks()
	b.clickOn("link to the story of v1.1", first+`.querySelector("th a")`)
	b.await("story", `location.pathname.includes("/deliveries/")`)
	looks()
	c.grid.status.Store(http.StatusOK)
	b.follow("Redeliver")
	b.await("attempt that is good", `document.querySelector("[aria-labelledby=attempts] li.good")`)
	b.follow("on-push")
	b.follow("Pause")
	b.text("Paused")
	b.follow("Resume")
	b.follow("Edit")
	b.await("no secret", `!document.documentElement.outerHTML.includes("query-secret")`)
	looks()
	b.page("/portal/registries/contoso/subscriptions/on-push")
	b.follow("Delete")
	b.follow("Delete on-push")
	b.await("list", `location.pathname.endsWith("/subscriptions")`)
	looks()
}
