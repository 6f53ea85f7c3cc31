package cli_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/delivery"
	"github.com/dockbell/dockbell/internal/signature"
)

// TestHealth shows how webhooks fare.
func TestHealth(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	sh := srv.shell(t)
	now := time.Now()
	for i, name := range []string{"alivehook", "catchhook", "deadhook", "failhook", "pausedhook"} {
		sh.run(split("webhook create -n " + name + " --uri https://hooks.example.net/acr --actions push")...)
		srv.setHealth(int64(i+1), []delivery.Health{
			{State: delivery.Live, LastAttempt: now, LastSuccess: now, LastStatus: 200},
			{State: delivery.CatchingUp, LastAttempt: now, LastStatus: 200, Waiting: 12, Behind: 300, Oldest: now.Add(-5 * time.Hour)},
			{State: delivery.Failing, LastStatus: 410, DeadLetters: 31},
			{State: delivery.Failing, FailStreak: 7, FirstFail: now.Add(-130 * time.Minute), LastAttempt: now, LastError: "connect", Waiting: 1, Oldest: now.Add(-130 * time.Minute),
				NextAttempt: now.Add(150 * time.Second), DeadLetters: 3},
			{State: delivery.Paused, PausedAt: now.Add(-time.Hour), Waiting: 2, Oldest: now.Add(-45 * time.Minute)},
		}[i])
	}
	delivered := delivery.Point{At: now}
	delivered.Count(delivery.Delivered, true, 12*time.Millisecond)
	srv.statistics = map[int64]delivery.Statistics{1: {Points: []delivery.Point{delivered}}}
	sh.run(split("webhook update -n deadhook --status disabled")...)
	got := transcript(sh, "webhook list -o json --query '[3].health'", "webhook list -o json --query '[0].health'")
	sh.terminal, sh.env["NO_COLOR"] = true, "1"
	got += transcript(sh,
		"webhook list",
		"webhook list -o wide",
		"webhook show -n alivehook",
		"webhook show -n catchhook",
		"webhook show -n deadhook",
		"webhook show -n failhook",
		"webhook show -n pausedhook",
		"webhook resume -n pausedhook",
		"webhook pause -n pausedhook",
		"webhook update -n pausedhook --order none",
	)
	golden(t, "health.txt", got)

	delete(sh.env, "NO_COLOR")
	if got := sh.run("webhook", "list"); !strings.Contains(got.out, "\x1b[32mok\x1b[0m") || !strings.Contains(got.out, "\x1b[31mfailing\x1b[0m") || !strings.Contains(got.out, "\x1b[31mconnect\x1b[0m") {
		t.Errorf("colours: %q", got.out)
	}
}

// steps makes a replay go on by one step each time it is looked at.
func steps(r *delivery.Replay) {
	switch {
	case r.State != delivery.ReplayRunning:
	case r.Looked < r.ToLook:
		r.Looked += 20
		r.Matched += 4
		r.Delivered++
	default:
		r.Delivered, r.Refused, r.Dead = 5, 1, 2
		r.State, r.EndedAt = delivery.ReplayDone, time.Now()
	}
}

// TestReplays runs the commands that ring once more.
func TestReplays(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	sh := srv.shell(t)
	sh.run(split(create)...)
	srv.look = steps
	srv.dead = []delivery.DeadLetter{
		{ID: 9, Count: 31, PosFrom: 100, PosTo: 140, Reason: "not delivered within 72h", At: time.Now().Add(-90 * time.Second), EventID: "e100", EventAt: time.Now().Add(-73 * time.Hour)},
		{ID: 4, Count: 1, PosFrom: 7, PosTo: 7, Reason: "30 attempts failed", At: time.Now().Add(-50 * time.Hour), Expired: true},
	}
	lines := []string{
		"webhook replays list -n deployhook",
		"webhook redeliver -n deployhook --event e5",
		"webhook replay -n deployhook --failed --since 2026-03-14 --no-wait",
		"webhook replay -n deployhook --after 0 --actions push delete --repository 'team/*' --uri http://audit.example.net",
		"webhook dead-letters list -n deployhook",
		"webhook dead-letters redrive -n deployhook --ids 9 4",
		"webhook replays list -n deployhook",
		"webhook replays cancel -n deployhook --id 1",
		"webhook replays show -n deployhook --id 1",
		"webhook replays show -n deployhook --id 99",
		"webhook dead-letters purge -n deployhook --all",
		"webhook dead-letters list -n deployhook",
	}
	golden(t, "replays-json.txt", transcript(sh, lines...))

	srv.replays = nil
	srv.dead = append(srv.dead, delivery.DeadLetter{ID: 10, Count: 2, Reason: "410 Gone", At: time.Now().Add(-90 * time.Second), EventID: "e200", EventAt: time.Now().Add(-90 * time.Minute)})
	sh.terminal, sh.env["NO_COLOR"] = true, "1"
	golden(t, "replays-terminal.txt", transcript(sh, lines...))
}

