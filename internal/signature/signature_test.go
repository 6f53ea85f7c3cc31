package signature_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	official "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/signature"
)

func parse(t testing.TB, text string) signature.Secret {
	t.Helper()
	s, err := signature.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// signed returns the header of a message.
func signed(id string, at time.Time, body []byte, secrets ...signature.Secret) http.Header {
	timestamp := signature.Timestamp(at)
	return http.Header{
		signature.IDField:        {id},
		signature.TimestampField: {timestamp},
		signature.SignatureField: {signature.Sign(id, timestamp, body, secrets...)},
	}
}

// TestVectors are vectors of Standard Webhooks: of the tests of its reference
// implementations, and of its specification's "Signature scheme".
func TestVectors(t *testing.T) {
	t.Parallel()
	for _, v := range []struct{ secret, id, timestamp, body, want string }{
		{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", `{"test": 2432232314}`,
			"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
		{"whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", "1649367553", `{"email":"test@example.com","username":"test_user"}`,
			"v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="},
	} {
		if got := signature.Sign(v.id, v.timestamp, []byte(v.body), parse(t, v.secret)); got != v.want {
			t.Errorf("%s: %s, want %s", v.id, got, v.want)
		}
	}
}

// TestOfficialLibraryAgrees lets the scheme's own library verify what is signed
// here, and verifies here what it signs.
func TestOfficialLibraryAgrees(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, body := range []string{"", "{}", `{"action":"push"}`, "\x00\xff.\n", strings.Repeat("x", 100_000)} {
		secret := signature.New()
		theirs, err := official.NewWebhook(secret.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		header := signed("5f4c8c0e-7d1b", now, []byte(body), secret)
		if err := theirs.Verify([]byte(body), header); err != nil {
			t.Errorf("%.20q: %v", body, err)
		}
		if err := theirs.Verify([]byte(body+" "), header); err == nil {
			t.Errorf("%.20q: the library takes another body: it proves nothing", body)
		}
		value, err := theirs.Sign("5f4c8c0e-7d1b", now, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		header.Set("webhook-signature", value)
		if err := signature.Verify(header, []byte(body), now, signature.Tolerance, secret); err != nil {
			t.Errorf("%.20q: %v", body, err)
		}
	}
}

func TestSeveralSecrets(t *testing.T) {
	t.Parallel()
	at := time.Unix(1741944413, 0)
	body := []byte("{}")
	older, newer, other := signature.New(), signature.New(), signature.New()
	header := signed("id", at, body, newer, older)
	parts := strings.Split(header.Get("webhook-signature"), " ")
	if len(parts) != 2 || parts[0] != signature.Sign("id", "1741944413", body, newer) || parts[1] != signature.Sign("id", "1741944413", body, older) {
		t.Errorf("signatures %q, want one by each, in order", parts)
	}
	for _, known := range [][]signature.Secret{{newer}, {older}, {other, older}} {
		if err := signature.Verify(header, body, at, time.Second, known...); err != nil {
			t.Error(err)
		}
	}
	if err := signature.Verify(header, body, at, time.Second, other); err == nil {
		t.Error("a secret that signed nothing verifies")
	}
}

// TestRefusals has each way in which a request fails, and what people are told.
func TestRefusals(t *testing.T) {
	t.Parallel()
	secret := parse(t, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	at := time.Unix(1614265330, 0)
	body := []byte(`{"test": 2432232314}`)
	const all = ": a signed one has webhook-id, webhook-timestamp and webhook-signature"
	set := func(name, value string) func(http.Header) { return func(h http.Header) { h.Set(name, value) } }
	for _, tt := range []struct {
		name   string
		change func(http.Header)
		body   string
		now    time.Time
		any    bool // takes any time
		want   string
	}{
		{name: "good"},
		{name: "good at the edge", now: at.Add(5 * time.Minute)},
		{name: "good, made ahead", now: at.Add(-5 * time.Minute)},
		{name: "good, kept for long", now: at.Add(10_000 * time.Hour), any: true},
		{name: "good among others", change: func(h http.Header) {
			h.Set("webhook-signature", "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg== v1,AAAA  v2,x "+h.Get("webhook-signature"))
		}},
		{name: "no id", change: func(h http.Header) { h.Del("webhook-id") }, want: "the request has no webhook-id" + all},
		{name: "no time", change: func(h http.Header) { h.Del("webhook-timestamp") }, want: "the request has no webhook-timestamp" + all},
		{name: "no signature", change: func(h http.Header) { h.Del("webhook-signature") }, want: "the request has no webhook-signature" + all},
		{name: "none", change: func(h http.Header) { clear(h) }, want: "the request has no webhook-id and no webhook-timestamp and no webhook-signature" + all},
		{name: "dot", change: set("webhook-id", "a.b"), want: `webhook-id "a.b" has a dot: dots part what is signed, so an id with one proves nothing`},
		{name: "no number", change: set("webhook-timestamp", "2021-02-25"), want: `webhook-timestamp "2021-02-25" is not a number of seconds since 1970`},
		{name: "another spelling", change: set("webhook-timestamp", "+1614265330"), want: `webhook-timestamp "+1614265330" is not a number of seconds since 1970`},
		{name: "no version", change: set("webhook-signature", "g0hM9SsE"), want: `webhook-signature "g0hM9SsE" has no signature of version 1: one looks like v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=`},
		{name: "another version", change: set("webhook-signature", "v1a,x v2,y"), want: `webhook-signature "v1a,x v2,y" has no signature of version 1: one looks like v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=`},
		{name: "too old", now: at.Add(time.Hour), want: "the signature is right, but it was made 1h0m0s ago (2021-02-25T15:02:10Z): 5m0s is allowed, so that nobody can send an old request again"},
		{name: "too new", now: at.Add(-301 * time.Second), want: "the signature is right, but it was made 5m1s in the future (2021-02-25T15:02:10Z): 5m0s is allowed, so that nobody can send an old request again"},
		{name: "another body", body: `{"test":2432232314}`, want: "no signature matches: tried 1 signature of the request with 1 secret; the secret is another, or the body is not, byte for byte, what was signed"},
		{name: "another id", change: set("webhook-id", "other"), want: "no signature matches: tried 1 signature of the request with 1 secret; the secret is another, or the body is not, byte for byte, what was signed"},
		{name: "another time", change: set("webhook-timestamp", "1614265331"), want: "no signature matches: tried 1 signature of the request with 1 secret; the secret is another, or the body is not, byte for byte, what was signed"},
		{name: "not base64", change: set("webhook-signature", "v1,%%% v1,AAAA"), want: "no signature matches: tried 2 signatures of the request with 1 secret; the secret is another, or the body is not, byte for byte, what was signed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			header := signed("msg_p5jXN8AQM9LWM0D4loKWxJek", at, body, secret)
			if tt.change != nil {
				tt.change(header)
			}
			got, now, tolerance := body, at, signature.Tolerance
			if tt.body != "" {
				got = []byte(tt.body)
			}
			if !tt.now.IsZero() {
				now = tt.now
			}
			if tt.any {
				tolerance = 0
			}
			err := signature.Verify(header, got, now, tolerance, secret)
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (!fault.Is(err, fault.Invalid) || err.Error() != tt.want):
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	const rule = ": write whsec_ and the base64 of 24 to 64 random bytes, for example whsec_$(openssl rand -base64 32)"
	of := func(n int) string { return "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for _, tt := range []struct{ text, want string }{
		{of(24), ""},
		{of(25), ""},
		{of(64), ""},
		{of(23), "the signing secret has 23 bytes" + rule},
		{of(65), "the signing secret has 65 bytes" + rule},
		{"whsec_", "the signing secret has 0 bytes" + rule},
		{"", "the signing secret does not begin with whsec_" + rule},
		{strings.TrimPrefix(of(32), "whsec_"), "the signing secret does not begin with whsec_" + rule},
		{"WHSEC_" + strings.TrimPrefix(of(32), "whsec_"), "the signing secret does not begin with whsec_" + rule},
		{strings.TrimRight(of(32), "="), "the signing secret is not base64 after whsec_" + rule},
		{of(32) + "\n", "the signing secret is not base64 after whsec_" + rule},
		{" " + of(32), "the signing secret does not begin with whsec_" + rule},
		{"whsec_" + strings.Repeat("_", 32), "the signing secret is not base64 after whsec_" + rule},
		{"whsec_" + strings.Repeat("A", 34) + "B=", "the signing secret is not base64 after whsec_" + rule}, // bits left over
	} {
		s, err := signature.Parse(tt.text)
		switch {
		case tt.want == "" && (err != nil || s.Reveal() != tt.text || s.IsZero()):
			t.Errorf("%q: %q, %v", tt.text, s.Reveal(), err)
		case tt.want != "" && (!fault.Is(err, fault.Invalid) || err.Error() != tt.want || !s.IsZero() || s.Reveal() != ""):
			t.Errorf("%q: got  %v\nwant %s", tt.text, err, tt.want)
		}
	}
}

// TestNewSecretsAreStrong checks length and that no two are alike.
func TestNewSecretsAreStrong(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 100 {
		text := signature.New().Reveal()
		raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "whsec_"))
		if err != nil || len(raw) != 32 || !strings.HasPrefix(text, "whsec_") || seen[text] || bytes.Count(raw, raw[:1]) == 32 {
			t.Fatalf("secret %q", text)
		}
		seen[text] = true
		if parse(t, text).Reveal() != text {
			t.Fatalf("%q reads as another", text)
		}
	}
}

// TestSecretsDoNotPrint tries every way in which one gets into a log.
func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	secret := signature.New()
	type config struct {
		Name   string
		Secret signature.Secret
		hidden []signature.Secret
	}
	v := config{"x", secret, []signature.Secret{secret}}
	var out bytes.Buffer
	fmt.Fprintf(&out, "%v %+v %#v %s %q %x %d", secret, secret, secret, secret, secret, secret, secret)
	fmt.Fprintf(&out, "%v %+v %#v %s %x", v, v, &v, v, v)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "secret", secret, "config", v)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "secret", secret, "config", v)
	if err := json.NewEncoder(&out).Encode(v); err != nil {
		t.Fatal(err)
	}
	raw, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret.Reveal(), "whsec_"))
	for _, leak := range []string{strings.TrimPrefix(secret.Reveal(), "whsec_"), string(raw), hex.EncodeToString(raw), strings.Trim(fmt.Sprint(raw), "[]")} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("the secret is in %s", out.String())
		}
	}
	if !strings.HasPrefix(out.String(), "whsec_[redacted] whsec_[redacted]") {
		t.Errorf("printed as %.60s", out.String())
	}
	if got := fmt.Sprint(signature.Secret{}); got != "" {
		t.Errorf("no secret prints as %q", got)
	}
}

