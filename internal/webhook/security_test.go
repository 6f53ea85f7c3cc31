package webhook

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	official "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/signature"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// What a sender of webhooks has to keep to so that it harms nobody, as far as it
// is for this package.

// TestHeaderNamesAndValuesAreCheckedWhenSaved refuses, on create and on change,
// what would be another request on the wire.
func TestHeaderNamesAndValuesAreCheckedWhenSaved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(contoso, "deployhook", nil)
	many := map[string]string{}
	for i := range 33 {
		many[fmt.Sprintf("X-%d", i)] = "x"
	}
	for _, headers := range []map[string]string{
		{"X Env": "x"}, {"": "x"}, {"X:Env": "x"}, {"X\r\nY": "x"}, {"X\x00": "x"}, {"Ünïcode": "x"}, {"X(Y)": "x"},
		{"X-Env": "a\r\nHost: b"}, {"X-Env": "a\nb"}, {"X-Env": "a\rb"}, {"X-Env": "a\x00b"},
		{"X-Env": strings.Repeat("x", 8<<10)}, many,
	} {
		if _, _, err := w.Put(t.Context(), contoso, "otherhook", Definition{Location: "eastus", ServiceURI: "https://hooks.example.net/", Actions: []string{"push"}, CustomHeaders: headers}, ada); !fault.Is(err, fault.Invalid) {
			t.Errorf("created with %.60q: %v", headers, err)
		}
		if _, err := w.Patch(t.Context(), contoso, "deployhook", Change{CustomHeaders: headers}, ada); !fault.Is(err, fault.Invalid) {
			t.Errorf("changed to %.60q: %v", headers, err)
		}
	}
	if n := w.count("SELECT count(*) FROM webhook"); n != 1 {
		t.Errorf("%d webhooks, want 1", n)
	}
}

// TestReservedHeadersCannotBeOverridden tries every one, however it is written.
func TestReservedHeadersCannotBeOverridden(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(contoso, "deployhook", nil)
	names := []string{
		"host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "expect", "traceparent",
		"proxy-authorization", "proxy-connection", "proxy-x",
		"webhook-id", "webhook-timestamp", "webhook-signature", "webhook-x", "ce-id", "ce-x",
		"dockbell-replay", "dockbell-test", "dockbell-hops", "dockbell-x", "x-dockbell-x",
		"x-hub-signature-256", "x-signature",
	}
	for _, name := range names {
		for _, written := range []string{name, strings.ToUpper(name), http.CanonicalHeaderKey(name)} {
			_, err := w.Patch(t.Context(), contoso, "deployhook", Change{CustomHeaders: map[string]string{written: "v4lue"}}, ada)
			if !fault.Is(err, fault.Invalid) || !strings.HasPrefix(err.Error(), "header "+written+" cannot be set: the sender uses it itself") || strings.Contains(err.Error(), "v4lue") {
				t.Errorf("%s: %v", written, err)
			}
		}
	}
}

