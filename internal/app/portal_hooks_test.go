package app_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/dockbell/dockbell/internal/controlclient"
)

// visitor is somebody who looks at the portal without script.
type visitor struct {
	*running
	jar http.CookieJar
}

// visit logs somebody in.
func (r *running) visit(user, password string) *visitor {
	r.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	v := &visitor{r, jar}
	if status, _, page := v.post("/portal/login", url.Values{"username": {user}, "password": {password}}); status != http.StatusSeeOther {
		r.t.Fatalf("login: %d %s", status, page)
	}
	return v
}

// request asks for a page. The caller closes what comes.
func (v *visitor) request(method, path string, form url.Values) *http.Response {
	v.t.Helper()
	req, err := http.NewRequest(method, v.URL()+path, strings.NewReader(form.Encode()))
	if err != nil {
		v.t.Fatal(err)
	}
	for _, c := range v.jar.Cookies(req.URL) {
		req.AddCookie(c)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	res, err := v.http.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	v.jar.SetCookies(req.URL, res.Cookies())
	return res
}

func (v *visitor) ask(method, path string, form url.Values) (status int, location, page string) {
	v.t.Helper()
	res := v.request(method, path, form)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return res.StatusCode, res.Header.Get("Location"), string(body)
}

func (v *visitor) post(path string, form url.Values) (status int, location, page string) {
	v.t.Helper()
	return v.ask("POST", path, form)
}

// see returns the page at path as its words, which holds all that is wanted and none
// of what is not, and whose markup is sound.
func (v *visitor) see(path string, want, not []string) (page string) {
	v.t.Helper()
	status, _, page := v.ask("GET", path, nil)
	if status != http.StatusOK {
		v.t.Fatalf("%s: %d %s", path, status, wordsOf(v.t, page))
	}
	words := wordsOf(v.t, page)
	for _, w := range want {
		if !strings.Contains(words, w) {
			v.t.Errorf("%s does not say %q: %s", path, w, words)
		}
	}
	for _, w := range not {
		if strings.Contains(page, w) {
			v.t.Errorf("%s says %q", path, w)
		}
	}
	return page
}

// wordsOf returns the text of a page with single blanks, which has no script of its
// own and gives each id once.
func wordsOf(t testing.TB, page string) string {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	ids := map[string]bool{}
	for n := range root.Descendants() {
		if n.Type == html.TextNode {
			b.WriteString(n.Data + " ")
		}
		if n.Type == html.ElementNode && n.Data == "script" && n.FirstChild != nil {
			t.Errorf("there is a script in the page: %s", n.FirstChild.Data)
		}
		for _, a := range n.Attr {
			if a.Key == "id" && ids[a.Val] {
				t.Errorf("the id %s is there twice", a.Val)
			}
			if a.Key == "id" {
				ids[a.Val] = true
			}
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" {
				t.Errorf("%s has %s=%q, which no page may have", n.Data, a.Key, a.Val)
			}
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// tail reads events of a tail until one holds what is wanted.
func (v *visitor) tail(path, want string) {
	v.t.Helper()
	res := v.request("GET", path, nil)
	defer res.Body.Close()
	if got := res.Header.Get("Content-Type"); res.StatusCode != http.StatusOK || !strings.HasPrefix(got, "text/event-stream") {
		v.t.Fatalf("%s: %d %s", path, res.StatusCode, got)
	}
	in := bufio.NewScanner(res.Body)
	for in.Scan() {
		if strings.Contains(in.Text(), want) {
			return
		}
	}
	v.t.Errorf("the tail ends without %q: %v", want, in.Err())
}

var tailOf = regexp.MustCompile(`data-tail="([^"]*)"`)

// tailIn returns the address of a page's tail.
func tailIn(t *testing.T, page string) string {
	t.Helper()
	m := tailOf.FindStringSubmatch(page)
	if m == nil {
		t.Fatal("the page has no tail")
	}
	return html.UnescapeString(m[1])
}

// TestPortalWebhooks takes a webhook through its life by the pages alone: each error
// of the form beside its field with nothing lost, rows that come, an event's story,
// once more, pause, replay, dead letters, and the end.
func TestPortalWebhooks(t *testing.T) {
	t.Parallel()
	r := start(t, settings(t.TempDir()))
	var answer atomic.Int32
	answer.Store(400)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(int(answer.Load()))
		io.WriteString(w, "<script>alert(1)</script>\x07 no")
	}))
	defer receiver.Close()
	v := r.visit(r.Operator(), r.Password)
	base := "/portal/registries/" + r.Operator() + "/webhooks"
	v.see(base, []string{"There is no webhook yet", "dockbell webhook create -r " + r.Operator(), "Add webhook"}, nil)
	for _, tag := range []string{"v1", "v2"} {
		r.push("team/web", tag)
	}

	v.see(base+"/new", []string{"2 of the newest 2 events of this registry match"}, []string{"aria-invalid"})
	typed := url.Values{
		"name": {"x"}, "serviceUri": {"ftp://typed.example"}, "actions": {"push"}, "scope": {"*"}, "status": {"enabled"}, "customHeaders": {"no colon here"},
		"tags": {"team"}, "format": {"acr"}, "maxDeliveryAttempts": {"99"}, "timeoutInSeconds": {"soon"}, "location": {"local"}, "caCertificates": {"no PEM"},
	}
	status, _, page := v.post(base+"/new", typed)
	words := wordsOf(t, page)
	if status != http.StatusBadRequest {
		t.Errorf("a wrong form: %d", status)
	}
	for _, want := range []string{
		`Webhook name "x" is too short`, `The service URI has the scheme "ftp"`, `Scope "*" is not valid`, "There is a line without a name and a :", "There is a line without a name and a =",
		"maxDeliveryAttempts is 99: use 1 to 30", `"soon" is no whole number`, "PEM",
	} {
		if !strings.Contains(words, want) {
			t.Errorf("the form does not say %q: %s", want, words)
		}
	}
	for _, value := range []string{`value="x"`, `value="ftp://typed.example"`, "no colon here", `value="*"`, `value="99"`, `value="soon"`, "no PEM"} {
		if !strings.Contains(page, value) {
			t.Errorf("what was typed is lost: %s", value)
		}
	}
	var checked struct {
		Wrong   map[string]string
		Preview string
	}
	_, _, page = v.post(base+"/new/check", url.Values{"name": {"deployhook"}, "serviceUri": {receiver.URL}, "actions": {"push"}, "scope": {"team/web:v1"}, "location": {"local"}})
	if err := json.Unmarshal([]byte(page), &checked); err != nil || len(checked.Wrong) > 0 || !strings.Contains(checked.Preview, "1 of the newest 2 events") {
		t.Errorf("the check of a good form: %v %s", err, page)
	}

	good := url.Values{
		"name": {"deployhook"}, "serviceUri": {receiver.URL + "/?code=s3cret"}, "actions": {"push"}, "scope": {"team/web:*"}, "status": {"enabled"},
		"customHeaders": {"Authorization: Bearer s3cret"}, "format": {"acr"}, "location": {"local"}, "tags": {"team=web"},
	}
	if status, location, page := v.post(base+"/new", good); status != http.StatusSeeOther || location != base+"/deployhook?done=webhook-created" {
		t.Fatalf("a good form: %d %s %s", status, location, wordsOf(t, page))
	}
	if status, _, page := v.post(base+"/new", good); status != http.StatusBadRequest || !strings.Contains(page, "There is a webhook deployhook already") {
		t.Errorf("the same name again: %d", status)
	}
	hook := base + "/deployhook"
	page = v.see(hook, []string{"Nothing was sent yet", "Ping", "Pause", "Edit", "Replay", "Delete", "Rotate secret", "team/web:*", "team=web"}, []string{"s3cret"})

	// A row comes while the page is open, and the event's story says what came back.
	tail := tailIn(t, page)
	r.push("team/web", "v3")
	v.tail(tail, "team/web:v3")
	page = v.see(hook, []string{"team/web:v3", "400", "Refused"}, []string{"s3cret"})
	v.see(hook+"?outcome=refused&action=push&image=team%2Fweb%3Av3&range=1h", []string{"team/web:v3"}, nil)
	v.see(hook+"?outcome=delivered", []string{"No attempt is like that"}, nil)
	v.see(hook+"?from=noon", []string{`"noon" is no time`}, nil)
	story := html.UnescapeString(regexp.MustCompile(`href="(` + hook + `/deliveries/[^"]*)"`).FindStringSubmatch(page)[1])
	page = v.see(story, []string{
		"push team/web:v3", "Refused", "The receiver does not want it", "Redeliver", "hidden", "<script>alert(1)</script>", "curl -i -X POST", r.Operator(),
	}, []string{"s3cret", "<script>alert"})

	// Rung once more, it is delivered, which shows in place.
	answer.Store(200)
	tail = tailIn(t, page)
	at, err := url.Parse(story)
	if err != nil {
		t.Fatal(err)
	}
	status, location, _ := v.post(at.Path+"/redeliver", url.Values{"at": {at.Query().Get("at")}})
	if status != http.StatusSeeOther || !strings.HasPrefix(location, at.Path+"?at=") || !strings.HasSuffix(location, "&done=redelivered") {
		t.Errorf("redeliver: %d %s", status, location)
	}
	v.tail(tail, "Delivered")
	v.see(story, []string{"Delivered", "Nothing more happens", "1 of replay 1"}, nil)

	for _, x := range []struct{ path, done, says string }{
		{"/ping", "pinged", "ping"}, {"/test", "tested", "Sample"}, {"/pause", "paused", "Paused"}, {"/resume", "resumed", "Pause"},
	} {
		form := url.Values{"action": {"push"}}
		if status, location, page := v.post(hook+x.path, form); status != http.StatusSeeOther || location != hook+"?done="+x.done {
			t.Errorf("%s: %d %s %s", x.path, status, location, wordsOf(t, page))
		}
		if x.done == "paused" {
			v.see(hook, []string{"Paused", "Resume"}, nil)
			v.see(base+"?state=paused", []string{"deployhook"}, nil)
			v.see(base+"?state=delivered", []string{"No webhook is like that"}, nil)
		}
	}
	if status, _, page := v.post(hook+"/replay", url.Values{"from": {"2026-01-02T00:00"}, "until": {"2026-01-01T00:00"}, "maxPerMinute": {"60"}}); status != http.StatusBadRequest ||
		!strings.Contains(wordsOf(t, page), "so there is nothing between") || !strings.Contains(page, `value="2026-01-02T00:00"`) {
		t.Errorf("a range that is none: %d %s", status, wordsOf(t, page))
	}
	if status, location, page := v.post(hook+"/replay", url.Values{"only": {""}, "action": {"push"}}); status != http.StatusSeeOther || location != hook+"?done=replay" {
		t.Errorf("replay: %d %s %s", status, location, wordsOf(t, page))
	}
	v.see(hook, []string{"Replay 2"}, nil)
	v.see(hook+"/dead-letters", []string{"Nothing was given up"}, nil)

	// What is write-only stays where nothing was typed.
	v.see(hook+"/edit", []string{"Leave it empty to keep the address"}, []string{"s3cret", receiver.URL})
	if status, location, page := v.post(hook+"/edit", url.Values{"actions": {"push", "delete"}, "scope": {""}, "status": {"enabled"}, "format": {"acr"}, "maxDeliveryAttempts": {"5"}}); status != http.StatusSeeOther || location != hook+"?done=webhook-changed" {
		t.Errorf("edit: %d %s %s", status, location, wordsOf(t, page))
	}
	client := controlclient.New(mustURL(r.URL()), r.Operator(), r.Password, r.http)
	config, err := client.CallbackConfig(t.Context(), r.Operator(), "deployhook")
	if err != nil || config.ServiceURI != receiver.URL+"/?code=s3cret" || config.CustomHeaders["Authorization"] != "Bearer s3cret" {
		t.Errorf("the edit lost the address or a header: %v", err)
	}
	v.see(hook, []string{"every event of the registry", "5 attempts"}, nil)
	status, _, page = v.post(hook+"/rotate-secret", url.Values{})
	rotated, err := client.CallbackConfig(t.Context(), r.Operator(), "deployhook")
	if err != nil || status != http.StatusOK || rotated.SigningSecret == config.SigningSecret || !strings.Contains(html.UnescapeString(page), rotated.SigningSecret) {
		t.Errorf("rotate: %d %v", status, err)
	}

	v.see(hook+"/delete", []string{"The webhook deployhook is deleted with its address, its secrets and its delivery log"}, nil)
	if status, location, _ := v.post(hook+"/delete", url.Values{}); status != http.StatusSeeOther || location != base+"?done=webhook-deleted" {
		t.Errorf("delete: %d %s", status, location)
	}
	if status, _, _ := v.ask("GET", hook, nil); status != http.StatusNotFound {
		t.Errorf("deleted, it answers %d", status)
	}
}

