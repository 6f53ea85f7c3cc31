package registryclient

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/fault"
)

const (
	digest = "sha256:50b8560ad574c779908da71f7ce370c0a2471c098d44d1c8f6b513c5a55eeeb1"

	// The attributes and times that ACR answers.
	attributes = `"changeableAttributes":{"deleteEnabled":true,"writeEnabled":true,"readEnabled":true,"listEnabled":true}`
	times      = `"createdTime":"2025-03-01T17:15:15.2790632Z","lastUpdateTime":"2025-03-01T17:15:15.2790632Z"`

	aRepository = `{"registry":"contoso.azurecr.io","imageName":"library/hello-world",` + times + `,"manifestCount":10,"tagCount":2,` + attributes + `}`
	aTag        = `{"name":"v1","digest":"` + digest + `",` + times + `,"signed":false,` + attributes + `}`
	aManifest   = `{"digest":"` + digest + `","imageSize":525,` + times + `,"architecture":"arm64","os":"linux","mediaType":"application/vnd.docker.distribution.manifest.v2+json","configMediaType":"application/vnd.docker.container.image.v1+json","tags":["v1"],` + attributes + `}`
	aDeleted    = `{"digest":"` + digest + `","mediaType":"m","tags":["v1"],"deletedAt":"2025-03-01T17:15:15.2790632Z"}`
	oneTag      = `{"registry":"contoso.azurecr.io","imageName":"library/hello-world","tag":` + aTag + `}`
	oneManifest = `{"registry":"contoso.azurecr.io","imageName":"library/hello-world","manifest":` + aManifest + `}`
	tags        = `{"registry":"contoso.azurecr.io","imageName":"library/hello-world","tags":[` + aTag + `]}`
	manifests   = `{"registry":"contoso.azurecr.io","imageName":"library/hello-world","manifests":[` + aManifest + `]}`
)

func client(t *testing.T, loginServer string, h http.HandlerFunc) *Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	server, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	return New(server, loginServer, "dockbell", "s3cret", srv.Client())
}