// TestStyles computes the signatures as such receivers do, with the text that
// people copied into their settings.
func TestStyles(t *testing.T) {
	t.Parallel()
	secret := signature.New()
	body := []byte(`{"action":"push"}`)
	mac := hmac.New(sha256.New, []byte(secret.Reveal()))
	mac.Write(body)
	if got, want := signature.SignText(body, secret), "sha256="+hex.EncodeToString(mac.Sum(nil)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for _, tt := range []struct {
		value, body string
		secret      signature.Secret
		want        bool
	}{
		{signature.SignText(body, secret), string(body), secret, true},
		{signature.SignText(body, secret), string(body) + " ", secret, false},
		{signature.SignText(body, secret), string(body), signature.New(), false},
		{strings.TrimPrefix(signature.SignText(body, secret), "sha256="), string(body), secret, false},
		{"", string(body), secret, false},
	} {
		if got := signature.VerifyText(tt.value, []byte(tt.body), signature.New(), tt.secret); got != tt.want {
			t.Errorf("%q of %q: %v, want %v", tt.value, tt.body, got, tt.want)
		}
	}
	for name, field := range map[string]string{"github": "X-Hub-Signature-256", "Flux": "X-Signature"} {
		style, err := signature.ParseStyle(name)
		if err != nil || style.Field() != field || http.CanonicalHeaderKey(field) != field {
			t.Errorf("%s: field %s, %v", name, style.Field(), err)
		}
	}
	if _, err := signature.ParseStyle("gitlab"); !fault.Is(err, fault.Invalid) || err.Error() != `signature header "gitlab" is none this server sends: use github or flux` {
		t.Error(err)
	}
}

// FuzzParse checks that whatever is taken for a secret is one that the scheme's
// own library reads as the same, and that no message repeats it.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", "whsec_====", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS="} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := signature.Parse(text)
		if err != nil {
			if encoded := strings.TrimPrefix(text, "whsec_"); len(encoded) > 20 && strings.Contains(err.Error(), encoded) {
				t.Fatalf("the message repeats the secret: %v", err)
			}
			return
		}
		if s.Reveal() != text {
			t.Fatalf("%q became %q", text, s.Reveal())
		}
		theirs, err := official.NewWebhook(text)
		if err != nil {
			t.Fatalf("%q is taken here, and not by the library: %v", text, err)
		}
		at := time.Unix(1614265330, 0)
		want, _ := theirs.Sign("id", at, []byte("body"))
		if got := signature.Sign("id", signature.Timestamp(at), []byte("body"), s); got != want {
			t.Fatalf("%q signs %s, with the library %s", text, got, want)
		}
	})
}