// TestPortalReader looks at the same pages as a reader: there is no button that would
// be refused, and nothing that a reader is not told.
func TestPortalReader(t *testing.T) {
	t.Parallel()
	r := start(t, settings(t.TempDir()))
	r.webhook("deployhook", "http://127.0.0.1:1/s3cret")
	r.push("team/web", "v1")
	client := controlclient.New(mustURL(r.URL()), r.Operator(), r.Password, r.http)
	reg, err := client.Registry(t.Context(), r.Operator())
	if err != nil {
		t.Fatal(err)
	}
	reader, err := client.CreateServicePrincipal(t.Context(), "onlooker", []controlclient.RoleAssignment{{Role: "Reader", Scope: reg.ID}})
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if hook, err := client.Webhook(t.Context(), r.Operator(), "deployhook"); err == nil && hook.Health.ConsecutiveFailures > 0 {
			break
		} else if time.Now().After(deadline) {
			t.Fatal("nothing failed: ", err)
		}
	}
	v := r.visit(reader.AppID, reader.Password)
	base := "/portal/registries/" + r.Operator() + "/webhooks"
	forbidden := []string{"s3cret", "127.0.0.1:1", "no connection", ">Ping<", ">Pause<", ">Edit<", ">Delete<", ">Replay<", "Rotate secret", "Send test", "Add webhook"}
	v.see(base, []string{"deployhook"}, forbidden)
	v.see(base+"/deployhook", []string{"deployhook", "You may not see the delivery log"}, forbidden)
	v.see(base+"/deployhook/dead-letters", []string{"Nothing was given up"}, forbidden)
	for _, path := range []string{"/new", "/deployhook/edit", "/deployhook/delete", "/deployhook/replay", "/deployhook/tail", "/deployhook/deliveries/x"} {
		if status, _, page := v.ask("GET", base+path, nil); status != http.StatusForbidden || strings.Contains(page, "s3cret") {
			t.Errorf("%s: %d", path, status)
		}
	}
	for _, path := range []string{"/new", "/deployhook/edit", "/deployhook/delete", "/deployhook/pause", "/deployhook/ping", "/deployhook/rotate-secret", "/deployhook/replay", "/deployhook/dead-letters/purge"} {
		form := url.Values{"name": {"other1"}, "actions": {"push"}, "serviceUri": {"http://127.0.0.1:1"}, "location": {"local"}, "only": {""}}
		if status, _, _ := v.post(base+path, form); status != http.StatusForbidden {
			t.Errorf("POST %s: %d", path, status)
		}
	}
	if hooks, err := client.Webhooks(t.Context(), r.Operator()); err != nil || len(hooks) != 1 {
		t.Errorf("%s webhooks, %v", fmt.Sprint(len(hooks)), err)
	}
}