func TestReplayProgress(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	sh := srv.shell(t)
	sh.run(split(create)...)
	srv.look = steps
	const replay = "webhook replay -n deployhook --failed -o none"
	if got, want := sh.run(split(replay)...).err, "replay 1: 0 of 40 looked at, 0 matched\n"+
		"replay 1: 40 of 40 looked at, 8 matched, 5 delivered, 1 refused, 2 given up\n"; got != want {
		t.Errorf("lines:\n%s\nwant\n%s", got, want)
	}
	sh.terminal = true
	if got, want := sh.run(split(replay)...).err, "\r[....................]   0 %  replay 2: 0 of 40 looked at, 0 matched\x1b[K"+
		"\r[##..................]  12 %  replay 2: 20 of 40 looked at, 4 matched, 1 delivered, 3 under way\x1b[K"+
		"\r[#####...............]  25 %  replay 2: 40 of 40 looked at, 8 matched, 2 delivered, 6 under way\x1b[K"+
		"\r[####################] 100 %  replay 2: 40 of 40 looked at, 8 matched, 5 delivered, 1 refused, 2 given up\x1b[K\n"+
		"next: dockbell webhook dead-letters list -r contoso -n deployhook\n"; got != want {
		t.Errorf("bar:\n%q\nwant\n%q", got, want)
	}
}

// TestReplayIsLeft interrupts a command that follows a replay.
func TestReplayIsLeft(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	sh := srv.shell(t)
	sh.run(split(create)...)
	ctx, interrupt := context.WithCancel(t.Context())
	sh.ctx = ctx
	srv.look = func(*delivery.Replay) { interrupt() }
	got := sh.run(split("webhook replay -n deployhook --failed")...)
	if want := "replay 1: 0 of 40 looked at, 0 matched\n" +
		"error: interrupted, and replay 1 goes on: dockbell webhook replays cancel -r contoso -n deployhook --id 1 ends it\n"; got.code != 1 || got.err != want || got.out != "" {
		t.Errorf("%+v, want\n%s", got, want)
	}
	if srv.replays[0].State != delivery.ReplayRunning {
		t.Errorf("the replay is %s", srv.replays[0].State)
	}
}

func TestReplayIsCancelled(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	sh := srv.shell(t)
	sh.run(split(create)...)
	srv.look = func(r *delivery.Replay) {
		r.Looked, r.Matched, r.Delivered, r.State = 20, 4, 1, delivery.ReplayCancelled
	}
	got := sh.run(split("webhook replay -n deployhook --failed")...)
	if want := "error: replay 1 was cancelled after 20 of 40 looked at, 4 matched, 1 delivered, 3 under way\n"; got.code != 1 || !strings.HasSuffix(got.err, want) {
		t.Errorf("%+v, want\n%s", got, want)
	}
}

// TestReplayOutlivesServer follows a replay over a time without a server.
func TestReplayOutlivesServer(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	sh := srv.shell(t)
	sh.run(split(create)...)
	srv.look = steps
	looks := 0
	sh.transport = func(r *http.Request) (*http.Response, error) {
		if strings.Contains(r.URL.Path, "/replays/") {
			if looks++; looks < 3 {
				return nil, fmt.Errorf("connection refused")
			}
		}
		return http.DefaultTransport.RoundTrip(r)
	}
	if got := sh.run(split("webhook replay -n deployhook --failed -o json --query state")...); got.code != 0 || got.out != "\"done\"\n" {
		t.Errorf("%+v", got)
	}
}

