package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// service is a receiver that looks at what it gets as the service does that it
// stands for, and keeps in a few words what it understood.
type service struct {
	*httptest.Server
	mu         sync.Mutex
	understood []string
}

// newService makes a service of a function that says what a request means to it, and
// with which status it answers.
func newService(t *testing.T, read func(r *http.Request, body []byte) (means string, status int)) *service {
	s := &service{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		means, status := read(r, body)
		if status >= 300 {
			t.Errorf("refused with %d: %s: %s %s", status, means, r.URL, body)
		}
		s.mu.Lock()
		s.understood = append(s.understood, means)
		s.mu.Unlock()
		w.WriteHeader(status)
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s
}

// until waits for so many requests and returns what they meant.
func (s *service) until(t *testing.T, n int) []string {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		all := s.understood[:len(s.understood):len(s.understood)]
		s.mu.Unlock()
		if len(all) >= n {
			return all
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d requests came, want %d: %q", len(all), n, all)
		}
	}
}

// readSlack is an incoming webhook of Slack: a text, and blocks whose members it
// knows all.
func readSlack(r *http.Request, body []byte) (string, int) {
	type text struct {
		Type, Text string
		Verbatim   *bool
	}
	var message struct {
		Text   string
		Blocks []struct {
			Type     string
			Text     *text
			Elements []text
		}
	}
	in := json.NewDecoder(strings.NewReader(string(body)))
	in.DisallowUnknownFields()
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") || in.Decode(&message) != nil || message.Text == "" {
		return "invalid_payload", http.StatusBadRequest
	}
	if r.URL.Path != "/services/T0/B0/s3cret" {
		return "no_service", http.StatusNotFound
	}
	for _, b := range message.Blocks {
		texts := b.Elements
		if b.Text != nil {
			texts = append(texts, *b.Text)
		}
		if (b.Type == "section") != (b.Text != nil) || (b.Type == "context") != (len(b.Elements) > 0) {
			return "invalid_blocks", http.StatusBadRequest
		}
		for _, text := range texts {
			if text.Type != "mrkdwn" || text.Text == "" || len(text.Text) > 3000 {
				return "invalid_blocks", http.StatusBadRequest
			}
		}
	}
	sentence, _, _ := strings.Cut(message.Text, "\n")
	return sentence, http.StatusOK
}

// readGitHub is "create a repository dispatch event".
func readGitHub(r *http.Request, body []byte) (string, int) {
	var dispatch struct {
		EventType     string                     `json:"event_type"`
		ClientPayload map[string]json.RawMessage `json:"client_payload"`
	}
	in := json.NewDecoder(strings.NewReader(string(body)))
	in.DisallowUnknownFields()
	switch {
	case r.Header.Get("Authorization") != "Bearer t0ken":
		return "Requires authentication", http.StatusUnauthorized
	case r.URL.Path != "/repos/contoso/deploy/dispatches":
		return "Not Found", http.StatusNotFound
	case r.Header.Get("User-Agent") == "", r.Header.Get("Accept") != "application/vnd.github+json", r.Header.Get("X-GitHub-Api-Version") != "2022-11-28":
		return "Bad headers", http.StatusForbidden
	case in.Decode(&dispatch) != nil, dispatch.EventType == "", len(dispatch.EventType) > 100, len(dispatch.ClientPayload) > 10, len(body) > 65535:
		return "Invalid request", http.StatusUnprocessableEntity
	}
	return fmt.Sprintf("%s %s %s", dispatch.EventType, dispatch.ClientPayload["image"], dispatch.ClientPayload["test"]), http.StatusNoContent
}

// readGitLab is "trigger a pipeline with a token".
func readGitLab(r *http.Request, body []byte) (string, int) {
	var trigger struct{ Variables map[string]string }
	query := r.URL.Query()
	switch {
	case r.URL.EscapedPath() != "/api/v4/projects/team%2Fdeploy/trigger/pipeline" || query.Get("token") != "t0ken":
		return "404 Not Found", http.StatusNotFound
	case query.Get("ref") != "main":
		return "ref is missing", http.StatusBadRequest
	case !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") || json.Unmarshal(body, &trigger) != nil:
		return "variables needs to be a map of key-valued strings", http.StatusBadRequest
	}
	return fmt.Sprintf("%s %s %s", trigger.Variables["DOCKBELL_ACTION"], trigger.Variables["DOCKBELL_IMAGE"], trigger.Variables["DOCKBELL_TEST"]), http.StatusCreated
}

// readUpdater is the handler for CloudEvents of Argo CD Image Updater: it knows a
// type by a word in it, and finds the image in flat members.
func readUpdater(r *http.Request, body []byte) (string, int) {
	var e struct {
		SpecVersion, Type, Subject string
		Data                       map[string]any
	}
	if r.URL.Query().Get("secret") != "s3cret" || !strings.Contains(r.Header.Get("Content-Type"), "application/cloudevents+json") {
		return "invalid webhook secret or content type", http.StatusUnauthorized
	}
	if err := json.Unmarshal(body, &e); err != nil || e.SpecVersion == "" || !strings.Contains(e.Type, "container") && !strings.Contains(e.Type, "image") {
		return "unsupported CloudEvents type", http.StatusBadRequest
	}
	if !strings.HasSuffix(e.Type, ".ImagePushed") {
		return e.Type, http.StatusOK
	}
	registry, _ := e.Data["registryUrl"].(string)
	repository, _ := e.Data["repositoryName"].(string)
	tag, _ := e.Data["imageTag"].(string)
	digest, _ := e.Data["imageDigest"].(string)
	if registry == "" || repository == "" || tag == "" || digest == "" {
		return "not found in CloudEvents payload", http.StatusBadRequest
	}
	return fmt.Sprintf("%s %s/%s:%s", e.Type, registry, repository, tag), http.StatusOK
}

