package harness_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/dockbell/dockbell/internal/harness"
)

// What strangers write: it ends every element and attribute that it may be in, and
// tells if any of it is not taken for text. Markup made of it has the class evil, and
// what runs sets window.evil.
const (
	evil    = `"'></title></textarea></style></script><img class=evil src=/portal/evil onerror="window.evil=1"><script class=evil>window.evil=1</script><a class=evil href="javascript:window.evil=1">{{.}}${1}&lt;`
	unclean = "\u202e\u2067gnp.exe\u0007\u001b[31m\u0000\ufeff" + evil // control characters, and marks that turn the text around
)

var endless = strings.Repeat("Endless", 60) // a word

// TestRealPortalHostile fills a registry with what is meant to break its pages, and
// goes to all of them, with the eyes of the operator: nothing of it runs or becomes
// an element, it is there to read, and no page gets wider than a phone.
func TestRealPortalHostile(t *testing.T) {
	browser := forBrowser(t)
	c := &company{t: t}
	c.start(t.TempDir())
	var got atomic.Int64
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodOptions {
			w.Header().Set("WebHook-Allowed-Origin", "*")
			return
		}
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		status := http.StatusOK
		if got.Add(1) <= 2 {
			status = http.StatusInternalServerError
		}
		fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\nX-Evil: %s\r\nX-%s: %s\r\nContent-Type: text/html; %s\r\nConnection: close\r\n\r\n%s%s", status, evil, evil, endless[:60], endless, evil, unclean, endless)
	}))
	t.Cleanup(receiver.Close)

	c.put("/webhooks/evilhook", `{"location":"local","tags":{%q:%q,"long":%q},"properties":{"serviceUri":"%s/%s?evil=%s","actions":["push","delete","quarantine"],"customHeaders":{"X-Evil":%q},"retryPolicy":{"maxDeliveryAttempts":1}}}`,
		"<b class=evil>", evil, endless[:200], receiver.URL, endless, url.QueryEscape(evil), evil)
	c.put("/webhooks/"+endless[:50], `{"location":"local","properties":{"serviceUri":%q,"actions":["push"]}}`, receiver.URL)
	c.put("/providers/Microsoft.EventGrid/eventSubscriptions/evilevents", `{"properties":{"destination":{"endpointType":"WebHook","properties":{"endpointUrl":"%s/in","deliveryAttributeMappings":[{"name":"X-Evil","type":"Static","properties":{"value":%q,"isSecret":false}}]}},
		"eventDeliverySchema":"CloudEventSchemaV1_0","labels":[%q,%q],"filter":{"subjectBeginsWith":"","advancedFilters":[{"operatorType":"StringNotIn","key":"data.target.tag","values":[%q,%q]}]}}}`, receiver.URL, evil, evil, endless[:256], evil, endless)
	c.put("/scopeMaps/"+endless[:50], `{"properties":{"description":%q,"actions":["repositories/*/content/read"]}}`, evil)
	c.put("/tokens/"+endless[:50], `{"properties":{"scopeMapId":"%s/scopeMaps/%s"}}`, contoso, endless[:50])
	c.Do(context.Background(), "POST", "/api/v1/servicePrincipals", nil, fmt.Appendf(nil, `{"displayName":%q,"roleAssignments":[{"role":"Reader"}]}`, evil[:100]))

	repository := strings.ToLower(strings.Repeat(endless[:60]+"/", 4)) + "end"
	tag := endless[:128]
	client := evil + endless
	config := c.blob(repository, ociType+"config.v1+json", fmt.Sprintf(`{"architecture":%q,"os":%q,"author":%q,"created":%q,"config":{"Labels":{%q:%q},"Env":[%q],"Cmd":[%q]},"history":[{"created_by":%q}]}`, evil, endless, evil, evil, evil, endless, evil, evil, evil))
	layer := c.blob(repository, "application/vnd.oci.image.layer.v1.tar+gzip", "layer")
	layer["annotations"] = map[string]string{"org.opencontainers.image.title": evil, endless: endless}
	manifest := map[string]any{"schemaVersion": 2, "mediaType": ociType + "manifest.v1+json", "config": config, "layers": []any{layer},
		"annotations": map[string]string{evil: unclean, "org.opencontainers.image.source": "javascript:window.evil=1", "org.opencontainers.image.url": evil, "org.opencontainers.image.version": endless}}
	digest := c.push(client, repository, tag, manifest)
	c.push(client, repository, "", map[string]any{"schemaVersion": 2, "mediaType": ociType + "manifest.v1+json", "artifactType": "application/vnd." + strings.ToLower(endless[:100]) + "+json",
		"config": c.blob(repository, "application/vnd.oci.empty.v1+json", "{}"), "layers": []any{layer}, "annotations": map[string]string{evil: evil},
		"subject": map[string]any{"mediaType": ociType + "manifest.v1+json", "digest": digest, "size": len(c.Must(http.StatusOK, "GET", "/v2/"+repository+"/manifests/"+digest, nil, nil))}})

	at := "/portal/registries/contoso"
	clean := func(b *tab) {
		b.t.Helper()
		here := eval[string](b, `location.pathname + location.search`)
		if eval[bool](b, `"evil" in window || document.querySelector(".evil, [onerror], a[href^='javascript:' i]") !== null`) {
			b.t.Errorf("%s: what a stranger wrote became markup:\n%s", here, eval[string](b, `document.documentElement.outerHTML`))
		}
		b.look(phone, "light")
		for _, wrong := range b.tooWide() {
			b.t.Errorf("%s: %s", here, wrong)
		}
		b.look(desktop, "light")
		for _, wrong := range b.tooWide() {
			b.t.Errorf("%s, wide: %s", here, wrong)
		}
		b.sound()
	}

	b := newTab(t, browser, c.Server)
	b.page("/portal/login?next=" + url.QueryEscape("javascript:window.evil=1"))
	clean(b)
	b.fill("User name", evil)
	b.fill("Password", evil)
	b.follow("Log in")
	clean(b)
	if got := eval[string](b, field("User name")+".value"); got != evil {
		t.Errorf("the user name came back as %q", got)
	}
	b.login("contoso", harness.Password)

	// It is seen coming, too.
	b.page(at + "/events")
	c.push(client, repository, "live"+endless[:100], manifest)
	b.await("row of the push", `document.querySelector("[data-tail]").innerText.includes("live")`)
	clean(b)
	b.page(at + "/webhooks/evilhook")
	c.push(client, repository, "live2"+endless[:100], manifest)
	b.await("row of the push", `document.querySelector("[data-tail]").innerText.includes("live2")`)
	clean(b)
	b.clickOn("link to a story", `document.querySelector("[data-tail] th a")`)
	b.await("story", `location.pathname.includes("/deliveries/")`)
	for _, text := range []string{evil, endless} {
		b.await("answer of the receiver, and who pushed, as text", `(text) => document.body.textContent.includes(text)`, text)
	}
	clean(b)
	b.follow("Redeliver")
	b.await("second attempt", `document.querySelectorAll("[aria-labelledby=attempts] > ol > li").length > 1`)
	clean(b)

	b.page(at + "/repositories/" + repository + "@" + digest)
	for _, text := range []string{evil, endless} {
		b.await("annotations as text", `(text) => document.body.textContent.includes(text)`, text)
	}
	clean(b)

	b.page(at + "/webhooks/new")
	for _, label := range []string{"Name", "Service URI", "Scope", "Custom headers"} {
		b.fill(label, evil)
	}
	b.wrongAt("Scope", "class=evil")
	clean(b)
	b.follow("Add webhook")
	clean(b)
	if got := eval[string](b, field("Scope")+".value"); got != evil {
		t.Errorf("the scope came back as %q", got)
	}

	w := newWalk(t, "contoso", "evilhook", "evilevents", endless[:50], strings.ToLower(endless[:60]), "end")
	q := url.QueryEscape(evil)
	for _, path := range []string{"/portal/" + url.PathEscape(evil), at + url.PathEscape(evil), at + "/webhooks/" + url.PathEscape(evil), at + "/subscriptions/" + url.PathEscape(endless), at + "/repositories/" + url.PathEscape(evil),
		at + "/webhooks/evilhook/deliveries/" + url.PathEscape(evil), at + "/access/tokens/" + url.PathEscape(evil)} {
		w.addError(path, http.StatusNotFound)
	}
	w.add("/portal/", at+"/webhooks?q="+q, at+"/webhooks?done="+q, at+"/subscriptions?q="+q+"&state="+q, at+"/webhooks/evilhook?id="+q+"&image="+q, at+"/repositories?q="+q, at+"/webhooks/new?scope="+q, at+"/audit?who="+q)
	w.run(t, func(t *testing.T) *tab {
		b := newTab(t, browser, c.Server)
		b.login("contoso", harness.Password)
		return b
	}, clean)
}