// TestPortalTailEnds stops a server while a page is kept fresh: the page's connection
// ends, and does not hold the server up.
func TestPortalTailEnds(t *testing.T) {
	t.Parallel()
	r := start(t, settings(t.TempDir()))
	r.webhook("deployhook", "http://127.0.0.1:1/")
	v := r.visit(r.Operator(), r.Password)
	hook := "/portal/registries/" + r.Operator() + "/webhooks/deployhook"
	res := v.request("GET", tailIn(t, v.see(hook, nil, nil)), nil)
	defer res.Body.Close()
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, res.Body)
		ended <- err
	}()
	r.stop()
	if err := <-ended; err != nil {
		t.Errorf("the tail breaks off: %v", err)
	}
}

// TestPortalTailResumes asks for a tail as a browser does that lost its connection:
// what it has is not sent again, what it missed is.
func TestPortalTailResumes(t *testing.T) {
	t.Parallel()
	r := start(t, settings(t.TempDir()))
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer receiver.Close()
	r.webhook("deployhook", receiver.URL)
	v := r.visit(r.Operator(), r.Password)
	hook := "/portal/registries/" + r.Operator() + "/webhooks/deployhook"
	tail := tailIn(t, v.see(hook, nil, nil))
	r.push("team/web", "v1")
	v.tail(tail, "team/web:v1")
	fresh := tailIn(t, v.see(hook, []string{"team/web:v1"}, nil))
	for _, x := range []struct {
		tail string
		has  bool
	}{
		{tail, true},
		{strings.Replace(fresh, "since=", "since="+url.QueryEscape(time.Now().Add(time.Hour).UTC().Format(time.RFC3339Nano))+"&x=", 1), false},
	} {
		res := v.request("GET", x.tail, nil)
		had := false
		for in := bufio.NewScanner(res.Body); in.Scan() && in.Text() != "event: part"; { // which follows the rows of the first look
			had = had || in.Text() == "event: row"
		}
		res.Body.Close()
		if had != x.has {
			t.Errorf("%s: the row comes: %v", x.tail, had)
		}
	}
}