// FuzzVerify checks that what is taken is taken by the scheme's own library too,
// whatever a stranger sends.
func FuzzVerify(f *testing.F) {
	secret := parse(f, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	theirs, err := official.NewWebhook(secret.Reveal())
	if err != nil {
		f.Fatal(err)
	}
	const good = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	for _, value := range []string{good, "", "v1,", good + " " + good, "v1a,x " + good, good + ",x", "v1, v1,x"} {
		f.Add("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", value, []byte(`{"test": 2432232314}`))
		f.Add("a.b", "-9223372036854775808", value, []byte{})
		f.Add("a", "9223372036854775807", value, []byte{})
	}
	f.Fuzz(func(t *testing.T, id, timestamp, value string, body []byte) {
		header := http.Header{}
		header.Set("webhook-id", id)
		header.Set("webhook-timestamp", timestamp)
		header.Set("webhook-signature", value)
		ours := signature.Verify(header, body, time.Unix(1614265330, 0), 0, secret)
		if err := theirs.VerifyIgnoringTimestamp(body, header); ours == nil && err != nil {
			t.Fatalf("taken, but not by the library: %v", err)
		}
		if ours == nil && strings.Contains(id, ".") {
			t.Fatal("an id with a dot is taken")
		}
		if err := signature.Verify(header, body, time.Unix(1614265330, 0), signature.Tolerance, secret); ours != nil && err == nil {
			t.Fatalf("taken with a tolerance, and without: %v", ours)
		}
	})
}

func BenchmarkSign(b *testing.B) {
	secret := signature.New()
	body := []byte(strings.Repeat("x", 600))
	b.ReportAllocs()
	for b.Loop() {
		signature.Sign("5f4c8c0e-7d1b-4a6e-9a25-2f6f0a6a7c11", "1741944413", body, secret)
	}
}
