package app_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/dockbell/dockbell/internal/oci"
)

// reading is somebody who looks at what registries hold, in the portal.
type reading struct {
	*running
	t    *testing.T
	http *http.Client
}

// reads logs somebody in.
func (r *running) reads(t *testing.T, user, password string) *reading {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &reading{r, t, &http.Client{Jar: jar, Transport: r.http.Transport, CheckRedirect: r.http.CheckRedirect}}
	if status, to, body := b.post("/portal/login", "username", user, "password", password); status != http.StatusSeeOther {
		t.Fatalf("login of %s: %d %s %s", user, status, to, body)
	}
	return b
}

// ask returns the answer to a request: its status, where it leads, and its body.
func (b *reading) ask(method, path string, form url.Values) (status int, to, body string) {
	b.t.Helper()
	req, err := http.NewRequest(method, b.URL()+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	if method == "POST" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	res, err := b.http.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	all, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return res.StatusCode, res.Header.Get("Location"), string(all)
}

// post sends a form of pairs of a name and a value.
func (b *reading) post(path string, pairs ...string) (status int, to, body string) {
	b.t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return b.ask("POST", path, form)
}

// does has a form do what it is for, and follows where it leads.
func (b *reading) does(path string, pairs ...string) (body string) {
	b.t.Helper()
	status, to, body := b.post(path, pairs...)
	if status != http.StatusSeeOther {
		b.t.Fatalf("%s %v: %d %s", path, pairs, status, words(body))
	}
	return b.sees(to)
}

// sees returns a page that is there, and checks what holds of every one.
func (b *reading) sees(path string) (body string) {
	b.t.Helper()
	status, to, body := b.ask("GET", path, nil)
	if status != http.StatusOK {
		b.t.Fatalf("%s: %d %s %s", path, status, to, words(body))
	}
	if n := strings.Count(body, "<h1"); n != 1 {
		b.t.Errorf("%s has %d h1", path, n)
	}
	ids := map[string]bool{}
	for _, id := range regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(body, -1) {
		if ids[id[1]] {
			b.t.Errorf("%s has id %s twice", path, id[1])
		}
		ids[id[1]] = true
	}
	for _, of := range regexp.MustCompile(` (?:aria-labelledby|for)="([^"]*)"`).FindAllStringSubmatch(body, -1) {
		if !ids[of[1]] {
			b.t.Errorf("%s refers to %s, which is not there", path, of[1])
		}
	}
	for z := html.NewTokenizer(strings.NewReader(body)); z.Next() != html.ErrorToken; {
		tag := z.Token()
		ours := tag.Data != "script"
		for _, a := range tag.Attr {
			ours = ours || a.Key == "src" && strings.HasPrefix(a.Val, "/portal/assets/")
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" {
				b.t.Errorf("%s has %s in it", path, tag)
			}
		}
		if tag.Type == html.StartTagToken && !ours {
			b.t.Errorf("%s has %s in it", path, tag)
		}
	}
	return body
}

// words returns what a person reads on a page, on one line.
func words(source string) string {
	var all []string
	for z := html.NewTokenizer(strings.NewReader(source)); ; {
		switch z.Next() {
		case html.ErrorToken:
			return strings.Join(all, " ")
		case html.TextToken:
			all = append(all, strings.Fields(html.UnescapeString(string(z.Raw())))...)
		}
	}
}

// has checks what a page says, and behind minus signs what it does not.
func (b *reading) has(path string, parts ...string) {
	b.t.Helper()
	shown := words(b.sees(path))
	for _, part := range parts {
		absent, not := strings.CutPrefix(part, "-")
		if not && strings.Contains(shown, absent) || !not && !strings.Contains(shown, part) {
			b.t.Errorf("%s: %q in\n%s", path, part, shown)
		}
	}
}

// put pushes a manifest, by its digest if ref is empty.
func (r *running) put(t *testing.T, repo, ref, mediaType string, manifest any, changes ...func(*http.Request)) string {
	t.Helper()
	data, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	digest := string(oci.FromBytes(oci.SHA256, data))
	if ref == "" {
		ref = digest
	}
	changes = append([]func(*http.Request){r.asOperator, field("Content-Type", mediaType)}, changes...)
	if status, _, answer := r.do("PUT", "/v2/"+repo+"/manifests/"+ref, data, changes...); status != http.StatusCreated {
		t.Fatalf("push of %s %s: %d %s", repo, ref, status, answer)
	}
	return digest
}