// TestServicesAreRung: webhooks of each format ring receivers that check what the
// services check, for a push, a ping, a sample and a repetition, over a restart; and
// what is secret in their addresses is not in the log.
func TestServicesAreRung(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s := start(t, settings(data))
	login := s.loginServer()
	image := login + "/team/web:v1"
	sample := login + "/dockbell/sample:sample"
	services := map[string]struct {
		*service
		path, properties string
		want             []string
		kept             string
	}{
		"slack": {newService(t, readSlack), "/services/T0/B0/s3cret", `"format":"slack"`, []string{
			"`team/web:v1` was pushed to `" + login + "` by `dockbell`", "Ping from `" + login + "`: this webhook works",
			"Test, nothing happened: `dockbell/sample:sample` was pushed to `" + login + "` by `dockbell`",
			"`team/web:v1` was pushed to `" + login + "` by `dockbell`", "`team/web:v2` was pushed to `" + login + "` by `dockbell`",
		}, "/******"},
		"github": {newService(t, readGitHub), "/repos/contoso/deploy/dispatches", `"format":"github","customHeaders":{"Authorization":"Bearer t0ken"}`, []string{
			`dockbell.push "` + image + `" false`, `dockbell.ping  false`, `dockbell.push "` + sample + `" true`,
			`dockbell.push "` + image + `" false`, `dockbell.push "` + login + `/team/web:v2" false`,
		}, "/repos/contoso/deploy/dispatches"},
		"gitlab": {newService(t, readGitLab), "/api/v4/projects/team%2Fdeploy/trigger/pipeline?token=t0ken&ref=main", `"format":"gitlab"`, []string{
			"push " + image + " ", "ping  ", "push " + sample + " true", "push " + image + " ", "push " + login + "/team/web:v2 ",
		}, "/api/v4/projects/team%2Fdeploy/trigger/pipeline?token=******&ref=******"},
		"updater": {newService(t, readUpdater), "/webhook?type=cloudevents&secret=s3cret",
			`"format":"cloudevents","handshake":"none","eventTypePrefix":"com.example.container","flatData":true`, []string{
				"com.example.container.ImagePushed " + image, "com.example.container.Ping", "com.example.container.ImagePushed " + sample,
				"com.example.container.ImagePushed " + image, "com.example.container.ImagePushed " + login + "/team/web:v2",
			}, "/webhook?type=******&secret=******"},
	}
	for name, of := range services {
		body := fmt.Appendf(nil, `{"location":"local","properties":{"serviceUri":%q,"actions":["push"],%s}}`, of.URL+of.path, of.properties)
		if status, _, answer := s.do("PUT", plane+"webhooks/"+name+"hook", body, s.asOperator); status != http.StatusCreated {
			t.Fatalf("%s: %d %s", name, status, answer)
		}
	}
	s.push("team/web", "v1")
	for name, of := range services {
		of.until(t, 1)
		hook := plane + "webhooks/" + name + "hook"
		for i, try := range []struct{ what, body string }{{"ping", ""}, {"test", `{"action":"push"}`}, {"replays", `{}`}} {
			if status, _, answer := s.do("POST", hook+"/"+try.what, []byte(try.body), s.asOperator); status/100 != 2 {
				t.Fatalf("%s: %s: %d %s", name, try.what, status, answer)
			}
			of.until(t, i+2)
		}
	}
	s.stop()
	s = start(t, settings(data))
	s.push("team/web", "v2")
	for name, of := range services {
		got := of.until(t, len(of.want))
		want := of.want
		if next := s.loginServer(); next != login { // the port is another one by now
			want = append(want[:4:4], strings.ReplaceAll(want[4], login, next))
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s understood\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		s.log(t, name+"hook", len(of.want)) // waits for the record of all
		_, _, answer := s.do("POST", plane+"webhooks/"+name+"hook/listEvents", nil, s.asOperator)
		for _, secret := range []string{"s3cret", "t0ken"} {
			if strings.Contains(string(answer), secret) {
				t.Errorf("%s: %q is in the log", name, secret)
			}
		}
		var log struct {
			Value []struct {
				Outcome string
				Request struct{ RequestURI string } `json:"eventRequestMessage"`
			}
		}
		if err := json.Unmarshal(answer, &log); err != nil || len(log.Value) != len(of.want) {
			t.Fatalf("%s: %v in %s", name, err, answer)
		}
		for _, e := range log.Value {
			if e.Outcome != "delivered" || e.Request.RequestURI != of.URL+of.kept {
				t.Errorf("%s: the log has %+v, want %s", name, e, of.URL+of.kept)
			}
		}
	}
}