// TestRequests checks method, path, query and body of every call, and that it is
// for the registry by its login server.
func TestRequests(t *testing.T) {
	t.Parallel()
	const repo = "library/hello-world"
	off := false
	for _, tt := range []struct {
		name   string
		call   func(context.Context, *Client) error
		status int
		answer string
		want   string // method, path and body
	}{
		{"repositories", func(ctx context.Context, c *Client) error {
			names, err := c.Repositories(ctx, 0)
			return same(err, names, []string{"hello", "library/hello-world"})
		}, 200, `{"repositories":["hello","library/hello-world"]}`, "GET /v2/_catalog?n=100"},
		{"some repositories", func(ctx context.Context, c *Client) error {
			names, err := c.Repositories(ctx, 1)
			return same(err, names, []string{"hello"})
		}, 200, `{"repositories":["hello","library/hello-world"]}`, "GET /v2/_catalog?n=1"},
		{"no repositories", func(ctx context.Context, c *Client) error {
			names, err := c.Repositories(ctx, 1000)
			return same(err, names, []string{})
		}, 200, `{"repositories":null}`, "GET /v2/_catalog?n=100"},
		{"repository", func(ctx context.Context, c *Client) error {
			r, err := c.Repository(ctx, repo)
			return same(err, []any{r.Name, r.ManifestCount, r.TagCount, r.CreatedAt.Unix(), string(r.Raw)}, []any{repo, int64(10), int64(2), int64(1740849315), aRepository})
		}, 200, aRepository, "GET /acr/v1/library/hello-world"},
		{"lock repository", func(ctx context.Context, c *Client) error {
			_, err := c.SetRepositoryAttributes(ctx, repo, Attributes{Write: &off, Delete: &off})
			return err
		}, 200, aRepository, `PATCH /acr/v1/library/hello-world {"deleteEnabled":false,"writeEnabled":false}`},
		{"deleted repositories", func(ctx context.Context, c *Client) error {
			names, err := c.DeletedRepositories(ctx)
			return same(err, names, []string{"old"})
		}, 200, `{"repositories":["old"]}`, "GET /acr/v1/_deleted/_catalog?n=100"},
		{"deleted manifests", func(ctx context.Context, c *Client) error {
			all, err := c.DeletedManifests(ctx, repo)
			return same(err, len(all) == 1 && all[0].Digest == digest && all[0].Tags[0] == "v1" && all[0].DeletedAt.Unix() == 1740849315 && string(all[0].Raw) == aDeleted, true)
		}, 200, `{"manifests":[` + aDeleted + `]}`, "GET /acr/v1/_deleted/library/hello-world/_manifests?n=100"},
		{"deleted tags", func(ctx context.Context, c *Client) error {
			all, err := c.DeletedTags(ctx, repo)
			return same(err, len(all) == 1 && all[0].Name == "v1" && all[0].Digest == digest && all[0].DeletedBy == "ada", true)
		}, 200, `{"tags":[{"tag":"v1","digest":"` + digest + `","deletedAt":"2025-03-01T17:15:15.2790632Z","deletedBy":"ada"}]}`, "GET /acr/v1/_deleted/library/hello-world/_tags?n=100"},
		{"restore", func(ctx context.Context, c *Client) error {
			done, err := c.Restore(ctx, repo, digest, "", false)
			return same(err, []any{done.Manifests, done.Tags}, []any{[]string{digest}, []string{"v1"}})
		}, 200, `{"manifestsRestored":["` + digest + `"],"tagsRestored":["v1"]}`, "POST /acr/v1/_deleted/library/hello-world/_manifests/" + digest + `?force=false {"tag":null}`},
		{"restore a tag by force", func(ctx context.Context, c *Client) error {
			_, err := c.Restore(ctx, repo, digest, "v1", true)
			return err
		}, 200, `{}`, "POST /acr/v1/_deleted/library/hello-world/_manifests/" + digest + `?force=true {"tag":"v1"}`},
		{"delete repository", func(ctx context.Context, c *Client) error {
			d, err := c.DeleteRepository(ctx, repo)
			return same(err, []any{d.Manifests, d.Tags}, []any{[]string{digest}, []string{"latest"}})
		}, 202, `{"manifestsDeleted":["` + digest + `"],"tagsDeleted":["latest"]}`, "DELETE /acr/v1/library/hello-world"},
		{"tags", func(ctx context.Context, c *Client) error {
			all, err := c.Tags(ctx, repo, Listing{})
			return same(err, len(all) == 1 && all[0].Name == "v1" && all[0].Digest == digest && *all[0].Attributes.Write && string(all[0].Raw) == aTag, true)
		}, 200, tags, "GET /acr/v1/library/hello-world/_tags?n=100"},
		{"newest tags", func(ctx context.Context, c *Client) error {
			_, err := c.Tags(ctx, repo, Listing{Top: 10, Order: "timedesc"})
			return err
		}, 200, tags, "GET /acr/v1/library/hello-world/_tags?n=10&orderby=timedesc"},
		{"tags of a manifest", func(ctx context.Context, c *Client) error {
			all, err := c.TagsOf(ctx, repo, digest)
			return same(err, len(all), 1)
		}, 200, tags, "GET /acr/v1/library/hello-world/_tags?digest=sha256%3A" + digest[7:] + "&n=100"},
		{"tags of another manifest, from who lists all", func(ctx context.Context, c *Client) error {
			all, err := c.TagsOf(ctx, repo, "sha256:other")
			return same(err, len(all), 0)
		}, 200, tags, "GET /acr/v1/library/hello-world/_tags?digest=sha256%3Aother&n=100"},
		{"tag", func(ctx context.Context, c *Client) error {
			tag, err := c.Tag(ctx, repo, "v1")
			return same(err, tag.Name, "v1")
		}, 200, oneTag, "GET /acr/v1/library/hello-world/_tags/v1"},
		{"digest", func(ctx context.Context, c *Client) error {
			d, err := c.Digest(ctx, repo, "v1")
			return same(err, d, digest)
		}, 200, oneTag, "GET /acr/v1/library/hello-world/_tags/v1"},
		{"lock tag", func(ctx context.Context, c *Client) error {
			_, err := c.SetTagAttributes(ctx, repo, "v1", Attributes{List: &off, Read: &off})
			return err
		}, 200, oneTag, `PATCH /acr/v1/library/hello-world/_tags/v1 {"listEnabled":false,"readEnabled":false}`},
		{"untag", func(ctx context.Context, c *Client) error { return c.Untag(ctx, repo, "v1") },
			202, ``, "DELETE /acr/v1/library/hello-world/_tags/v1"},
		{"manifests", func(ctx context.Context, c *Client) error {
			all, err := c.Manifests(ctx, repo, Listing{Order: "timeasc"})
			return same(err, len(all) == 1 && all[0].ImageSize == 525 && all[0].Tags[0] == "v1", true)
		}, 200, manifests, "GET /acr/v1/library/hello-world/_manifests?n=100&orderby=timeasc"},
		{"manifest", func(ctx context.Context, c *Client) error {
			m, err := c.Manifest(ctx, repo, digest)
			return same(err, m.OS+"/"+m.Architecture, "linux/arm64")
		}, 200, oneManifest, "GET /acr/v1/library/hello-world/_manifests/" + digest},
		{"lock manifest", func(ctx context.Context, c *Client) error {
			_, err := c.SetManifestAttributes(ctx, repo, digest, Attributes{Delete: new(true)})
			return err
		}, 200, oneManifest, `PATCH /acr/v1/library/hello-world/_manifests/` + digest + ` {"deleteEnabled":true}`},
		{"mark manifest", func(ctx context.Context, c *Client) error {
			_, err := c.SetQuarantine(ctx, repo, digest, Quarantine{State: "Failed", Details: new(`{"state":"bad"}`)})
			return err
		}, 200, oneManifest, `PATCH /acr/v1/library/hello-world/_manifests/` + digest + ` {"quarantineState":"Failed","quarantineDetails":"{\"state\":\"bad\"}"}`},
		{"content", func(ctx context.Context, c *Client) error {
			content, err := c.Content(ctx, repo, "v1")
			return same(err, string(content), "{ }\n")
		}, 200, "{ }\n", "GET /v2/library/hello-world/manifests/v1"},
		{"delete manifest", func(ctx context.Context, c *Client) error { return c.DeleteManifest(ctx, repo, digest) },
			202, ``, "DELETE /v2/library/hello-world/manifests/" + digest},
		{"referrers", func(ctx context.Context, c *Client) error {
			all, err := c.Referrers(ctx, repo, digest, "")
			return same(err, len(all) == 1 && all[0].Size == 7 && string(all[0].Raw) == `{"digest":"sha256:a","size":7}`, true)
		}, 200, `{"schemaVersion":2,"manifests":[{"digest":"sha256:a","size":7}]}`, "GET /v2/library/hello-world/referrers/" + digest + "?n=100"},
		{"referrers of a type", func(ctx context.Context, c *Client) error {
			_, err := c.Referrers(ctx, repo, digest, "application/spdx+json")
			return err
		}, 200, `{"manifests":[]}`, "GET /v2/library/hello-world/referrers/" + digest + "?artifactType=application%2Fspdx%2Bjson&n=100"},
		{"what would break out of its segment", func(ctx context.Context, c *Client) error { return c.Untag(ctx, "a b/c?d", "../x/y") },
			202, ``, "DELETE /acr/v1/a%20b/c%3Fd/_tags/..%2Fx%2Fy"},
	} {
		var got string
		c := client(t, "contoso.azurecr.io", func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			got = strings.TrimSpace(r.Method + " " + r.RequestURI + " " + string(body))
			if user, password, _ := r.BasicAuth(); user != "dockbell" || password != "s3cret" || r.Host != "contoso.azurecr.io" {
				t.Errorf("%s: %s, %s at %s", tt.name, user, password, r.Host)
			}
			if isJSON := r.Header.Get("Content-Type") == "application/json"; isJSON != (len(body) > 0) {
				t.Errorf("%s: Content-Type is %q", tt.name, r.Header.Get("Content-Type"))
			}
			w.WriteHeader(tt.status)
			io.WriteString(w, tt.answer)
		})
		if err := tt.call(t.Context(), c); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

// same compares what a call returned.
func same(err error, got, want any) error {
	if err == nil && !reflect.DeepEqual(got, want) {
		err = fmt.Errorf("returned %v, want %v", got, want)
	}
	return err
}

func TestTheServersOwnRegistry(t *testing.T) {
	t.Parallel()
	var host string
	c := client(t, "", func(w http.ResponseWriter, r *http.Request) {
		host = r.Host
		io.WriteString(w, aRepository)
	})
	if _, err := c.Repository(t.Context(), "hello"); err != nil || host != c.server.Host || c.LoginServer() != host {
		t.Errorf("asked %s, %v", host, err)
	}
}

// TestPages follows links whose path is written in another way and whose host is
// none of ours: only the query counts. A limit is for all pages together.
func TestPages(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		top   int
		names string
		asked string
	}{
		{0, "t1 t2 t3", "n=100&orderby=timedesc, last=t1&n=100&orderby=timedesc, last=t2&n=100&orderby=timedesc"},
		{2, "t1 t2", "n=2&orderby=timedesc, last=t1&n=1&orderby=timedesc"},
		{3, "t1 t2 t3", "n=3&orderby=timedesc, last=t1&n=2&orderby=timedesc, last=t2&n=1&orderby=timedesc"},
		{250, "t1 t2 t3", "n=100&orderby=timedesc, last=t1&n=100&orderby=timedesc, last=t2&n=100&orderby=timedesc"},
	} {
		var asked []string
		c := client(t, "", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/acr/v1/library/hello-world/_tags" {
				t.Errorf("asked for %s", r.URL.Path)
			}
			asked = append(asked, r.URL.RawQuery)
			n := len(asked)
			if n < 3 {
				w.Header().Add("Link", `</elsewhere>; rel="previous"`)
				w.Header().Add("Link", fmt.Sprintf(`<https://evil.example/acr/v1/library%%2Fhello-world/_tags?last=t%d&n=%s&orderby=timedesc>; rel="next"`, n, r.URL.Query().Get("n")))
			}
			fmt.Fprintf(w, `{"tags":[{"name":"t%d"}]}`, n)
		})
		found, err := c.Tags(t.Context(), "library/hello-world", Listing{Top: tt.top, Order: "timedesc"})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, tag := range found {
			names = append(names, tag.Name)
		}
		if got := strings.Join(names, " "); got != tt.names {
			t.Errorf("top %d: tags %s", tt.top, got)
		}
		if got := strings.Join(asked, ", "); got != tt.asked {
			t.Errorf("top %d: asked %s", tt.top, got)
		}
	}
}