// TestSecretHeadersAreSealedAndNeverShown follows what is secret of a webhook to
// all places where it must not be: listings, errors, logs, the record of an
// attempt, and the database.
func TestSecretHeadersAreSealedAndNeverShown(t *testing.T) {
	t.Parallel()
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(receiver.Close)
	w := newWorld(t)
	uri := strings.Replace(receiver.URL, "http://", "http://us3r:p4ssw0rd@", 1) + "/?code=qu3ry"
	hook := w.put(contoso, "deployhook", func(d *Definition) {
		d.ServiceURI, d.SignatureHeaders = uri, []string{"github", "flux"}
		d.CustomHeaders = map[string]string{"Authorization": "Bearer t0k3n", "X-Api-Key": "k3y"}
	})
	if _, err := w.RotateSecret(t.Context(), contoso, "deployhook", "", time.Hour, ada); err != nil {
		t.Fatal(err)
	}
	config := w.config(contoso, "deployhook")
	secrets := []string{"us3r", "p4ssw0rd", "qu3ry", "t0k3n", "k3y"}
	for _, s := range []string{config.SigningSecret, config.PreviousSecret} {
		secrets = append(secrets, strings.TrimPrefix(s, "whsec_"))
	}
	request, ok := w.Request(ring.Call{Endpoint: hook.ID, Event: happened(event.Push, "web", "v1"), ACRBody: []byte("{}"), At: time.Now()})
	if !ok {
		t.Fatal("gone")
	}
	for _, name := range []string{"Webhook-Signature", "X-Hub-Signature-256", "X-Signature"} {
		secrets = append(secrets, request.Header.Get(name))
	}

	got, _ := w.Get(t.Context(), contoso, "deployhook")
	list, _ := w.List(t.Context(), contoso)
	var shown bytes.Buffer
	log := slog.New(slog.NewTextHandler(&shown, nil))
	log.Info("x", "made", hook, "got", got, "list", list, "in force", w.rules.Load().hook(contoso.ID, hook.ID).secret)
	fmt.Fprintf(&shown, "%+v %+v %+v", hook, got, list)
	if err := json.NewEncoder(&shown).Encode([]any{hook, got, list}); err != nil {
		t.Fatal(err)
	}
	client := outbound.New(outbound.Options{Policy: outbound.Policy{Loopback: true}})
	t.Cleanup(client.Close)
	result := client.Post(t.Context(), request)
	if result.Answer == nil || result.Sent.Header["X-Api-Key"] != "******" || result.Sent.Header["Webhook-Signature"] != "******" {
		t.Errorf("attempt %+v", result)
	}
	if err := json.NewEncoder(&shown).Encode(result.Sent); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []Change{{CustomHeaders: map[string]string{"Host": "t0k3n"}}, {CustomHeaders: map[string]string{"X": "t0k3n\n"}}} {
		_, err := w.Patch(t.Context(), contoso, "deployhook", bad, ada)
		fmt.Fprintln(&shown, err)
	}
	for _, secret := range secrets {
		if secret == "" || strings.Contains(shown.String(), secret) {
			t.Errorf("%q is shown in %s", secret, shown.String())
		}
	}
}

// TestOfficialVerifierTakesWhatIsSent sends requests over HTTP and has the
// scheme's own library verify the bytes that arrive.
func TestOfficialVerifierTakesWhatIsSent(t *testing.T) {
	t.Parallel()
	type arrived struct {
		header http.Header
		body   []byte
	}
	requests := make(chan arrived, 1)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		requests <- arrived{r.Header, body}
	}))
	t.Cleanup(receiver.Close)
	client := outbound.New(outbound.Options{Policy: outbound.Policy{Loopback: true}})
	t.Cleanup(client.Close)
	w := newWorld(t)
	for i, headers := range []map[string]string{nil, {"Content-Type": "text/plain", "X-Env": "prod"}} {
		name := fmt.Sprintf("hook%d", i)
		w.put(contoso, name, func(d *Definition) { d.ServiceURI, d.CustomHeaders = receiver.URL, headers })
		verifier, err := official.NewWebhook(w.config(contoso, name).SigningSecret)
		if err != nil {
			t.Fatal(err)
		}
		for _, action := range []string{"ping", "push", "delete", "quarantine", "chart_push", "chart_delete", "webhook_failing"} {
			if action == "ping" {
				_, err = w.Ping(t.Context(), contoso, sourceOf(contoso.ID), name)
			} else {
				_, err = w.Test(t.Context(), contoso, sourceOf(contoso.ID), name, action, "ada")
			}
			if err != nil {
				t.Fatal(err)
			}
			owed := w.rang[len(w.rang)-1]
			request, ok := w.Request(ring.Call{Endpoint: owed.owed[0], Event: owed.entry.Event, ACRBody: owed.entry.ACRBody, At: time.Now()})
			if !ok {
				t.Fatal("gone")
			}
			if result := client.Post(t.Context(), request); result.Answer == nil {
				t.Fatal(result.Message)
			}
			got := <-requests
			if err := verifier.Verify(got.body, got.header); err != nil || !bytes.Equal(got.body, owed.entry.ACRBody) {
				t.Errorf("%s with headers %v: %v", action, headers, err)
			}
			if want := headers["Content-Type"]; want != "" && got.header.Get("Content-Type") != want {
				t.Errorf("%s: Content-Type %q, want %q", action, got.header.Get("Content-Type"), want)
			}
		}
	}
}

