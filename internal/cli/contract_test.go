package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// contract is the server that newServer returns, with scope maps and tokens, and
// with what registry contoso holds, in the shapes that ACR answers. What is asked
// of it is written down. Beside the operator it knows token web-ci, which may use
// images and knows nothing of the control plane.
type contract struct {
	*httptest.Server
	behind *server
	images map[string]answer // by method and URI

	mu            sync.Mutex
	asked         []string                  // since requests was called
	resources     map[string]map[string]any // by path below the registry
	generated     int                       // passwords made
	generateFails bool
}

type answer struct {
	status int
	link   string // query of the next page
	body   string
}

const (
	webDigest  = "sha256:50b8560ad574c779908da71f7ce370c0a2471c098d44d1c8f6b513c5a55eeeb1"
	oldDigest  = "sha256:5122f6204b6a3596e048758cabba3c46b1c937a46b5be6225b835d091b90e46c"
	signDigest = "sha256:0b159cd1ee1203dad901967ac55eee18c24da84ba3be384690304be93538bea8"
	sbomDigest = "sha256:7d865e959b2466918c9863afca942d0fb89d7c9ac0c99bafc3749504ded97730"

	// Blanks and order are the client's that pushed it.
	webManifest = "{\"schemaVersion\":2,  \"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"subject\":{\"digest\":\"" + oldDigest + "\"}}\n"
	oldManifest = `{"mediaType":"application/vnd.oci.image.index.v1+json","artifactType":"application/vnd.example"}`
)

