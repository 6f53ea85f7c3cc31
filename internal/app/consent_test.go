package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	sdk "github.com/cloudevents/sdk-go/v2/protocol/http"
)

// asked is a receiver that counts what comes before it agrees, and after that.
type asked struct {
	*httptest.Server
	mu        sync.Mutex
	answer    http.HandlerFunc // to the question
	questions int
	posts     []string // the tags of the events that came
	tries     int      // posts that are no CloudEvent of a push
}

func newAsked(t *testing.T, answer http.HandlerFunc) *asked {
	a := &asked{answer: answer}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodOptions {
			a.mu.Lock()
			a.questions++
			answer := a.answer
			a.mu.Unlock()
			answer(w, r)
			return
		}
		var data struct{ Target struct{ Tag string } }
		e, err := sdk.NewEventFromHTTPRequest(r)
		if err == nil {
			err = json.Unmarshal(e.Data(), &data)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if err != nil || e.Type() != "Microsoft.ContainerRegistry.ImagePushed" || r.Header.Get("WebHook-Request-Origin") == "" {
			a.tries++
			return
		}
		a.posts = append(a.posts, data.Target.Tag)
	}))
	t.Cleanup(func() { a.CloseClientConnections(); a.Close() })
	return a
}

func (a *asked) seen() (questions, posts, tries int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.questions, len(a.posts), a.tries
}

func (a *asked) answers(answer http.HandlerFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = answer
}

// until waits for so many posts.
func (a *asked) until(t *testing.T, posts int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if _, n, _ := a.seen(); n >= posts {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("%d events came, want %d", n, posts)
		}
	}
}

func agree(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("WebHook-Allowed-Origin", r.Header.Get("WebHook-Request-Origin"))
	w.Header().Set("WebHook-Allowed-Rate", "*")
	w.Header().Set("Allow", "POST")
}

// cloudHook makes a webhook that tells of pushes by CloudEvents.
func (r *running) cloudHook(name, uri, format string) {
	r.t.Helper()
	body := fmt.Appendf(nil, `{"location":"local","properties":{"serviceUri":%q,"actions":["push"],"format":%q,"retryPolicy":{"timeoutInSeconds":1,"order":"repository"}}}`, uri, format)
	if status, _, answer := r.do("PUT", plane+"webhooks/"+name, body, r.asOperator); status/100 != 2 {
		r.t.Fatalf("webhook: %d %s", status, answer)
	}
}

// health returns the state of a webhook.
func (r *running) health(name string) (state string) {
	r.t.Helper()
	_, _, body := r.do("GET", plane+"webhooks/"+name+"?expand=health", nil, r.asOperator)
	var w struct{ Health struct{ State string } }
	if err := json.Unmarshal(body, &w); err != nil {
		r.t.Fatal(err)
	}
	return w.Health.State
}

