package cli_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/delivery"
)

// again stands for a time that is told in words.
var again = regexp.MustCompile(`in \d+ s`)

// TestHandshake: a receiver that has not agreed shows in what create prints, in
// the list and in words; the command that asks it fails until it agrees.
func TestHandshake(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	sh := srv.shell(t)
	const why = `the answer was 405 "no OPTIONS here", and 200 or 204 is needed`
	const nothing = "nothing is sent to webhook deployhook, because its receiver has not agreed to be rung, and is asked again in N s: " + why +
		"; when that is mended: dockbell webhook handshake -r contoso -n deployhook"
	words := func(s string) string { return again.ReplaceAllString(s, "in N s") }

	got := sh.run("webhook", "create", "-n", "deployhook", "--uri", "https://hooks.example.net/ce", "--actions", "push", "--format", "CloudEvents", "-o", "table")
	if got.code != 0 || words(got.err) != "warning: "+nothing+"\n" {
		t.Errorf("create: %+v", got)
	}
	if sent := strings.Join(srv.sent, "\n"); !strings.Contains(sent, `"format":"cloudevents"`) || strings.Contains(sent, "handshake") {
		t.Errorf("sent %s", sent)
	}
	srv.health = map[int64]delivery.Health{1: {State: delivery.CatchingUp, Behind: 3}}
	got = sh.run("webhook", "list", "-o", "table")
	if want := "NAME        LOCATION    ACTIONS  SCOPE  STATUS      DELIVERED  LAST  WAITING  PARKED   OLDEST\ndeployhook  westeurope  push            no consent  0          405   0        up to 3\n"; got.out != want {
		t.Errorf("list:\n%s\nwant\n%s", got.out, want)
	}
	sh.terminal = true
	got = sh.run("webhook", "show", "-n", "deployhook", "--query", "[format, handshake, consent.given, consent.reason]", "-o", "json")
	if want := "[\n  \"cloudevents\",\n  \"cloudevents\",\n  false,\n  \"the answer was 405 \\\"no OPTIONS here\\\", and 200 or 204 is needed\"\n]\n"; got.out != want || words(got.err) != nothing+"; up to 3 events wait\n" {
		t.Errorf("show: %+v", got)
	}
	sh.terminal = false
	got = sh.run("webhook", "handshake", "-n", "deployhook", "-o", "none")
	if got.code != 1 || got.err != "error: the receiver of webhook deployhook did not agree to be rung: "+why+"\n" {
		t.Errorf("handshake: %+v", got)
	}
	if got = sh.run("webhook", "ping", "-n", "deployhook"); got.code != 1 || !strings.Contains(got.err, "has not agreed to be rung: "+why) {
		t.Errorf("ping: %+v", got)
	}

	srv.agrees = true
	if got = sh.run("webhook", "handshake", "-n", "deployhook", "--query", "consent.[given, maxPerMinute]", "-o", "tsv"); got.code != 0 || got.out != "true\n120\n" || got.err != "" {
		t.Errorf("handshake: %+v", got)
	}
	if got = sh.run("webhook", "ping", "-n", "deployhook", "-o", "none"); got.code != 0 {
		t.Errorf("ping: %+v", got)
	}

	srv.sent = nil
	got = sh.run("webhook", "update", "-n", "deployhook", "--format", "cloudevents-binary", "--handshake", "none", "--query", "[format, handshake, consent]", "-o", "json")
	if want := "[\n  \"cloudevents-binary\",\n  \"none\",\n  null\n]\n"; got.out != want || srv.sent[0] != `PATCH {"properties":{"format":"cloudevents-binary","handshake":"none"}}` {
		t.Errorf("update: %+v, sent %s", got, srv.sent)
	}
	if got = sh.run("webhook", "handshake", "-n", "deployhook"); got.code != 1 || !strings.Contains(got.err, "has no handshake") {
		t.Errorf("handshake without one: %+v", got)
	}
	if got = sh.run("webhook", "update", "-n", "deployhook", "--format", "cloudevent"); got.code != 2 || !strings.Contains(got.err, "did you mean cloudevents?") {
		t.Errorf("a misspelt format: %+v", got)
	}
}

// TestApplyFormats: formats and handshakes in a file, and a second time nothing.
func TestApplyFormats(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	const begin = "webhooks:\n  - {name: deployhook, uri: 'https://hooks.example.net/', actions: [push]"
	for _, step := range []struct{ member, out, sent string }{
		{"", "+ deployhook\n1 created, 0 changed, 0 deleted\n",
			`PUT {"location":"westeurope","properties":{"serviceUri":"https://hooks.example.net/","status":"enabled","actions":["push"]}}`},
		{", format: cloudevents", "~ deployhook  format: acr -> cloudevents; handshake: none -> cloudevents\n0 created, 1 changed, 0 deleted\n",
			`PATCH {"properties":{"format":"cloudevents","handshake":"cloudevents"}}`},
		{", format: cloudevents-binary", "~ deployhook  format: cloudevents -> cloudevents-binary\n0 created, 1 changed, 0 deleted\n",
			`PATCH {"properties":{"format":"cloudevents-binary","handshake":"cloudevents"}}`},
		{", format: cloudevents-binary, handshake: NONE", "~ deployhook  handshake: cloudevents -> none\n0 created, 1 changed, 0 deleted\n",
			`PATCH {"properties":{"handshake":"none"}}`},
		{", handshake: cloudevents", "~ deployhook  format: cloudevents-binary -> acr; handshake: none -> cloudevents\n0 created, 1 changed, 0 deleted\n",
			`PATCH {"properties":{"format":"acr","handshake":"cloudevents"}}`},
		{"", "~ deployhook  handshake: cloudevents -> none\n0 created, 1 changed, 0 deleted\n",
			`PATCH {"properties":{"handshake":"none"}}`},
	} {
		srv.sent = nil
		sh, path := write(t, srv, begin+step.member+"}\n")
		got := applied(t, sh, path)
		if got.code != 0 || got.out != step.out || strings.Join(srv.sent, "\n") != step.sent {
			t.Errorf("%q: %+v, sent %s", step.member, got, srv.sent)
		}
		if asks := strings.Contains(step.sent, `"handshake":"cloudevents"`); asks != strings.Contains(got.err, "has not agreed to be rung") {
			t.Errorf("%q: it says %q", step.member, got.err)
		}
		srv.sent = nil
		if got := applied(t, sh, path); got.out != "nothing to change: the webhooks of registry contoso are as hooks.yaml has them\n" || srv.sent != nil {
			t.Errorf("%q, a second time: %+v, sent %s", step.member, got, srv.sent)
		}
	}

	// Made as it is to stay.
	srv.sent = nil
	sh, path := write(t, srv, "webhooks:\n  - {name: otherhook, uri: 'https://hooks.example.net/', actions: [push], format: cloudevents, handshake: none}\n")
	if got := applied(t, sh, path); got.code != 0 || !strings.HasSuffix(srv.sent[0], `"format":"cloudevents","handshake":"none"}}`) {
		t.Errorf("created: %+v, sent %s", got, srv.sent)
	}
	for _, bad := range []struct{ member, want string }{
		{"format: cloud", `format: "cloud" is not one of acr, cloudevents, cloudevents-binary`},
		{"handshake: maybe", `handshake: "maybe" is not one of cloudevents, none`},
	} {
		sh, path := write(t, srv, begin+", "+bad.member+"}\n")
		if got := applied(t, sh, path); got.code != 1 || !strings.Contains(got.err, "hooks.yaml:2: "+bad.want) {
			t.Errorf("%s: %+v", bad.member, got)
		}
	}
}