// TestSigningSecretsAreStrongAndTheirOwn checks secrets made here and given by
// people.
func TestSigningSecretsAreStrongAndTheirOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	seen := map[string]bool{}
	strong := func(secret string) {
		t.Helper()
		raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		if err != nil || len(raw) < 24 || !strings.HasPrefix(secret, "whsec_") || seen[secret] {
			t.Errorf("secret %q of %d bytes, seen before: %v, %v", secret, len(raw), seen[secret], err)
		}
		seen[secret] = true
	}
	for i := range 20 {
		name := fmt.Sprintf("hook%d", i)
		w.put(contoso, name, nil)
		strong(w.config(contoso, name).SigningSecret)
		config, err := w.RotateSecret(t.Context(), contoso, name, "", 0, ada)
		if err != nil {
			t.Fatal(err)
		}
		strong(config.SigningSecret)
	}

	own := signature.New().Reveal()
	const rule = ": write whsec_ and the base64 of 24 to 64 random bytes, for example whsec_$(openssl rand -base64 32)"
	for _, tt := range []struct{ text, want string }{
		{own, ""},
		{own, "the signing secret is the one webhook hook0 has: give another, or none to have one made"},
		{"whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 23)), "the signing secret has 23 bytes" + rule},
		{"correct horse battery staple, whatever", "the signing secret does not begin with whsec_" + rule},
	} {
		config, err := w.RotateSecret(t.Context(), contoso, "hook0", tt.text, time.Hour, ada)
		switch {
		case tt.want != "":
			fails(t, err, fault.Invalid, "", tt.want)
		case err != nil || config.SigningSecret != tt.text:
			t.Errorf("%q: %+v, %v", tt.text, config, err)
		}
		if now := w.config(contoso, "hook0"); now.SigningSecret != own {
			t.Errorf("after %q the secret is %q", tt.text, now.SigningSecret)
		}
	}
}

// TestEachAttemptIsSignedForItsMoment has one event attempted twice: the same id,
// another time, another signature. No id has a dot, which parts what is signed.
func TestEachAttemptIsSignedForItsMoment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hook := w.put(contoso, "deployhook", nil)
	w.happen(event.Push, "web", "v1")
	if _, err := w.Ping(t.Context(), contoso, sourceOf(contoso.ID), "deployhook"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Test(t.Context(), contoso, sourceOf(contoso.ID), "deployhook", "push", "ada"); err != nil {
		t.Fatal(err)
	}
	w.report(ring.Report{Registry: contoso.ID, Endpoint: hook.ID, Condition: ring.Failing})
	verifier, err := official.NewWebhook(w.config(contoso, "deployhook").SigningSecret)
	if err != nil {
		t.Fatal(err)
	}
	if len(w.rang) != 4 {
		t.Fatalf("%d events, want 4", len(w.rang))
	}
	for _, r := range w.rang {
		at := time.Now().Add(-2 * time.Minute)
		call := ring.Call{Endpoint: hook.ID, Event: r.entry.Event, ACRBody: r.entry.ACRBody, At: at}
		first, _ := w.Request(call)
		call.At = at.Add(time.Minute)
		second, _ := w.Request(call)
		for i, request := range []outbound.Request{first, second} {
			if got, want := request.Header.Get("Webhook-Timestamp"), signature.Timestamp(at.Add(time.Duration(i)*time.Minute)); got != want {
				t.Errorf("%s, attempt %d: time %s, want %s", r.entry.Event.Action, i+1, got, want)
			}
			if err := verifier.Verify(request.Body, request.Header); err != nil {
				t.Errorf("%s, attempt %d: %v", r.entry.Event.Action, i+1, err)
			}
		}
		if id := first.Header.Get("Webhook-Id"); id != r.entry.Event.ID || id != second.Header.Get("Webhook-Id") || id == "" || strings.Contains(id, ".") {
			t.Errorf("%s: ids %q and %q", r.entry.Event.Action, id, second.Header.Get("Webhook-Id"))
		}
		if first.Header.Get("Webhook-Signature") == second.Header.Get("Webhook-Signature") {
			t.Errorf("%s: both attempts have one signature", r.entry.Event.Action)
		}
	}
}

// TestRotationOverlaps has receivers with the old and the new secret during the
// overlap and after it.
func TestRotationOverlaps(t *testing.T) { onEach(t, testRotationOverlaps) }