func newContract(t *testing.T) *contract {
	t.Helper()
	c := &contract{behind: newServer(t), resources: map[string]map[string]any{}}
	c.resources["scopeMaps/_repositories_pull"] = resource("scopeMaps/_repositories_pull", map[string]any{
		"type": "SystemDefined", "description": "Can pull any repository of the registry", "actions": []any{"repositories/*/content/read"},
	})
	made, changed := time.Now().Add(-50*time.Hour), time.Now().Add(-3*time.Hour)
	const layout = "2006-01-02T15:04:05.0000000Z"
	times := `"createdTime":"` + made.UTC().Format(layout) + `","lastUpdateTime":"` + changed.UTC().Format(layout) + `"`
	attributes := func(off ...string) string {
		parts := []string{}
		for _, a := range []string{"delete", "write", "read", "list"} {
			parts = append(parts, fmt.Sprintf(`"%sEnabled":%t`, a, !slices.Contains(off, a)))
		}
		return `"changeableAttributes":{` + strings.Join(parts, ",") + `}`
	}
	in := `{"registry":"contoso.azurecr.example","imageName":"team/web",`
	repository := func(off ...string) string {
		return in + times + `,"manifestCount":2,"tagCount":3,` + attributes(off...) + `}`
	}
	tag := func(name, digest string, off ...string) string {
		return `{"name":"` + name + `","digest":"` + digest + `",` + times + `,"signed":false,` + attributes(off...) + `}`
	}
	web := func(off ...string) string {
		return `{"digest":"` + webDigest + `","imageSize":3145728,` + times + `,"architecture":"arm64","os":"linux","mediaType":"application/vnd.oci.image.manifest.v1+json",` +
			`"configMediaType":"application/vnd.oci.image.config.v1+json","tags":["1.0","latest"],` + attributes(off...) + `}`
	}
	old := `{"digest":"` + oldDigest + `","imageSize":525,` + times + `,"mediaType":"application/vnd.oci.image.index.v1+json","references":[{"digest":"` + webDigest + `","architecture":"arm64","os":"linux"}],` + attributes() + `}`
	one, latest, rc := tag("1.0", webDigest, "write"), tag("latest", webDigest), tag("rc", oldDigest)

	deleted := `"deletedAt":"` + changed.UTC().Format(layout) + `","deletedBy":"ada","expiresAfter":"` + changed.Add(7*24*time.Hour).UTC().Format(layout) + `"`

	const repo, gone = " /acr/v1/team/web", " /acr/v1/_deleted/team/web"
	c.images = map[string]answer{
		"GET /v2/_catalog?n=100":                          {200, "last=team%2Fapi&n=100&orderby=", `{"repositories":["base/go","team/api"]}`},
		"GET /v2/_catalog?last=team%2Fapi&n=100&orderby=": {200, "", `{"repositories":["team/web"]}`},
		"GET /v2/_catalog?n=1":                            {200, "last=base%2Fgo&n=1&orderby=", `{"repositories":["base/go"]}`},

		"GET" + repo:                  {200, "", repository()},
		"PATCH" + repo:                {200, "", repository("delete", "write")},
		"DELETE" + repo:               {202, "", `{"manifestsDeleted":["` + webDigest + `","` + oldDigest + `"],"tagsDeleted":["1.0","latest","rc"]}`},
		"GET" + repo + "/_tags?n=100": {200, "last=latest&n=100&orderby=", in + `"tags":[` + one + `,` + latest + `]}`},
		"GET" + repo + "/_tags?last=latest&n=100&orderby=": {200, "", in + `"tags":[` + rc + `]}`},
		"GET" + repo + "/_tags?n=2&orderby=timedesc":       {200, "", in + `"tags":[` + rc + `,` + latest + `]}`},
		"GET" + repo + "/_tags/1.0":                        {200, "", in + `"tag":` + one + `}`},
		"GET" + repo + "/_tags/latest":                     {200, "", in + `"tag":` + latest + `}`},
		"PATCH" + repo + "/_tags/1.0":                      {200, "", in + `"tag":` + tag("1.0", webDigest, "read", "list") + `}`},
		"DELETE" + repo + "/_tags/1.0":                     {202, "", ""},
		"GET" + repo + "/_manifests?n=100":                 {200, "", in + `"manifests":[` + web() + `,` + old + `]}`},
		"GET" + repo + "/_manifests?n=100&orderby=timeasc": {200, "", in + `"manifests":[` + old + `,` + web() + `]}`},
		"GET" + repo + "/_manifests/" + webDigest:          {200, "", in + `"manifest":` + web() + `}`},
		"PATCH" + repo + "/_manifests/" + webDigest:        {200, "", in + `"manifest":` + web("delete") + `}`},
		// This server, other than ours, does not know the filter by digest.
		"GET" + repo + "/_tags?digest=" + strings.Replace(webDigest, ":", "%3A", 1) + "&n=100":  {200, "", in + `"tags":[` + one + `,` + latest + `,` + rc + `]}`},
		"GET" + repo + "/_tags?digest=" + strings.Replace(signDigest, ":", "%3A", 1) + "&n=100": {200, "", in + `"tags":[]}`},

		"GET /acr/v1/_deleted/_catalog?n=100": {200, "", `{"repositories":["team/old"]}`},
		"GET" + gone + "/_manifests?n=100":    {200, "", in + `"manifests":[{"digest":"` + signDigest + `","mediaType":"application/vnd.oci.image.manifest.v1+json",` + deleted + `,"tags":["0.9","rc"]}]}`},
		"GET" + gone + "/_tags?n=100":         {200, "last=0.9%40" + strings.Replace(signDigest, ":", "%3A", 1) + "&lasttime=1&n=100&orderby=", in + `"tags":[{"tag":"0.9","digest":"` + signDigest + `",` + deleted + `}]}`},
		"GET" + gone + "/_tags?last=0.9%40" + strings.Replace(signDigest, ":", "%3A", 1) + "&lasttime=1&n=100&orderby=": {200, "", in +
			`"tags":[{"tag":"0.9","digest":"` + sbomDigest + `",` + deleted + `},{"tag":"rc","digest":"` + signDigest + `",` + deleted + `}]}`},
		"POST" + gone + "/_manifests/" + signDigest + "?force=false": {200, "", in + `"manifestsRestored":["` + signDigest + `"],"tagsRestored":["0.9","rc"]}`},
		"POST" + gone + "/_manifests/" + signDigest + "?force=true":  {200, "", in + `"manifestsRestored":[],"tagsRestored":["rc"]}`},
		"POST" + gone + "/_manifests/" + sbomDigest + "?force=false": {409, "", `{"errors":[{"code":"TAG_IN_USE","message":"tag 0.9 of team/web is in use by ` + webDigest + `: restore with force to move it"}]}` + "\n"},

		"GET /v2/team/web/manifests/1.0":              {200, "", webManifest},
		"GET /v2/team/web/manifests/" + webDigest:     {200, "", webManifest},
		"GET /v2/team/web/manifests/" + oldDigest:     {200, "", oldManifest},
		"DELETE /v2/team/web/manifests/" + webDigest:  {202, "", ""},
		"DELETE /v2/team/web/manifests/" + signDigest: {405, "", `{"errors":[{"code":"REGISTRY_DISALLOWED_OPERATION","message":"manifest is locked: dockbell repository update"}]}` + "\n"},

		"GET /v2/team/web/referrers/" + webDigest + "?n=100":                                        {200, "", referrers(signDigest, "application/vnd.example.signature")},
		"GET /v2/team/web/referrers/" + webDigest + "?artifactType=application%2Fspdx%2Bjson&n=100": {200, "", referrers("", "")},
		"GET /v2/team/web/referrers/" + signDigest + "?n=100":                                       {200, "", referrers(sbomDigest, "application/spdx+json")},
		"GET /v2/team/web/referrers/" + sbomDigest + "?n=100":                                       {200, "", referrers("", "")},
	}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func referrers(digest, artifactType string) string {
	list := ""
	if digest != "" {
		list = `{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"` + digest + `","size":7682,"artifactType":"` + artifactType + `"}`
	}
	return `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[` + list + `]}`
}

// underRegistry is where the control plane has what a registry has.
const underRegistry = "/api/v1/registries/contoso/"

func (c *contract) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	user, password, _ := r.BasicAuth()
	line := strings.TrimSpace(r.Method + " " + r.RequestURI + " " + string(body))
	if user != "dockbell" {
		line += " as " + user
	}
	images := strings.HasPrefix(r.URL.Path, "/v2/") || strings.HasPrefix(r.URL.Path, "/acr/v1/")
	if images != (r.Host == "contoso.azurecr.example") {
		line += " at " + strings.Replace(r.Host, c.Listener.Addr().String(), "(the server)", 1)
	}
	c.asked = append(c.asked, line)
	switch {
	case r.URL.Path == "/metadata/endpoints":
		io.WriteString(w, `[{"suffixes":{"acrLoginServer":".azurecr.example"}}]`)
	case images && !(user == "dockbell" && password == "s3cret" || user == "web-ci" && password == "made-1"):
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
	case images:
		c.serveImages(w, r)
	case user == "dockbell" && strings.HasPrefix(r.URL.Path, underRegistry) && !strings.HasPrefix(r.URL.Path, underRegistry+"eventSubscriptions"):
		c.serveResource(w, r.Method, strings.TrimPrefix(r.URL.Path, underRegistry), body)
	default:
		c.behind.Config.Handler.ServeHTTP(w, r)
	}
}