// TestPortalSubscriptions makes, changes and deletes an event subscription by the
// pages, which show what its broker does not take.
func TestPortalSubscriptions(t *testing.T) {
	t.Parallel()
	r := start(t, settings(t.TempDir()))
	v := r.visit(r.Operator(), r.Password)
	base := "/portal/registries/" + r.Operator() + "/subscriptions"
	v.see(base, []string{"There is no event subscription yet", "dockbell event-subscription create"}, nil)
	v.see(base+"/new", []string{"ImagePushed: ", "CloudEvents 1.0", "NATS JetStream"}, nil)
	form := func(pairs ...string) url.Values {
		f := url.Values{
			"name": {"on-push"}, "endpointType": {"NatsJetStream"}, "servers": {"127.0.0.1:1"}, "subject": {"registry.events"}, "eventDeliverySchema": {"CloudEventSchemaV1_0"},
			"includedEventTypes": {"Microsoft.ContainerRegistry.ImagePushed"}, "advancedFilters": {"data.target.tag StringBeginsWith v"}, "username": {"ada"}, "password": {"s3cret"},
			"deliveryAttributeMappings": {"X-Repository: {data.target.repository}"}, "secretAttributes": {"X-Key: s3cret"},
		}
		for i := 0; i < len(pairs); i += 2 {
			f.Set(pairs[i], pairs[i+1])
		}
		return f
	}
	for _, x := range []struct{ name, value, says string }{
		{"name", "x", `The name "x" of the event subscription has 1 characters`}, {"name", "", "Give it a name"}, {"advancedFilters", "data.target.tag", `"data.target.tag" is no condition`},
		{"advancedFilters", "data.target.size NumberIn few", `compares with numbers, and "few" is none`}, {"maxDeliveryAttempts", "99", "maxDeliveryAttempts is 99: use 1 to 30"},
		{"maxDeliveryAttempts", "many", `"many" is no whole number`}, {"expirationTimeUtc", "soon", `"soon" is no time`}, {"subject", "", "no subject"},
	} {
		status, _, page := v.post(base+"/new", form(x.name, x.value))
		if words := wordsOf(t, page); status != http.StatusBadRequest || !strings.Contains(words, x.says) || !strings.Contains(page, `aria-invalid="true"`) || x.name != "name" && !strings.Contains(page, `value="on-push"`) {
			t.Errorf("%s=%q: %d %s", x.name, x.value, status, words)
		}
	}
	if status, location, page := v.post(base+"/new", form()); status != http.StatusSeeOther || location != base+"/on-push?done=subscription-created" {
		t.Fatalf("create: %d %s %s", status, location, wordsOf(t, page))
	}
	tail := tailIn(t, v.see(base+"/on-push", []string{"NATS JetStream", "127.0.0.1:1 registry.events", "data.target.tag StringBeginsWith v", "X-Repository"}, []string{"s3cret", ">Ping<"}))
	r.push("team/web", "v1")
	v.tail(tail, "Failed")
	v.see(base+"/on-push/edit", []string{"Leave it empty to keep the one there is"}, []string{"s3cret"})
	change := form("labels", "team", "password", "", "secretAttributes", "")
	change.Del("name")
	if status, location, page := v.post(base+"/on-push/edit", change); status != http.StatusSeeOther || location != base+"/on-push?done=subscription-changed" {
		t.Errorf("edit: %d %s %s", status, location, wordsOf(t, page))
	}
	client := controlclient.New(mustURL(r.URL()), r.Operator(), r.Password, r.http)
	s, err := client.EventSubscription(t.Context(), r.Operator(), "on-push")
	if err != nil || s.Properties.Destination.Properties.Password != controlclient.Hidden || len(s.Properties.Labels) != 1 {
		t.Errorf("after the edit: %+v %v", s.Properties, err)
	}
	attributes, err := client.DeliveryAttributes(t.Context(), r.Operator(), "on-push")
	secrets := 0
	for _, a := range attributes {
		if a.Name == "X-Key" && a.Properties.Value != nil && *a.Properties.Value == "s3cret" {
			secrets++
		}
	}
	if err != nil || len(attributes) != 2 || secrets != 1 {
		t.Errorf("the edit lost an attribute: %+v %v", attributes, err)
	}
	if status, location, _ := v.post(base+"/on-push/delete", url.Values{}); status != http.StatusSeeOther || location != base+"?done=subscription-deleted" {
		t.Errorf("delete: %d %s", status, location)
	}
}
