package harness_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/harness"
)

// company is a server with the registry contoso, in which is what a company has that
// builds and deploys: a few repositories, one webhook that is heard, one that fails
// and one that is paused, event subscriptions, and accounts.
type company struct {
	*harness.Server
	t *testing.T

	deploy, chat *receiver // of the webhooks deployhook, which is fine, and chathook
	grid         *receiver // of the event subscription
	reader       struct{ AppID, Password string }
	names        []string // of what there is
	gone         string   // digest of an image of worker that was deleted
}

const contoso = "/api/v1/registries/contoso"

// receiver is one whose answer can be changed.
type receiver struct {
	url    string
	status atomic.Int64
	got    atomic.Int64
	after  atomic.Pointer[func(n int64) time.Duration] // how long it takes for the nth request
}

func newReceiver(t *testing.T, status int) *receiver {
	r := &receiver{}
	r.status.Store(int64(status))
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method == http.MethodOptions { // it agrees to be sent CloudEvents
		w.Header().Set("WebHook-Allowed-Origin", "*")
		return
	}
	n := r.got.Add(1)
	if after := r.after.Load(); after != nil {
		time.Sleep((*after)(n))
	}
	status := int(r.status.Load())
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Request-Id", fmt.Sprintf("req-%06d", n))
	w.WriteHeader(status)
	if status/100 == 2 {
		fmt.Fprintf(w, `{"pipeline":%d,"state":"queued"}`, 4000+n)
	} else {
		fmt.Fprint(w, `{"error":"upstream is down for maintenance"}`)
	}
}

func newCompany(t *testing.T, data string, flags ...string) *company {
	t.Helper()
	c := &company{t: t, deploy: newReceiver(t, http.StatusOK), chat: newReceiver(t, http.StatusServiceUnavailable), grid: newReceiver(t, http.StatusOK)}
	c.start(data, flags...)
	c.names = []string{"nosuch", "contoso", "deployhook", "chathook", "audithook", "releases", "inventory", "ci-push", "ci-pull", "web-push", "_repositories_admin", "_repositories_pull", "_repositories_push", "_repositories_pull_metadata_read", "_repositories_push_metadata_write",
		"web", "shop", "api", "worker", "charts"}
	return c
}

func (c *company) start(data string, flags ...string) {
	c.t.Helper()
	c.Server = harness.Start(c.t, data, append([]string{"--registry-name", "contoso", "--allow-destinations", "127.0.0.0/8"}, flags...)...)
	c.User = "contoso"
}

// put makes something of the registry.
func (c *company) put(path, body string, args ...any) []byte {
	c.t.Helper()
	status, answer, err := c.Do(context.Background(), "PUT", contoso+path, nil, fmt.Appendf(nil, body, args...))
	if err != nil || status/100 != 2 {
		c.t.Fatalf("PUT %s: status %d, error %v\n%s", path, status, err, answer)
	}
	return answer
}

// Clients that push.
const (
	docker = "docker/27.3.1 go/go1.22.7 git-commit/41ca978 kernel/6.8.0 os/linux arch/amd64 UpstreamClient(Docker-Client/27.3.1 \\(linux\\))"
	cosign = "cosign/v2.4.1 (linux; amd64) go-containerregistry/v0.20.2"
	helm   = "Helm/3.16.2"
)

// push pushes a manifest of some media type as a client does, and returns its digest.
func (c *company) push(client, repository, reference string, manifest any) string {
	c.t.Helper()
	body, err := json.Marshal(manifest)
	if err != nil {
		c.t.Fatal(err)
	}
	var is struct{ MediaType string }
	json.Unmarshal(body, &is)
	if reference == "" {
		reference = harness.Digest(body)
	}
	c.Must(http.StatusCreated, "PUT", "/v2/"+repository+"/manifests/"+reference, http.Header{"Content-Type": {is.MediaType}, "User-Agent": {client}}, body)
	return harness.Digest(body)
}