func testRotationOverlaps(t *testing.T, w *world) {
	ctx := t.Context()
	hook := w.put(contoso, "deployhook", func(d *Definition) { d.SignatureHeaders = []string{"github"} })
	waiting := w.happen(event.Push, "web", "v1") // owed before, attempted after
	verifies := func(when, secret string, at time.Time, want bool) {
		t.Helper()
		request, _ := w.Request(ring.Call{Endpoint: hook.ID, Event: waiting, ACRBody: []byte("{}"), At: at})
		verifier, err := official.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		if err := verifier.VerifyIgnoringTimestamp(request.Body, request.Header); (err == nil) != want {
			t.Errorf("%s: %v, want it to verify: %v", when, err, want)
		}
	}
	first := w.config(contoso, "deployhook")
	begun := time.Now()
	second, err := w.RotateSecret(ctx, contoso, "DEPLOYHOOK", "", time.Hour, bob)
	if err != nil {
		t.Fatal(err)
	}
	if second.SigningSecret == first.SigningSecret || second.PreviousSecret != first.SigningSecret || second.PreviousUntil.Sub(begun).Round(time.Minute) != time.Hour {
		t.Errorf("rotated %+v to %+v", first, second)
	}
	if now := w.config(contoso, "deployhook"); !gocmp.Equal(now, second) {
		t.Errorf("config %+v, want %+v", now, second)
	}
	if now, _ := w.Get(ctx, contoso, "deployhook"); now.UpdatedBy != bob {
		t.Errorf("updated by %v", now.UpdatedBy)
	}
	if len(w.endpoints.changed) != 0 {
		t.Error("rotation counts as another address")
	}
	within, after := second.PreviousUntil.Add(-time.Nanosecond), second.PreviousUntil
	check := func() {
		t.Helper()
		verifies("new, within", second.SigningSecret, within, true)
		verifies("old, within", first.SigningSecret, within, true)
		verifies("new, after", second.SigningSecret, after, true)
		verifies("old, after", first.SigningSecret, after, false)
	}
	check()
	w.open(w.DB)
	check()

	// Formats with room for one signature have the new one.
	request, _ := w.Request(ring.Call{Endpoint: hook.ID, Event: waiting, ACRBody: []byte("{}"), At: within})
	secret, _ := signature.Parse(second.SigningSecret)
	if got := request.Header.Values("X-Hub-Signature-256"); len(got) != 1 || got[0] != signature.SignText([]byte("{}"), secret) {
		t.Errorf("X-Hub-Signature-256 %q", got)
	}

	// A second rotation ends the first overlap; without an overlap nothing old
	// is left, neither shown nor stored.
	third, err := w.RotateSecret(ctx, contoso, "deployhook", "", time.Hour, bob)
	if err != nil {
		t.Fatal(err)
	}
	verifies("oldest, after a second rotation", first.SigningSecret, within, false)
	verifies("old, after a second rotation", second.SigningSecret, within, true)
	last, err := w.RotateSecret(ctx, contoso, "deployhook", "", 0, bob)
	if err != nil || last.PreviousSecret != "" || !last.PreviousUntil.IsZero() {
		t.Errorf("%+v, %v", last, err)
	}
	verifies("old, without an overlap", third.SigningSecret, time.Now(), false)
	w.patch(contoso, "deployhook", Change{})
	if r := w.record(contoso, "deployhook"); r.PreviousSecret != "" {
		t.Error("a secret that is over is kept")
	}

	for overlap, want := range map[time.Duration]string{
		-time.Second:             "an overlap of -1s is out of range: use 0 to 168h0m0s (10080 minutes)",
		MaxOverlap + time.Second: "an overlap of 168h0m1s is out of range: use 0 to 168h0m0s (10080 minutes)",
	} {
		_, err := w.RotateSecret(ctx, contoso, "deployhook", "", overlap, bob)
		fails(t, err, fault.Invalid, "", want)
	}
	_, err = w.RotateSecret(ctx, contoso, "otherhook", "", 0, bob)
	fails(t, err, fault.NotFound, "ResourceNotFound", `registry contoso has no webhook "otherhook": dockbell webhook list -r contoso shows those it has`)
}

// TestSimplerSignaturesAreOptional checks that they are there when asked for,
// with the secret as people copy it, and say nothing of time.
func TestSimplerSignaturesAreOptional(t *testing.T) { onEach(t, testSimplerSignaturesAreOptional) }

