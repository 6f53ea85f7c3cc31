package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/signature"
)

const (
	testSecret  = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	otherSecret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
)

var testNow = time.Unix(1614265334, 0)

// testRequest is the example of Standard Webhooks, signed four seconds before
// testNow.
const testRequest = "POST /hook HTTP/1.1\r\n" +
	"Host: hooks.example.net\r\n" +
	"Authorization: Bearer s3cret\r\n" +
	"Content-Length: 20\r\n" +
	"Webhook-Id: msg_p5jXN8AQM9LWM0D4loKWxJek\r\n" +
	"webhook-timestamp: 1614265330\r\n" +
	"WEBHOOK-SIGNATURE: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=\r\n" +
	"\r\n" +
	`{"test": 2432232314}`

func testKeys(t testing.TB, secrets ...string) []key {
	t.Helper()
	var keys []key
	for i, s := range secrets {
		k, err := readKeys(fmt.Sprint("secret ", i+1), s)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k...)
	}
	return keys
}

func TestVerifyCapture(t *testing.T) {
	t.Parallel()
	replace := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(testRequest) }
	secret, err := signature.Parse(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	style := signature.SignText([]byte(`{"test": 2432232314}`), secret)
	withStyle := func(value string) string { return replace("Host:", "X-Hub-Signature-256: "+value+"\r\nHost:") }
	_, body, _ := strings.Cut(testRequest, "\r\n\r\n")
	for _, tt := range []struct {
		name, request string
		secrets       []string
		after         time.Duration // testNow
		tolerance     time.Duration
		want          string
	}{
		{"as it came", testRequest, nil, 0, time.Minute, "valid: signed 4 s ago with secret 1"},
		{"line ends without a carriage return", replace("\r\n", "\n"), nil, 0, time.Minute, "valid: signed 4 s ago with secret 1"},
		{"no request line", replace("POST /hook HTTP/1.1\r\n", ""), nil, 0, time.Minute, "valid: signed 4 s ago with secret 1"},
		{"HTTP/2", replace("HTTP/1.1", "HTTP/2"), nil, 0, time.Minute, "valid: signed 4 s ago with secret 1"},
		{"a line end behind the body", testRequest + "\n", nil, 0, time.Minute, "valid: signed 4 s ago with secret 1"},
		{"no length, a line end behind the body", replace("Content-Length: 20\r\n", "") + "\r\n", nil, 0, time.Minute, "valid: signed 4 s ago with secret 1"},
		{"no length", replace("Content-Length: 20\r\n", ""), nil, 0, time.Minute, "valid: signed 4 s ago with secret 1"},
		{"the previous secret", testRequest, []string{otherSecret, testSecret}, 0, time.Minute, "valid: signed 4 s ago with secret 2"},
		{"the other format", withStyle(style), nil, 0, time.Minute, "valid: signed 4 s ago with secret 1"},
		{"old, any age", testRequest, nil, 50 * time.Hour, 0, "valid: signed 2 days ago with secret 1"},
		{"clocks differ", testRequest, nil, -2 * time.Minute, 5 * time.Minute, "valid: signed for a time that is 1 min ahead of this clock with secret 1"},

		{"old", testRequest, nil, 3 * time.Hour, 5 * time.Minute, "not valid: the signature is right, but it was made 3h0m4s ago (2021-02-25T15:02:10Z): 5m0s is allowed, so that nobody can send an old request again; for a request that was kept use --tolerance 0"},
		{"another secret", testRequest, []string{otherSecret}, 0, time.Minute, "not valid: no signature matches: tried 1 signature of the request with 1 secret; the secret is another, or the body is not, byte for byte, what was signed"},
		{"another body", replace("2432232314", "2432232315"), nil, 0, time.Minute, "not valid: no signature matches: tried 1 signature of the request with 1 secret; the secret is another, or the body is not, byte for byte, what was signed"},
		{"another body, and old", replace("2432232314", "2432232315"), nil, 3 * time.Hour, time.Minute, "not valid: no signature matches: tried 1 signature of the request with 1 secret; the secret is another, or the body is not, byte for byte, what was signed"},
		{"two line ends behind the body", replace("Content-Length: 20\r\n", "") + "\n\n", nil, 0, time.Minute, "not valid: no signature matches: tried 1 signature of the request with 1 secret; the secret is another, or the body is not, byte for byte, what was signed"},
		{"the other format, wrong", withStyle("sha256=00"), nil, 0, time.Minute, "not valid: webhook-signature is right, and X-Hub-Signature-256 is made with another secret"},
		{"unsigned", replace("Webhook-Id", "X-Id", "WEBHOOK-SIGNATURE", "X-Signature-Of"), nil, 0, time.Minute, "not valid: the request has no webhook-id and no webhook-signature: a signed one has webhook-id, webhook-timestamp and webhook-signature"},

		{"nothing", " \r\n", nil, 0, 0, "there is no request to verify: give the whole request, headers and body, in a file or on standard input"},
		{"the body alone", body, nil, 0, 0, "the request's headers cannot be read: each is a line like Webhook-Id: value, and an empty line parts them from the body"},
		{"the body alone, with a line end", body + "\n", nil, 0, 0, "the request's headers cannot be read: each is a line like Webhook-Id: value, and an empty line parts them from the body"},
		{"cut off in the headers", testRequest[:100], nil, 0, 0, "the request's headers cannot be read: each is a line like Webhook-Id: value, and an empty line parts them from the body"},
		{"cut off in the body", testRequest[:len(testRequest)-3], nil, 0, 0, "the request has 17 bytes of body and says 20: the capture was cut off, or changed"},
		{"no length there is", replace("Content-Length: 20", "Content-Length: -20"), nil, 0, 0, "the request's Content-Length is no number of bytes"},
		{"a header that is none", replace("Host: hooks.example.net", "s3cret s3cret"), nil, 0, 0, "the request's headers cannot be read: each is a line like Webhook-Id: value, and an empty line parts them from the body"},
	} {
		secrets := tt.secrets
		if secrets == nil {
			secrets = []string{testSecret}
		}
		got := ""
		c, err := parseCapture([]byte(tt.request))
		if err == nil {
			got, err = c.verify(testKeys(t, secrets...), testNow.Add(tt.after), tt.tolerance)
		}
		if err != nil {
			got = fault.As(err).Message
		}
		if got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

// FuzzCapture checks that whatever is read as a request, nothing of it is in an
// error, and that a changed body is never valid.
func FuzzCapture(f *testing.F) {
	f.Add([]byte(testRequest))
	f.Add([]byte(strings.ReplaceAll(testRequest, "\r\n", "\n")))
	f.Add([]byte(testRequest[20:]))
	f.Add([]byte("A: b\n\n"))
	f.Add([]byte("POST / HTTP/1.1\n\n"))
	f.Add([]byte("Content-Length: 99999999999\n\nx"))
	f.Add([]byte("A: b\n c\n: d\n\n"))
	f.Add([]byte("\n\n"))
	keys := testKeys(f, testSecret)
	signed := []byte(`{"test": 2432232314}`)
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parseCapture(text)
		if err != nil {
			if m := fault.As(err); m.Kind != fault.Invalid || strings.ContainsAny(m.Message, "\r\n") {
				t.Errorf("%q: error %v", text, err)
			}
			return
		}
		if !bytes.HasSuffix(text, c.body) && !c.sized(text) {
			t.Errorf("%q: the body %q is not what the request ends with", text, c.body)
		}
		if verdict, err := c.verify(keys, testNow, 0); err == nil && !bytes.Equal(bytes.TrimRight(c.body, "\r\n"), signed) {
			t.Errorf("%q: %s, with the body %q", text, verdict, c.body)
		}
	})
}