func (c *contract) serveImages(w http.ResponseWriter, r *http.Request) {
	a, ok := c.images[r.Method+" "+r.RequestURI]
	if !ok {
		a = answer{404, "", `{"errors":[{"code":"NAME_UNKNOWN","message":"what was asked for is not in this registry"}]}` + "\n"}
	}
	if a.link != "" {
		w.Header().Set("Link", "<"+strings.Replace(r.URL.Path, "team/web", "team%2Fweb", 1)+"?"+a.link+`>; rel="next"`)
	}
	w.WriteHeader(a.status)
	io.WriteString(w, a.body)
}

// resource is a scope map or token as ARM has it.
func resource(path string, properties map[string]any) map[string]any {
	kind, name, _ := strings.Cut(path, "/")
	properties["creationDate"], properties["provisioningState"] = "2025-03-01T17:15:14.4015317Z", "Succeeded"
	return map[string]any{
		"id":   testSubscription + "/resourceGroups/dockbell/providers/Microsoft.ContainerRegistry/registries/contoso/" + path,
		"name": name, "type": "Microsoft.ContainerRegistry/registries/" + kind, "properties": properties,
	}
}

// serveResource keeps scope maps and tokens, and makes passwords.
func (c *contract) serveResource(w http.ResponseWriter, method, path string, body []byte) {
	var sent struct {
		Properties   map[string]any
		TokenID      string
		Name, Expiry string
	}
	json.Unmarshal(body, &sent)
	found := c.resources[path]
	write := func(v any) { json.NewEncoder(w).Encode(v) }
	kind, name, _ := strings.Cut(path, "/")
	switch {
	case path == "generateCredentials" && c.generateFails:
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, `{"error":{"code":"InvalidExpiry","message":"the date has passed"}}`)
	case path == "generateCredentials":
		write(c.generate(sent.TokenID, sent.Name, sent.Expiry))
	case name == "":
		list := []any{}
		for _, p := range slices.Sorted(maps.Keys(c.resources)) {
			if strings.HasPrefix(p, kind+"/") {
				list = append(list, c.resources[p])
			}
		}
		write(map[string]any{"value": list})
	case method == http.MethodPut:
		if kind == "scopeMaps" {
			sent.Properties["type"] = "UserDefined"
		} else {
			sent.Properties["credentials"] = map[string]any{}
		}
		c.resources[path] = resource(path, sent.Properties)
		w.WriteHeader(http.StatusCreated)
		write(c.resources[path])
	case method == http.MethodDelete && found == nil:
		w.WriteHeader(http.StatusNoContent)
	case found == nil:
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"error":{"code":"ResourceNotFound","message":"there is no `+path+`"}}`)
	case method == http.MethodDelete:
		delete(c.resources, path)
	case method == http.MethodPatch:
		maps.Copy(found["properties"].(map[string]any), sent.Properties)
		write(found)
	default:
		write(found)
	}
}

// generate gives a token one password, or both.
func (c *contract) generate(id, name, expiry string) map[string]any {
	_, token, _ := strings.Cut(id, "/registries/contoso/tokens/")
	names := []string{"password1", "password2"}
	if name != "" {
		names = []string{name}
	}
	kept, shown := []any{}, []any{}
	for _, n := range names {
		c.generated++
		p := map[string]any{"name": n, "creationTime": "2025-03-01T17:15:14.4015317Z"}
		if expiry != "" {
			p["expiry"] = expiry
		}
		kept = append(kept, maps.Clone(p))
		p["value"] = fmt.Sprint("made-", c.generated)
		shown = append(shown, p)
	}
	if found := c.resources["tokens/"+token]; found != nil {
		found["properties"].(map[string]any)["credentials"] = map[string]any{"passwords": kept}
	}
	return map[string]any{"username": token, "passwords": shown}
}

// shell returns a shell whose commands find the server and log in to it.
func (c *contract) shell(t *testing.T) *shell {
	sh := newShell(t)
	sh.env = map[string]string{"DOCKBELL_SERVER": c.URL, "DOCKBELL_USERNAME": "dockbell", "DOCKBELL_PASSWORD": "s3cret", "NO_COLOR": "1"}
	return sh
}

// requests returns what was asked since the last call.
func (c *contract) requests() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	asked := c.asked
	c.asked = nil
	return asked
}

// transcript runs commands, as the function of that name, and puts what they ask
// of the server before what they print.
func (c *contract) transcript(s *shell, lines ...string) string {
	var b strings.Builder
	for _, line := range lines {
		command, printed, _ := strings.Cut(transcript(s, line), "\n")
		b.WriteString(command + "\n")
		for _, request := range c.requests() {
			b.WriteString("> " + anyTime.ReplaceAllString(request, "(time)") + "\n")
		}
		b.WriteString(printed)
	}
	return strings.ReplaceAll(b.String(), c.Listener.Addr().String(), "(the server)")
}