func testSimplerSignaturesAreOptional(t *testing.T, w *world) {
	fields := map[signature.Style]string{signature.GitHub: "X-Hub-Signature-256", signature.Flux: "X-Signature"}
	hook := w.put(contoso, "deployhook", nil)
	check := func(want ...signature.Style) {
		t.Helper()
		if got, _ := w.Get(t.Context(), contoso, "deployhook"); !gocmp.Equal(got.SignatureHeaders, want) {
			t.Errorf("signature headers %q, want %q", got.SignatureHeaders, want)
		}
		secret, err := signature.Parse(w.config(contoso, "deployhook").SigningSecret)
		if err != nil {
			t.Fatal(err)
		}
		body := []byte(`{"action":"push"}`)
		var values []string
		for _, at := range []time.Time{time.Unix(1, 0), time.Unix(2, 0)} {
			request, _ := w.Request(ring.Call{Endpoint: hook.ID, Event: happened(event.Push, "web", "v1"), ACRBody: body, At: at})
			for style, field := range fields {
				value := ""
				for _, s := range want {
					if s == style {
						value = signature.SignText(body, secret)
					}
				}
				if got := request.Header.Get(field); got != value {
					t.Errorf("%s: %q, want %q", field, got, value)
				}
				values = append(values, value)
			}
		}
		if len(want) == len(fields) && (values[0] != values[2] || values[1] != values[3]) {
			t.Errorf("signatures that differ with the time: %q", values)
		}
	}
	check()
	w.patch(contoso, "deployhook", Change{SignatureHeaders: []string{"GitHub", "flux", "github"}})
	check(signature.Flux, signature.GitHub)
	w.patch(contoso, "deployhook", Change{})
	check(signature.Flux, signature.GitHub)
	w.open(w.DB)
	check(signature.Flux, signature.GitHub)
	w.patch(contoso, "deployhook", Change{SignatureHeaders: []string{}})
	check()
	w.put(contoso, "deployhook", func(d *Definition) { d.SignatureHeaders = []string{"flux"} })
	check(signature.Flux)
	w.put(contoso, "deployhook", nil)
	check()
	_, err := w.Patch(t.Context(), contoso, "deployhook", Change{SignatureHeaders: []string{"gitlab"}}, ada)
	fails(t, err, fault.Invalid, "", `signature header "gitlab" is none this server sends: use github or flux`)
}

// TestEndpointsPerRegistryAreCapped makes webhooks from many sides at once, and
// listeners, which do not count among them.
func TestEndpointsPerRegistryAreCapped(t *testing.T) { onEach(t, testEndpointsPerRegistryAreCapped) }

func testEndpointsPerRegistryAreCapped(t *testing.T, w *world) {
	reg := Registry{ID: 9, Name: "contoso", SKU: "Basic", Limit: 10, Locations: []string{"eastus"}}
	var makers sync.WaitGroup
	for i := range 25 {
		makers.Go(func() {
			if _, _, err := w.Put(t.Context(), reg, fmt.Sprintf("hook%d", i), definition(), ada); err != nil && fault.As(err).Code != "QuotaExceeded" {
				t.Error(err)
			}
		})
	}
	makers.Wait()
	if n := w.count("SELECT count(*) FROM endpoint"); n != reg.Limit {
		t.Errorf("%d endpoints, want %d", n, reg.Limit)
	}
	for range 100 {
		if _, err := w.Listen(t.Context(), reg, Definition{}, ada); err != nil {
			t.Fatal(err)
		}
	}
	_, err := w.Listen(t.Context(), reg, Definition{}, ada)
	fails(t, err, fault.Quota, "QuotaExceeded", "registry contoso has 100 of 100 listeners: end one first")
	if _, _, err = w.Put(t.Context(), reg, "onemore", definition(), ada); fault.As(err).Code != "QuotaExceeded" {
		t.Errorf("with listeners beside: %v", err)
	}
	if n := w.count("SELECT count(*) FROM endpoint"); n != reg.Limit+100 {
		t.Errorf("%d endpoints, want %d", n, reg.Limit+100)
	}
}

// TestBodiesCarryNoCredentials looks for a webhook's secrets in the bodies that
// its own and others' events have.
func TestBodiesCarryNoCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hook := w.put(contoso, "deployhook", func(d *Definition) {
		d.ServiceURI = "https://us3r:p4ssw0rd@hooks.example.net/p4th?code=qu3ry"
		d.CustomHeaders = map[string]string{"Authorization": "Bearer t0k3n"}
	})
	secret := strings.TrimPrefix(w.config(contoso, "deployhook").SigningSecret, "whsec_")
	for _, action := range event.Subscribable {
		if _, err := w.Test(t.Context(), contoso, sourceOf(contoso.ID), "deployhook", string(action), "l0velace"); err != nil {
			t.Fatal(err)
		}
	}
	w.report(ring.Report{Registry: contoso.ID, Endpoint: hook.ID, Condition: ring.Disabled, LastError: strings.Repeat("x", 1<<20)})
	for _, r := range w.rang {
		for _, leak := range []string{"us3r", "p4ssw0rd", "p4th", "qu3ry", "t0k3n", secret, "l0velace"} {
			if bytes.Contains(r.entry.ACRBody, []byte(leak)) {
				t.Errorf("%q is in %s", leak, r.entry.ACRBody)
			}
		}
		if len(r.entry.ACRBody) > 64<<10 {
			t.Errorf("%s: %d bytes", r.entry.Event.Action, len(r.entry.ACRBody))
		}
	}
}