// blob pushes a content and returns its descriptor.
func (c *company) blob(repository, mediaType, content string) map[string]any {
	c.t.Helper()
	if err := c.PushBlob(context.Background(), repository, []byte(content)); err != nil {
		c.t.Fatal(err)
	}
	return map[string]any{"mediaType": mediaType, "digest": harness.Digest([]byte(content)), "size": len(content)}
}

const ociType = "application/vnd.oci.image."

// image pushes an image for one platform.
func (c *company) image(repository, reference, architecture string, annotations map[string]string) string {
	c.t.Helper()
	seed := repository + reference + architecture + fmt.Sprint(annotations)
	config := c.blob(repository, ociType+"config.v1+json", fmt.Sprintf(`{"architecture":%q,"os":"linux","created":"2026-11-20T09:30:00Z","author":"build@contoso.com","config":{"Cmd":["/bin/server"],"Env":["PORT=8080"],"Labels":{"org.opencontainers.image.source":"https://git.contoso.com/%s"}},"rootfs":{"type":"layers","diff_ids":[]},"history":[{"created_by":%q}]}`,
		architecture, repository, seed))
	var layers []map[string]any
	for i, size := range []int{61_000, 23_400, 1_200} {
		layers = append(layers, c.blob(repository, ociType+"layer.v1.tar+gzip", strings.Repeat(fmt.Sprintf("%s %d ", repository, i), size/(len(repository)+3))+seed[:min(i*8, len(seed))]))
	}
	return c.push(docker, repository, reference, map[string]any{"schemaVersion": 2, "mediaType": ociType + "manifest.v1+json", "config": config, "layers": layers, "annotations": annotations})
}

// release pushes an image for two platforms, signs it and says what is in it.
func (c *company) release(repository, tag string) string {
	c.t.Helper()
	notes := map[string]string{"org.opencontainers.image.version": tag, "org.opencontainers.image.revision": harness.Digest([]byte(repository + tag))[7:47]}
	var children []map[string]any
	for _, architecture := range []string{"amd64", "arm64"} {
		digest := c.image(repository, "", architecture, notes)
		body := c.Must(http.StatusOK, "GET", "/v2/"+repository+"/manifests/"+digest, http.Header{"Accept": {ociType + "manifest.v1+json"}}, nil)
		children = append(children, map[string]any{"mediaType": ociType + "manifest.v1+json", "digest": digest, "size": len(body), "platform": map[string]string{"architecture": architecture, "os": "linux"}})
	}
	index := map[string]any{"schemaVersion": 2, "mediaType": ociType + "index.v1+json", "manifests": children, "annotations": notes}
	digest := c.push(docker, repository, tag, index)
	body, _ := json.Marshal(index)
	subject := map[string]any{"mediaType": ociType + "index.v1+json", "digest": digest, "size": len(body)}
	for artifact, content := range map[string]string{"application/vnd.dev.cosign.artifact.sig.v1+json": "signature of " + digest, "application/spdx+json": `{"spdxVersion":"SPDX-2.3","name":"` + tag + `"}`} {
		empty := c.blob(repository, "application/vnd.oci.empty.v1+json", "{}")
		c.push(cosign, repository, "", map[string]any{"schemaVersion": 2, "mediaType": ociType + "manifest.v1+json", "artifactType": artifact, "config": empty,
			"layers": []any{c.blob(repository, artifact, content)}, "subject": subject})
	}
	return digest
}

// hook makes a webhook.
func (c *company) hook(name, uri, more string) {
	c.t.Helper()
	c.put("/webhooks/"+name, `{"location":"local","tags":{"team":"platform"},"properties":{"serviceUri":%q,"customHeaders":{"Authorization":"Bearer hook-secret","X-Env":"prod"},%s}}`, uri, more)
}

