package harness_test

import (
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/harness"
)

// TestRealPortalRing does what the portal is for, with mouse and keyboard: a webhook
// is made by the form, rings for the push of a real client while one looks, fails, is
// seen to, is rung again, and goes.
func TestRealPortalRing(t *testing.T) {
	forReal(t, "skopeo")
	browser := forBrowser(t)
	c := &company{t: t, deploy: newReceiver(t, http.StatusOK)}
	c.start(t.TempDir())
	axe := string(cacheFile(t, axeCore))
	b := newTab(t, browser, c.Server)
	looks := func() {
		t.Helper()
		b.whole(axe)
		b.sound()
	}

	b.page("/portal/registries/contoso/webhooks?state=trouble")
	b.fill("User name", "contoso")
	b.fill("Password", "not the password")
	b.follow("Log in")
	b.await("refusal", `document.querySelector("[role=alert]")`)
	looks()
	if got := eval[string](b, field("User name")+".value"); got != "contoso" {
		t.Errorf("after a wrong password the user name is %q", got)
	}
	b.fill("Password", harness.Password)
	b.follow("Log in")
	if at := eval[string](b, `location.pathname + location.search`); at != "/portal/registries/contoso/webhooks?state=trouble" {
		t.Errorf("after the login this page is shown: %s", at)
	}
	b.skips()

	// A first event, for the form to compare with.
	if err := c.PushBlob(t.Context(), "web/shop", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	c.Must(http.StatusCreated, "PUT", "/v2/web/shop/manifests/v0.9", harness.ManifestType, harness.Manifest("first"))

	b.follow("Add webhook")
	looks()
	for _, group := range []string{"Format and consent", "Retries and rate", "Signatures and certificates", "Place and tags"} {
		b.click(group)
	}
	looks()
	for _, x := range []struct{ label, text, wrong string }{
		{"Name", "ab", "too short"},
		{"Name", "deploy-hook", "not a letter or digit"},
		{"Name", "", "Give it a name"},
		{"Service URI", "ftp://hooks.example.net", "http"},
		{"Service URI", "http://10.1.2.3/in", "--allow-destinations"},
		{"Scope", "team/*", "team/*:*"},
		{"Custom headers", "no header", "X-Env: prod"},
		{"Custom headers", "Content-Length: 3", "the sender uses it itself"},
		{"Attempts", "0", "1"},
		{"Time to live, in minutes", "1.5", "no whole number"},
		{"Time limit of an attempt, in seconds", "99", "30"},
		{"At most, per minute", "-1", "maxPerMinute"},
		{"Authorities to trust", "no certificate", "certificate"},
		{"Tags", "nothing", "team=web"},
	} {
		b.fill(x.label, x.text)
		b.wrongAt(x.label, x.wrong)
	}
	b.clickOn("check box of push", `document.querySelector("input[name=actions][value=push]")`)
	b.await("error beside the actions", `[...document.querySelectorAll("[data-wrong=actions]")].some((e) => e.innerText.includes("no action"))`)
	looks()

	// What is sent in spite of that comes back, with all that was typed.
	if status := b.follow("Add webhook"); status != http.StatusBadRequest {
		t.Errorf("a form with errors is answered %d", status)
	}
	b.wrongAt("Scope", "team/*:*")
	if got := eval[string](b, field("Custom headers")+".value"); got != "Content-Length: 3" {
		t.Errorf("the form came back with the headers %q", got)
	}
	looks()
	for label, text := range map[string]string{
		"Name": "deployhook", "Service URI": c.deploy.url + "/deploy?key=query-secret", "Scope": "web/*:*", "Custom headers": "Authorization: Bearer hook-secret", "Attempts": "", "Tags": "team=web",
		"Time to live, in minutes": "", "Time limit of an attempt, in seconds": "", "At most, per minute": "", "Authorities to trust": "",
	} {
		b.fill(label, text)
	}
	b.clickOn("check box of push", `document.querySelector("input[name=actions][value=push]")`)
	b.await("form without errors", `[...document.querySelectorAll("[data-wrong]")].every((e) => e.innerText === "")`)
	b.click("Format and consent")
	b.fill("Prefix of event types", "com.contoso") // which is wrong with what is in another field
	b.wrongAt("Prefix of event types", "the format acr, which has neither")
	b.fill("Prefix of event types", "")
	b.text("1 of the newest 1 events of this registry match")
	b.fill("Scope", "other:*")
	b.text("0 of the newest 1 events of this registry match")
	b.fill("Scope", "web/*:*")
	if status := b.follow("Add webhook"); status != http.StatusOK {
		t.Fatalf("the form is answered %d\n%s", status, b.where())
	}
	b.text("The webhook is there.")
	looks()

	// A push is seen while one looks.
	eval[bool](b, `(window.stays = true)`)
	c.skopeo("web/shop:v1.0")
	const first = `document.querySelector("[data-tail] tr")`
	row := func(image, status, outcome string) {
		t.Helper()
		b.await(fmt.Sprintf("row of %s: %s", image, outcome), `(image, status, outcome) => ((r) => r && r.innerText.includes(image) && r.innerText.includes(status) && r.innerText.includes(outcome))(`+first+`)`, image, status, outcome)
	}
	row("web/shop:v1.0", "200", "Delivered")
	looks()
	c.deploy.status.Store(http.StatusServiceUnavailable)
	c.skopeo("web/shop:v1.1")
	row("web/shop:v1.1", "503", "Failed")
	b.text("the receiver answered 503") // above the log, without a new page either
	b.await("red row", `getComputedStyle(`+first+`.querySelector(".badge")).color === getComputedStyle(document.querySelector(".badge.bad")).color`)
	looks()
	if !eval[bool](b, `window.stays === true`) {
		t.Error("the page was loaded anew in between")
	}

	// While the log is held, nothing moves.
	b.click("Hold new rows")
	c.skopeo("web/shop:v1.2")
	b.await("number of rows held back", `/[1-9]/.test(document.querySelector("[data-pause]").innerText)`)
	row("web/shop:v1.1", "503", "Failed")
	b.clickOn("button that shows them", `document.querySelector("[data-pause]")`)
	b.await("row of v1.2", `document.querySelector("[data-tail]").innerText.includes("web/shop:v1.2")`)

	// What became of v1.1, and that once more.
	b.clickOn("link to the story of v1.1", `[...document.querySelectorAll("[data-tail] tr")].find((r) => r.innerText.includes("web/shop:v1.1")).querySelector("th a")`)
	b.await("story", `location.pathname.includes("/deliveries/")`)
	b.text("upstream is down for maintenance")
	looks()
	c.deploy.status.Store(http.StatusOK)
	b.follow("Redeliver")
	b.await("attempt that is good", `document.querySelector("#attempts ~ ol > li .badge.good, [aria-labelledby=attempts] li.good")`)
	b.await("state that is good", `document.querySelector("#standing .badge.good")`)
	looks()

	b.follow("deployhook")
	b.follow("Ping")
	row("", "200", "Delivered")
	b.await("ping", first+`.innerText.includes("ping")`)
	looks()

	b.follow("Edit")
	b.await("scope there is", field("Scope")+`.value === "web/*:*"`)
	if text := eval[string](b, `document.documentElement.outerHTML`); strings.Contains(text, "hook-secret") || strings.Contains(text, "query-secret") {
		t.Error("the form that changes a webhook has its secrets")
	}
	looks()
	b.fill("Scope", "web/shop:*")
	b.follow("Save")
	b.text("The webhook is changed.")
	b.text("web/shop:*")

	b.follow("Pause")
	b.text("Paused")
	looks()
	got := c.deploy.got.Load()
	c.skopeo("web/shop:v1.3")
	b.pageWith(eval[string](b, `location.pathname`), "1 event waits")
	if c.deploy.got.Load() != got {
		t.Error("it rang while it was paused")
	}
	b.follow("Resume")
	row("web/shop:v1.3", "200", "Delivered")

	b.follow("Rotate secret")
	b.text("whsec_")
	looks()
	b.follow("To deployhook")
	b.follow("Replay")
	looks()
	b.page("/portal/registries/contoso/webhooks/deployhook")
	b.follow("Delete")
	looks()
	b.follow("Delete deployhook")
	b.text("The webhook is deleted.")
	looks()
	b.click("Log out")
	b.await("page to log in", `location.pathname === "/portal/login"`)
	b.page("/portal/registries/contoso")
	b.await("page to log in", `location.pathname === "/portal/login"`)
}

// skopeo pushes an image with the real skopeo.
func (c *company) skopeo(image string) {
	c.t.Helper()
	dir := c.t.TempDir()
	writeImage(c.t, dir, image)
	cmd := exec.CommandContext(c.t.Context(), "skopeo", "copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false", "--dest-creds", "contoso:"+harness.Password,
		"dir:"+dir, "docker://"+c.Host+"/"+image)
	cmd.Env = home(c.t, dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		c.t.Fatalf("skopeo: %v\n%s", err, out)
	}
}