// sized reports whether the request says how long its body is, and has that.
func (c capture) sized(text []byte) bool {
	return !c.loose && bytes.Contains(text, c.body) && c.header.Get("Content-Length") != ""
}

func TestSpans(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"0": 0, "90s": 90 * time.Second, "5m": 5 * time.Minute, "7d": 168 * time.Hour, "1d12h": 36 * time.Hour, "0d": 0,
		"": -1, "-5m": -1, "1d-2h": -1, "d": -1, "2": -1, "x": -1, "1dd": -1, "99999999d": -1, "1.5d": -1, "9999999h": -1,
	} {
		var s span
		if err := s.Set(text); err != nil {
			s.Duration = -1
		}
		if s.Duration != want {
			t.Errorf("%q is %s, want %s", text, s.Duration, want)
		}
	}
	for d, want := range map[time.Duration]string{24 * time.Hour: "24h", 5 * time.Minute: "5m", 90 * time.Second: "1m30s", 0: "0s"} {
		if got := (&span{d}).String(); got != want {
			t.Errorf("%d is printed as %s, want %s", d, got, want)
		}
	}
}

func TestMoments(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"2026-11-20":                "2026-11-20T00:00:00Z",
		"2026-11-20T15:04:05Z":      "2026-11-20T15:04:05Z",
		"2026-11-20T15:04:05+02:00": "2026-11-20T13:04:05Z",
	} {
		var m moment
		if err := m.Set(text); err != nil || m.UTC().Format(time.RFC3339) != want {
			t.Errorf("%s is %s, %v", text, m.Time, err)
		}
	}
	var m moment
	if err := m.Set("3d"); err != nil || time.Since(m.Time).Round(time.Minute) != 72*time.Hour {
		t.Errorf("3d is %s, %v", m.Time, err)
	}
	for _, text := range []string{"", "yesterday", "-2h", "2026-13-01", "15:04"} {
		if m.Set(text) == nil {
			t.Errorf("%q is taken for %s", text, m.Time)
		}
	}
}

func TestAges(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Hour: "0s 0 s", 0: "0s 0 s", 59*time.Second + 999*time.Millisecond: "59s 59 s", time.Minute: "1m 1 min", 119 * time.Minute: "1h 1 h",
		24 * time.Hour: "1d 1 day", 300 * time.Hour: "12d 12 days",
	} {
		if got := age(d) + " " + inWords(d); got != want {
			t.Errorf("%s is %s, want %s", d, got, want)
		}
	}
}