func TestEndlessPages(t *testing.T) {
	t.Parallel()
	c := client(t, "", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "<"+r.RequestURI+">; rel=next")
		io.WriteString(w, `{"repositories":[]}`)
	})
	if _, err := c.Repositories(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "without an end") {
		t.Errorf("error is %v", err)
	}
}

// TestWhoLacksARight is not told to log in again: ACR says both with a 401.
func TestWhoLacksARight(t *testing.T) {
	t.Parallel()
	const challenge = `Bearer realm="https://contoso.azurecr.io/oauth2/token",service="contoso.azurecr.io"`
	for header, want := range map[string]fault.Kind{
		challenge + `,scope="repository:hello:delete"`: fault.Denied,
		challenge: fault.Unauthenticated,
	} {
		c := client(t, "", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("WWW-Authenticate", header)
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"why"}]}`)
		})
		if f := fault.As(c.Untag(t.Context(), "hello", "v1")); f == nil || f.Kind != want || f.Message != "why" {
			t.Errorf("%s: %+v", header, f)
		}
		c.username = ""
		if err := c.Untag(t.Context(), "hello", "v1"); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%s without credentials: %v", header, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	told := func(code, message string) string {
		text, _ := json.Marshal(map[string]any{"errors": []map[string]string{{"code": code, "message": message}, {"code": "MORE", "message": "more"}}})
		return string(text)
	}
	for _, tt := range []struct {
		status  int
		body    string
		kind    fault.Kind
		code    string
		message string
	}{
		{400, told("NAME_INVALID", "no name"), fault.Invalid, "NAME_INVALID", "no name"},
		{401, told("UNAUTHORIZED", "who?"), fault.Unauthenticated, "UNAUTHORIZED", "who?"},
		{403, told("DENIED", "not you"), fault.Denied, "DENIED", "not you"},
		{404, told("TAG_UNKNOWN", "no tag"), fault.NotFound, "TAG_UNKNOWN", "no tag"},
		{405, told("REGISTRY_DISALLOWED_OPERATION", "locked"), fault.Unsupported, "REGISTRY_DISALLOWED_OPERATION", "locked"},
		{409, told("CONFLICT", "moved"), fault.Conflict, "CONFLICT", "moved"},
		{421, `{"error":{"code":"MisdirectedRequest","message":"--domain"}}`, fault.NotFound, "MisdirectedRequest", "--domain"},
		{404, `<html>nginx</html>`, fault.NotFound, "", "is this the address of a dockbell server?"},
		{404, `{"errors":[]}`, fault.NotFound, "", "answered 404 Not Found and says no more"},
		{502, ``, fault.Internal, "", "answered 502 Bad Gateway"},
		{302, ``, fault.Invalid, "", "redirects to http://elsewhere.example"},
		{200, `<html>nginx</html>`, fault.Internal, "", "not a registry's JSON"},
		{200, `{"tags":[]}`, fault.Internal, "", "not a registry's JSON"},
		{200, `{"tag":{"name":"v1"}}`, fault.Internal, "", "says no digest of hello:v1"},
	} {
		c := client(t, "", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "http://elsewhere.example")
			w.WriteHeader(tt.status)
			io.WriteString(w, tt.body)
		})
		_, err := c.Digest(t.Context(), "hello", "v1")
		f := fault.As(err)
		if f == nil || f.Kind != tt.kind || f.Code != tt.code || !strings.Contains(f.Message, tt.message) {
			t.Errorf("%d %s: %+v", tt.status, tt.body, f)
		}
	}
}

func FuzzNextQuery(f *testing.F) {
	f.Add(`</acr/v1/library%2Fhello-world/_tags?last=latest&n=1&orderby=>; rel="next"`)
	f.Add(`<https://evil.example?n=%zz>; rel=next`)
	f.Add(`>; rel=next`)
	f.Fuzz(func(t *testing.T, link string) {
		q, ok := nextQuery(http.Header{"Link": {link}})
		if ok && !strings.Contains(link, "next") {
			t.Errorf("%q links to no next page, but %v", link, q)
		}
		again, err := url.ParseQuery(q.Encode())
		if err != nil || len(again) != len(q) {
			t.Errorf("%q: %v is not a query: %v", link, q, err)
		}
	})
}