// TestNothingBeforeConsent: checklist point 29. Whatever happens, and whatever a
// person tries, a receiver that has not agreed is sent the question alone; answers
// that are none count for none; once it agrees, it gets what waited, in order; and
// another address has to agree itself.
func TestNothingBeforeConsent(t *testing.T) {
	t.Parallel()
	elsewhere := newAsked(t, agree)
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	data := t.TempDir()
	s := start(t, settings(data))
	answers := map[string]http.HandlerFunc{
		"refuses": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusMethodNotAllowed) },
		"redirects": func(w http.ResponseWriter, r *http.Request) {
			agree(w, r)
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		},
		"hangs": func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-hang:
			case <-r.Context().Done():
			}
		},
		"others": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WebHook-Allowed-Origin", "eventgrid.azure.net")
		},
		"knows": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "200, and no idea what is asked") },
	}
	receivers := map[string]*asked{}
	for name, answer := range answers {
		receivers[name] = newAsked(t, answer)
		s.cloudHook(name+"hook", receivers[name].URL, map[bool]string{true: "cloudevents-binary", false: "cloudevents"}[name == "knows"])
	}
	open := newAsked(t, agree) // one that agrees, to wait for
	s.cloudHook("openhook", open.URL, "cloudevents")

	const pushes = 20
	for i := range pushes {
		s.push("app", "v"+strconv.Itoa(i))
	}
	open.until(t, pushes)
	var ping struct{ ID string }
	if _, _, body := s.do("POST", plane+"webhooks/openhook/ping", nil, s.asOperator); json.Unmarshal(body, &ping) != nil || ping.ID == "" {
		t.Fatalf("ping: %s", body)
	}
	for name := range receivers {
		for _, try := range []struct{ what, body string }{
			{"ping", ""}, {"test", `{"action":"push"}`}, {"redeliver", `{"eventId":"` + ping.ID + `"}`}, {"replays", `{}`},
			{"redeliver", `{"eventId":"` + ping.ID + `","serviceUri":"` + elsewhere.URL + `"}`},
		} {
			if status, _, body := s.do("POST", plane+"webhooks/"+name+"hook/"+try.what, []byte(try.body), s.asOperator); status != http.StatusConflict {
				t.Errorf("%s of one that %s: %d %s", try.what, name, status, body)
			}
		}
	}
	s.stop() // over a restart too
	s = start(t, settings(data))
	s.push("app", "last")
	open.until(t, pushes+1)
	for name, r := range receivers {
		if questions, posts, tries := r.seen(); questions == 0 || posts+tries != 0 {
			t.Errorf("one that %s was asked %d times and got %d events", name, questions, posts+tries)
		}
		if state := s.health(name + "hook"); state != "awaitingConsent" {
			t.Errorf("one that %s is %s", name, state)
		}
		if log := s.log(t, name+"hook", 0); len(log) != 0 {
			t.Errorf("one that %s has attempts on record: %+v", name, log)
		}
	}
	if questions, posts, tries := elsewhere.seen(); questions+posts+tries != 0 {
		t.Errorf("where a redirect points to was asked %d times and got %d events", questions, posts+tries)
	}

	for name, r := range receivers {
		r.answers(agree)
		if status, _, body := s.do("POST", plane+"webhooks/"+name+"hook/handshake", nil, s.asOperator); status != http.StatusOK {
			t.Errorf("%s: %d %s", name, status, body)
		}
		r.until(t, pushes+1)
		r.mu.Lock()
		for i, tag := range append(r.posts[:pushes:pushes], "v"+strconv.Itoa(pushes)) {
			if tag != "v"+strconv.Itoa(i) {
				t.Errorf("one that %s got %s as number %d", name, tag, i)
			}
		}
		if len(r.posts) != pushes+1 || r.posts[pushes] != "last" || r.tries != 0 {
			t.Errorf("one that %s got %v, and %d of another kind", name, r.posts, r.tries)
		}
		r.mu.Unlock()
	}

	// Consent is that of an address.
	moved := newAsked(t, answers["refuses"])
	if status, _, body := s.do("PATCH", plane+"webhooks/openhook", fmt.Appendf(nil, `{"properties":{"serviceUri":%q}}`, moved.URL), s.asOperator); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	s.push("app", "moved")
	receivers["knows"].until(t, pushes+2)
	if state := s.health("openhook"); state != "awaitingConsent" {
		t.Errorf("after its address changed it is %s", state)
	}
	if questions, posts, tries := moved.seen(); questions == 0 || posts+tries != 0 {
		t.Errorf("the new address was asked %d times and got %d events", questions, posts+tries)
	}
	if _, posts, _ := open.seen(); posts != pushes+1 {
		t.Errorf("the old address got %d events, want %d", posts, pushes+1)
	}
	moved.answers(agree)
	s.do("POST", plane+"webhooks/openhook/handshake", nil, s.asOperator)
	moved.until(t, 1)
}

// TestAskedByItself: a receiver that agrees a little later is found without anyone
// doing anything.
func TestAskedByItself(t *testing.T) {
	t.Parallel()
	late := newAsked(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	s := start(t, settings(t.TempDir()))
	s.cloudHook("latehook", late.URL, "cloudevents-binary")
	s.push("app", "v1")
	late.answers(agree)
	late.until(t, 1)
	if questions, posts, tries := late.seen(); questions != 2 || posts != 1 || tries != 0 {
		t.Errorf("asked %d times, %d events, %d of another kind", questions, posts, tries)
	}
}