type object = map[string]any

// hostile is what strangers write where they can.
const hostile = "<script>alert(1)</script>\"' onload=x \x1b[31m {{.}} \u202e"

// hostileImage pushes an image that has it wherever there is room.
func (r *running) hostileImage(t *testing.T, repo, tag string) string {
	t.Helper()
	config, err := json.Marshal(object{"os": "linux", "architecture": "amd64", "author": hostile, "config": object{
		"Labels": object{hostile: hostile}, "Entrypoint": []string{hostile}, "Env": []string{"PASSWORD=s3cret"}, "User": hostile, "ExposedPorts": object{hostile: object{}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	digest := oci.FromBytes(oci.SHA256, config)
	if status, _, answer := r.do("POST", "/v2/"+repo+"/blobs/uploads/?digest="+string(digest), config, r.asOperator); status != http.StatusCreated {
		t.Fatalf("push of a config: %d %s", status, answer)
	}
	return r.put(t, repo, tag, oci.MediaTypeImageManifest, object{
		"schemaVersion": 2, "mediaType": oci.MediaTypeImageManifest, "config": object{"mediaType": oci.MediaTypeImageConfig, "digest": digest, "size": len(config)},
		"layers": []any{}, "annotations": object{hostile: hostile},
	}, field("User-Agent", strings.ReplaceAll(hostile, "\x1b", "")))
}

const repositories = "/portal/registries/dockbell/repositories"

// TestPortalContents: what a registry holds, and what is done with it, page by page.
func TestPortalContents(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	op := s.reads(t, s.Operator(), s.Password)

	op.has("/portal/registries/dockbell", "It holds nothing yet", "docker push "+s.loginServer()+"/hello-world:v1", "dockbell webhook create -r dockbell", "This registry rings nobody", "Storage", "-VNetRules", "-IPRules", "Anonymous pull Off")
	op.has(repositories, "docker push "+s.loginServer()+"/hello-world:v1")
	op.has("/portal/registries/dockbell/events", "Nothing has happened in this registry yet")

	digest := s.hostileImage(t, "team/web", "v1")
	s.push("team/web", "old")
	moved := s.push("team/web", "v2")
	_, _, manifest := s.do("GET", "/v2/team/web/manifests/"+digest, nil, s.asOperator)
	child := object{"mediaType": oci.MediaTypeImageManifest, "digest": digest, "size": len(manifest), "platform": object{"os": "linux", "architecture": "arm64", "variant": "v8"}}
	index := s.put(t, "team/web", "all", oci.MediaTypeImageIndex, object{"schemaVersion": 2, "mediaType": oci.MediaTypeImageIndex, "manifests": []any{child}})
	config := object{"mediaType": oci.MediaTypeEmptyJSON, "digest": oci.FromBytes(oci.SHA256, []byte("{}")), "size": 2}
	sig := s.put(t, "team/web", "", oci.MediaTypeImageManifest, object{
		"schemaVersion": 2, "mediaType": oci.MediaTypeImageManifest, "artifactType": "application/<b>sig</b>", "config": config, "layers": []any{config},
		"subject": object{"mediaType": oci.MediaTypeImageManifest, "digest": digest, "size": len(manifest)},
	})
	for i := range 60 {
		s.push(fmt.Sprintf("many/r%02d", i), "v1")
	}

	op.has("/portal/registries/dockbell", "-It holds nothing yet", "push many/r59:v1")
	page := op.sees(repositories)
	if strings.Count(page, "many/r") != 2*50 { // link and text
		t.Errorf("the first page has %d", strings.Count(page, "many/r"))
	}
	next := regexp.MustCompile(`href="([^"]*)" rel="next"`).FindStringSubmatch(page)
	op.has(html.UnescapeString(next[1]), "many/r59", "team/web", "First page", "-many/r49")
	op.has(repositories+"?prefix=team/", "team/web", "-many/r00")
	op.has(repositories+"?prefix=x", "No repository begins like that")

	web := repositories + "/team/web"
	op.has(web, "4 tags · 5 manifests", "v1", "linux/amd64", "all", "linux/arm64/v8", "1 manifest ", "-docker push")
	op.has(web+"?view=untagged", digestShort(sig), "-"+digestShort(moved)+" v2")
	op.has(web+"?view=manifests", digestShort(sig), digestShort(digest), digestShort(index))
	op.has(strings.Replace(web, "team/web", "team%2Fweb", 1), "4 tags")
	if status, to, _ := op.ask("GET", web+":v1", nil); status != http.StatusSeeOther || to != web+"@"+digest+"?tag=v1" {
		t.Errorf("a tag leads to %d %s", status, to)
	}
	image := web + "@" + digest
	op.has(image+"?tag=v1", "team/web:v1 image · linux/amd64", "docker pull "+s.loginServer()+"/team/web:v1", "docker pull "+s.loginServer()+"/team/web@"+digest, "<script>alert(1)</script>", "application/<b>sig</b>", "by dockbell, with <script>", "-s3cret", "Lock", "Delete")
	op.has(image+"?tag=<b>no</b>", "team/web@"+digestShort(digest), "-<b>no</b>")
	op.has(web+"@"+index, "Manifests in it", "linux/arm64/v8", digestShort(digest))
	op.has(web+"@"+sig, "Refers to "+digest)
	if status, _, raw := op.ask("GET", image+"?raw", nil); status != http.StatusOK || string(oci.FromBytes(oci.SHA256, []byte(raw))) != digest {
		t.Errorf("as it was pushed: %d %s", status, raw)
	}

	// What is not there.
	for _, path := range []string{"/team/none", "/team/web:none", "/team/web@" + strings.Replace(digest, "sha256:", "sha256:0", 1)[:71], "/Team/web", "/<script>", "/team/web@x", "/team/none?do=delete"} {
		if status, _, body := op.ask("GET", repositories+path, nil); status != http.StatusNotFound || strings.Contains(body, "<script>") {
			t.Errorf("%s: %d %s", path, status, words(body))
		}
	}

	// Locks hold against everyone, and say so.
	op.has(image+"?do=lock", "Nobody can overwrite or delete it")
	if body := words(op.does(image, "do", "lock")); !strings.Contains(body, "no push") || !strings.Contains(body, "Allowed pull, list") || !strings.Contains(body, "It is locked now.") {
		t.Errorf("locked: %s", body)
	}
	if status, _, body := op.post(image, "do", "delete"); status != http.StatusBadRequest && status != http.StatusForbidden || !strings.Contains(words(body), "disallowed") {
		t.Errorf("deletion of what is locked: %d %s", status, words(body))
	}
	op.does(image, "do", "unlock")

	op.has(image+"?do=untag&tag=v1", "The manifest stays")
	if status, _, body := op.post(image, "do", "untag", "tag", "v2"); status != http.StatusConflict {
		t.Errorf("removal of another's tag: %d %s", status, words(body))
	}
	op.does(image, "do", "untag", "tag", "v1")
	op.has(image, "Tags none")
	op.has(web+"@"+moved+"?do=delete", "With it 1 tag: v2.")
	op.does(web+"@"+moved, "do", "delete")
	op.has(web, "2 tags · 4 manifests", "delete")
	op.has(web+"?do=delete", "Everything in it goes: 2 tags and 4 manifests.")
	if status, _, body := op.post(web, "do", "delete", "name", "team"); status != http.StatusBadRequest || !strings.Contains(body, `value="team"`) {
		t.Errorf("with another name: %d %s", status, words(body))
	}
	op.does(web, "do", "delete", "name", "team/web")
	if status, _, _ := op.ask("GET", web, nil); status != http.StatusNotFound {
		t.Errorf("it is still there: %d", status)
	}
}

func digestShort(digest string) string { return strings.TrimPrefix(digest, "sha256:")[:12] }

// TestPortalContentsOfReaders: who may only look is shown no button, is refused what
// no button is for, and does not learn of what they may not see.
func TestPortalContentsOfReaders(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	s.must("PUT", "/api/v1/registries/fabrikam", `{"location":"local","sku":{"name":"Basic"}}`, nil)
	op := s.reads(t, s.Operator(), s.Password)
	op.has("/portal/", "dockbell", "fabrikam", "no webhooks")
	digest := s.push("team/web", "v1")
	s.webhook("deployhook", "http://127.0.0.1:1/nobody")
	image := repositories + "/team/web@" + digest
	person := func(role, registry string) *reading {
		p := s.servicePrincipal("POST", "", fmt.Sprintf(`{"displayName":"%sof%s","roleAssignments":[{"role":%q,"scope":%q}]}`, role, registry, role, s.registryID(registry)))
		return s.reads(t, p.AppID, p.Password)
	}
	reader := person("Reader", "dockbell")
	other := person("Reader", "fabrikam")
	other.has("/portal/registries/fabrikam", "It holds nothing yet", "docker login", "-docker push", "-webhook create")
	other.has("/portal/registries/fabrikam/repositories", "holds nothing yet", "-docker push")
	for _, path := range []string{repositories, repositories + "/team/web", image, "/portal/registries/dockbell", "/portal/registries/dockbell/events", "/portal/registries/dockbell/events/1"} {
		body := reader.sees(path)
		if main := body[strings.Index(body, "<main"):]; strings.Contains(main, `method="post"`) || strings.Contains(main, "?do=") || strings.Contains(words(main), "Whom it rang") {
			t.Errorf("%s: %s", path, words(main))
		}
	}
	for _, pairs := range [][]string{{"do", "delete"}, {"do", "untag", "tag", "v1"}, {"do", "lock"}, {"do", "unlock"}, {"do", "mark", "state", "Passed"}, {"do", "dance"}} {
		if status, _, body := reader.post(image, pairs...); status != http.StatusForbidden {
			t.Errorf("%v: %d %s", pairs, status, words(body))
		}
		if do := pairs[1]; do != "mark" && do != "dance" {
			if status, _, body := reader.ask("GET", image+"?tag=v1&do="+do, nil); status != http.StatusForbidden {
				t.Errorf("asking for %s: %d %s", do, status, words(body))
			}
		}
	}
	if status, _, body := reader.post(repositories+"/team/web", "do", "delete", "name", "team/web"); status != http.StatusForbidden {
		t.Errorf("deletion: %d %s", status, words(body))
	}
	reader.has(image, "team/web@"+digestShort(digest))

	// To a stranger what is there looks like what is not.
	nowhere := strings.NewReplacer("dockbell", "nothere")
	for _, path := range []string{"/portal/registries/dockbell", repositories, repositories + "/team/web", image, image + "?do=delete", "/portal/registries/dockbell/events", "/portal/registries/dockbell/events/1", "/portal/registries/dockbell/events/tail?after=0"} {
		a, _, shown := other.ask("GET", path, nil)
		b, _, missing := other.ask("GET", nowhere.Replace(path), nil)
		if a != b || a < 400 || words(shown) != strings.ReplaceAll(words(missing), "nothere", "dockbell") {
			t.Errorf("%s: %d %s\n%d %s", path, a, words(shown), b, words(missing))
		}
	}
	if a, _, _ := other.post(image, "do", "delete"); a != http.StatusForbidden && a != http.StatusNotFound {
		t.Errorf("deletion by a stranger: %d", a)
	}
	reader.has(image, "team/web@"+digestShort(digest))
}

// TestPortalQuarantine: what waits is shown as such to who may judge it, and to
// nobody else.
func TestPortalQuarantine(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	s.quarantine("enabled")
	op := s.reads(t, s.Operator(), s.Password)
	digest := s.push("team/web", "v1")
	image := repositories + "/team/web@" + digest
	p := s.servicePrincipal("POST", "", `{"displayName":"reader","roleAssignments":[{"role":"Reader"}]}`)
	reader := s.reads(t, p.AppID, p.Password)
	if status, _, body := reader.ask("GET", image, nil); status != http.StatusNotFound {
		t.Errorf("a reader sees what waits: %d %s", status, words(body))
	}
	op.has("/portal/registries/dockbell", "Quarantine On: what is pushed waits")
	op.has(repositories+"/team/web?view=manifests", "in quarantine")
	op.has(image, "in quarantine", "Mark it as", "Tags that wait v1", "-docker pull "+s.loginServer()+"/team/web:v1", "by dockbell")
	if status, _, body := op.post(image, "do", "mark", "state", "Fine"); status != http.StatusBadRequest {
		t.Errorf("no state: %d %s", status, words(body))
	}
	if body := words(op.does(image, "do", "mark", "state", "Passed")); !strings.Contains(body, "passed") || !strings.Contains(body, "Tags v1") {
		t.Errorf("passed: %s", body)
	}
	reader.has(image, "Tags v1", "-Mark it as")
}

// TestPortalEvents: the feed by pages and filters, one event with whom it rang, and
// rows as they come.
func TestPortalEvents(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	rang := make(chan struct{}, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/bad" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		rang <- struct{}{}
	}))
	defer receiver.Close()
	s.webhook("deployhook", receiver.URL+"/good")
	s.webhook("scanhook", receiver.URL+"/bad")
	op := s.reads(t, s.Operator(), s.Password)
	digest := s.hostileImage(t, "team/web", "v1")
	<-rang
	<-rang
	const events = "/portal/registries/dockbell/events"
	// What was tried is written a moment later.
	var shown string
	for range 200 {
		if shown = words(op.sees(events + "/1")); strings.Contains(shown, "scanhook webhook waiting") && strings.Contains(shown, "deployhook webhook delivered") {
			break
		}
		s.push("base/other", "v1") // which takes a moment
	}
	for _, part := range []string{"push of team/web:v1", "deployhook webhook delivered HTTP 200", "scanhook webhook waiting", "HTTP 503", "127.0.0.1", "PUT to", digest, `"specversion": "1.0"`, "<script>alert(1)</script>"} {
		if !strings.Contains(shown, part) {
			t.Errorf("%q is not in %s", part, shown)
		}
	}
	op.has("/portal/registries/dockbell", "Webhooks in trouble", "scanhook failing")
	for _, path := range []string{"/0", "/99999", "/x", "/99999999999999999999", "/<script>"} {
		if status, _, body := op.ask("GET", events+path, nil); status != http.StatusNotFound || strings.Contains(body, "<script>") {
			t.Errorf("%s: %d %s", path, status, words(body))
		}
	}
	for i := range 60 {
		s.push("app", fmt.Sprintf("v%02d", i))
	}
	first := op.sees(events)
	if strings.Count(first, "<tr id=") != 50 || !strings.Contains(first, "app:v59") || strings.Contains(first, "app:v09") {
		t.Errorf("the newest: %s", words(first))
	}
	older := regexp.MustCompile(`href="([^"]*)" rel="next"`).FindStringSubmatch(first)
	op.has(html.UnescapeString(older[1]), "app:v09", "-app:v10", "To the newest")
	op.has(events+"?image=team/web:v1", "team/web:v1", "-app:v")
	op.has(events+"?image=team/web@"+digest, "team/web:v1", "-app:v")
	op.has(events+"?action=delete", "No event is of that kind", "-app:v")
	op.has(events+"?action=<script>&image=<b>", "No event is of that kind")

	// Rows as they come, from where the page was.
	tail := html.UnescapeString(regexp.MustCompile(`data-tail="([^"]*)"`).FindStringSubmatch(op.sees(events + "?image=team/live"))[1])
	rows, ended := op.follows(tail, "")
	s.push("app", "elsewhere")
	s.push("team/live", "v1")
	row := <-rows
	if !strings.Contains(row.data, `<tr id="event-`) || !strings.Contains(row.data, "team/live:v1") || row.name != "row" {
		t.Errorf("a row: %+v", row)
	}
	again, endedToo := op.follows(tail, row.id)
	s.push("team/live", "v2")
	for _, from := range []<-chan sent{rows, again} { // where the browser was
		if row := <-from; !strings.Contains(row.data, "team/live:v2") {
			t.Errorf("the next row: %+v", row)
		}
	}
	for _, path := range []string{"/tail", "/tail?after=x", "/tail?after=-1", "/tail?after=99999999"} {
		if status, _, body := op.ask("GET", events+path, nil); status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	s.stop()
	<-ended
	<-endedToo
}

// follows reads the events of a tail until it ends.
func (b *reading) follows(path, last string) (rows <-chan sent, ended <-chan struct{}) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	b.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", b.URL()+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Last-Event-ID", last)
	res, err := b.http.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		b.t.Fatalf("%s: %s %s", path, res.Status, res.Header.Get("Content-Type"))
	}
	out, done := make(chan sent, 100), make(chan struct{})
	go func() {
		defer close(done)
		defer res.Body.Close()
		var e sent
		for in := bufio.NewScanner(res.Body); in.Scan(); {
			field, value, _ := strings.Cut(in.Text(), ":")
			value = strings.TrimPrefix(value, " ")
			switch {
			case in.Text() == "":
				if e.data != "" {
					out <- e
				}
				e = sent{}
			case field == "id":
				e.id = value
			case field == "event":
				e.name = value
			case field == "data":
				e.data += value
			}
		}
	}()
	return out, done
}