// TestRotation gives a webhook a new secret and verifies with either.
func TestRotation(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	sh := srv.shell(t)
	sh.run(split(create)...)
	first := strings.TrimSpace(sh.run(split("webhook get-config -n deployhook --query signingSecret -o tsv")...).out)
	rotated := sh.run(split("webhook rotate-secret -n deployhook --query signingSecret -o tsv")...)
	second := strings.TrimSpace(rotated.out)
	if first == second || !strings.HasPrefix(second, "whsec_") {
		t.Fatalf("%q after %q: %+v", second, first, rotated)
	}
	if got := strings.Fields(sh.run(split("webhook get-config -n deployhook --query '[signingSecret,previousSigningSecret]' -o tsv")...).out); len(got) != 2 || got[0] != second || got[1] != first {
		t.Errorf("get-config shows %q, want %s and %s", got, second, first)
	}

	for _, tt := range []struct{ name, secret, args, want string }{
		{"new", second, "-n deployhook", `^valid: signed \d s ago with the secret of webhook deployhook\n$`},
		{"previous", first, "-n deployhook", `^valid: signed \d s ago with the previous secret of webhook deployhook, which signs until 20\S+Z\n$`},
		{"given", first, "--secret " + first, `^valid: signed \d s ago with the secret given\n$`},
	} {
		file := filepath.Join(t.TempDir(), "request.txt")
		if err := os.WriteFile(file, []byte(signed(t, tt.secret)), 0o600); err != nil {
			t.Fatal(err)
		}
		got := sh.run(split("webhook verify " + file + " " + tt.args)...)
		if got.code != 0 || got.err != "" || !regexp.MustCompile(tt.want).MatchString(got.out) {
			t.Errorf("%s: %+v, want %s", tt.name, got, tt.want)
		}
	}

	sh.terminal = true
	got := sh.run(split("webhook rotate-secret -n deployhook --overlap 0")...)
	if want := regexp.MustCompile(`^SIGNING SECRET +PREVIOUS SIGNS\nwhsec_\S+  no more\n$`); got.code != 0 || !want.MatchString(got.out) {
		t.Errorf("%+v", got)
	}
}

// signed returns a request that was signed just now.
func signed(t *testing.T, secret string) string {
	t.Helper()
	s, err := signature.Parse(secret)
	if err != nil {
		t.Fatal(err)
	}
	at, body := signature.Timestamp(time.Now()), `{"id":"e1"}`
	return "POST /acr HTTP/1.1\nWebhook-Id: e1\nWebhook-Timestamp: " + at + "\nWebhook-Signature: " + signature.Sign("e1", at, []byte(body), s) + "\n\n" + body
}

// TestVerifyAlone verifies without a server.
func TestVerifyAlone(t *testing.T) {
	t.Parallel()
	const secret, other = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
	request := signed(t, secret)
	dir := t.TempDir()
	for _, tt := range []struct {
		name, stdin, env, args string
		code                   int
		want                   string
	}{
		{"standard input", request, secret, "", 0, `^valid: signed \d s ago with the secret given\n$`},
		{"dash", request, secret, "-", 0, `^valid: `},
		{"a flag is stronger", request, other, "--secret " + secret, 0, `^valid: `},
		{"not valid", request, other, "", 1, `^error: not valid: no signature matches: `},
		{"no secret", request, "", "", 2, `^error: there is no secret to verify with: use -n for that of a webhook, DOCKBELL_WEBHOOK_SECRET, or --secret\n$`},
		{"bad secret", request, "whsec_s3cret", "", 1, `^error: the signing secret is not base64 after whsec_: `},
		{"two secrets", request, "", "-n deployhook --secret x", 2, `^error: there are two secrets to verify with: give either --secret or -n\n$`},
		{"two files", request, "", "a b", 2, `^error: dockbell webhook verify takes one file, and "b" is the second\n$`},
		{"no file", request, secret, filepath.Join(dir, "nosuch"), 1, `^error: \S+nosuch cannot be read: no such file or directory\n$`},
		{"too large", strings.Repeat("x", 1<<20+1), secret, "", 1, `^error: the request is larger than 1048576 bytes\n$`},
		{"no server", request, "", "-n deployhook", 1, `^error: no server is named: `},
	} {
		sh := newShell(t)
		sh.stdin = tt.stdin
		sh.env["DOCKBELL_WEBHOOK_SECRET"] = tt.env
		got := sh.run(append([]string{"webhook", "verify"}, strings.Fields(tt.args)...)...)
		if got.code != tt.code || !regexp.MustCompile(tt.want).MatchString(got.out+got.err) {
			t.Errorf("%s: %+v, want %s", tt.name, got, tt.want)
		}
		if strings.Contains(got.out+got.err, "s3cret") || strings.Contains(got.out+got.err, secret) || strings.Contains(got.out+got.err, other) {
			t.Errorf("%s: a secret is printed: %+v", tt.name, got)
		}
	}
}

// TestCertificates sends the files of the TLS flags.
func TestCertificates(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	sh := srv.shell(t)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	// The server refuses what is in it, which does not matter here.
	sh.run(split(create + "--ca-file " + file)...)
	if got, want := strings.Join(srv.sent, "; "), `"tls":{"caCertificates":"no PEM"}`; !strings.Contains(got, want) {
		t.Errorf("sent %s, want %s in it", got, want)
	}
	if got := sh.run(split(create + "--client-key " + file + ".nosuch")...); got.code != 2 || !strings.HasPrefix(got.err, "error: --client-key: "+file+".nosuch cannot be read: ") {
		t.Errorf("%+v", got)
	}
}