// TestCertificatesAreKeptSealed checks what is taken, that it reaches the
// request, and that nothing of it is shown or stored in clear.
func TestCertificatesAreKeptSealed(t *testing.T) { onEach(t, testCertificatesAreKeptSealed) }

func testCertificatesAreKeptSealed(t *testing.T, w *world) {
	mine, other := newTLS(t), newTLS(t)
	hook := w.put(contoso, "deployhook", func(d *Definition) { d.TLS = mine })
	e := happened(event.Push, "web", "v1")
	check := func(what string, want *TLS) {
		t.Helper()
		request, _ := w.Request(ring.Call{Endpoint: hook.ID, Event: e, At: time.Now()})
		if diff := gocmp.Diff(want, request.TLS); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	check("made", mine)
	w.open(w.DB)
	check("after a restart", mine)
	w.patch(contoso, "deployhook", Change{Tags: map[string]string{"a": "b"}})
	check("after another change", mine)
	if _, _, err := w.Put(t.Context(), contoso, "deployhook", Definition{Location: "eastus", Actions: []string{"push"}}, ada); err != nil {
		t.Fatal(err)
	}
	check("put back as it was read", mine)
	if len(w.endpoints.changed) != 0 {
		t.Errorf("told of changes: %v", w.endpoints.changed)
	}
	w.patch(contoso, "deployhook", Change{TLS: other})
	check("replaced", other)
	w.patch(contoso, "deployhook", Change{TLS: &TLS{CA: mine.CA}})
	check("replaced by a part", &TLS{CA: mine.CA})
	w.put(contoso, "deployhook", func(d *Definition) { d.ServiceURI = "https://other.example.net/" })
	check("another address", nil)
	w.patch(contoso, "deployhook", Change{TLS: mine})
	w.patch(contoso, "deployhook", Change{TLS: &TLS{}})
	check("cleared", nil)
	if n := len(w.endpoints.changed); n != 5 {
		t.Errorf("told of %d changes, want 5", n)
	}

	_, err := w.Patch(t.Context(), contoso, "deployhook", Change{TLS: &TLS{Certificate: mine.Certificate}}, ada)
	fails(t, err, fault.Invalid, "", "clientCertificate has no clientKey: give both, or neither to show the receiver no certificate")
	http := "http://127.0.0.1:9000"
	const clear = "webhook deployhook has certificates, and a service URI that begins with http: give one that begins with https, or take the certificates away"
	_, err = w.Patch(t.Context(), contoso, "deployhook", Change{TLS: mine, ServiceURI: &http}, ada)
	fails(t, err, fault.Invalid, "", clear)
	w.patch(contoso, "deployhook", Change{TLS: mine})
	_, err = w.Patch(t.Context(), contoso, "deployhook", Change{ServiceURI: &http}, ada)
	fails(t, err, fault.Invalid, "", clear)

	r := w.record(contoso, "deployhook")
	if !sameTLS(r.TLS, mine) {
		t.Errorf("stored %+v", r.TLS)
	}
	var shown bytes.Buffer
	got, _ := w.Get(t.Context(), contoso, "deployhook")
	if err := json.NewEncoder(&shown).Encode([]any{got, w.config(contoso, "deployhook")}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(shown.String(), "LS0t") || strings.Contains(shown.String(), "BEGIN") { // LS0t is the base64 of ---
		t.Errorf("certificates are shown: %s", &shown)
	}
}

// newTLS makes an authority, and a certificate with its key.
func newTLS(t *testing.T) *TLS {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return &TLS{CA: certificate, Certificate: certificate, Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})}
}

// record returns all that is stored of a webhook.
func (w *world) record(reg Registry, name string) (r record) {
	w.t.Helper()
	if err := w.DB.Read(w.t.Context(), func(tx *sqldb.Tx) (err error) {
		r, err = w.find(tx, reg, name)
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	return r
}

// report has the store report, as package delivery does.
func (w *world) report(r ring.Report) {
	w.t.Helper()
	if err := w.DB.Write(w.t.Context(), sqldb.Settle, func(tx *sqldb.Tx) error { return w.Report(tx, r) }); err != nil {
		w.t.Fatal(err)
	}
}