// open has the company begin: webhooks, subscriptions, accounts, and a few images.
func (c *company) open() {
	c.t.Helper()
	c.hook("deployhook", c.deploy.url+"/deploy?key=query-secret", `"actions":["push","delete"]`)
	c.hook("chathook", c.chat.url+"/alerts", `"actions":["push"],"scope":"web/*:*","retryPolicy":{"maxDeliveryAttempts":3}`)
	c.hook("audithook", c.deploy.url+"/audit", `"actions":["push","delete","quarantine"]`)
	c.Must(http.StatusOK, "POST", contoso+"/webhooks/audithook/pause", nil, nil)
	const subscriptions = "/providers/Microsoft.EventGrid/eventSubscriptions/"
	c.put(subscriptions+"inventory", `{"properties":{"destination":{"endpointType":"WebHook","properties":{"endpointUrl":"%s/in?code=query-secret"}},"eventDeliverySchema":"CloudEventSchemaV1_0","labels":["stock"]}}`, c.grid.url)
	c.put(subscriptions+"releases", `{"properties":{"destination":{"endpointType":"WebHook","properties":{"endpointUrl":"%s/releases"}},"eventDeliverySchema":"CloudEventSchemaV1_0","filter":{"subjectBeginsWith":"web/","advancedFilters":[{"operatorType":"StringBeginsWith","key":"data.target.tag","values":["v1.","v2."]}]}}}`, c.grid.url)

	c.put("/scopeMaps/web-push", `{"properties":{"description":"What builds of the web team may do","actions":["repositories/web/*/content/read","repositories/web/*/content/write"]}}`)
	c.put("/tokens/ci-push", `{"properties":{"scopeMapId":"%s/scopeMaps/web-push"}}`, contoso)
	c.put("/tokens/ci-pull", `{"properties":{"scopeMapId":"%s/scopeMaps/_repositories_pull"}}`, contoso)
	c.Must(http.StatusOK, "POST", contoso+"/generateCredentials", nil, []byte(`{"tokenId":"`+contoso+`/tokens/ci-push","name":"password1","expiry":"`+time.Now().AddDate(0, 3, 0).UTC().Format(time.RFC3339)+`"}`))
	if err := json.Unmarshal(c.Must(http.StatusCreated, "POST", "/api/v1/servicePrincipals", nil, []byte(`{"displayName":"dashboards","roleAssignments":[{"role":"Reader"}]}`)), &c.reader); err != nil {
		c.t.Fatal(err)
	}
	for _, tag := range []string{"v1.0", "v1.1"} {
		c.release("web/shop", tag)
	}
	c.image("web/api", "v2.3", "amd64", nil)
	c.image("worker", "2026-11-20", "arm64", nil)
	c.push(helm, "charts/shop", "0.4.0", map[string]any{"schemaVersion": 2, "mediaType": ociType + "manifest.v1+json", "annotations": map[string]string{"org.opencontainers.image.title": "shop"},
		"config": c.blob("charts/shop", "application/vnd.cncf.helm.config.v1+json", `{"name":"shop","version":"0.4.0","apiVersion":"v2"}`),
		"layers": []any{c.blob("charts/shop", "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "a chart")}})
	c.gone = c.image("worker", "2026-11-13", "arm64", nil)
	c.Must(http.StatusAccepted, "DELETE", "/v2/worker/manifests/"+c.gone, nil, nil)
}

// health is how a webhook fares.
type health struct {
	Waiting, ConsecutiveFailures int64
}

// awaitHealth waits until a webhook fares in some way.
func (c *company) awaitHealth(webhook string, is func(health) bool) {
	c.t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		body := c.Must(http.StatusOK, "GET", contoso+"/webhooks/"+webhook+"?expand=health", nil, nil)
		var h struct{ Health *health }
		if err := json.Unmarshal(body, &h); err != nil || h.Health == nil {
			c.t.Fatalf("no health (error %v): %s", err, body)
		}
		if is(*h.Health) {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s fares otherwise: %s", webhook, body)
		}
	}
}

// settle waits until there is nothing more to be sent to a webhook.
func (c *company) settle(webhook string) {
	c.t.Helper()
	c.awaitHealth(webhook, func(h health) bool { return h.Waiting == 0 })
}
