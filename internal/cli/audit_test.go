package cli_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestAuditAndSigningKeys runs the commands of whoever looks after a server.
func TestAuditAndSigningKeys(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	sh := srv.shell(t)
	sh.terminal = true
	sh.env["NO_COLOR"] = "1"
	sh.run(split(create)...)
	sh.run(split("webhook get-config -n deployhook")...)
	sh.run(split("webhook update -n deployhook --scope '*'")...)
	shown := transcript(sh,
		"audit list",
		"audit list --since 1h --action registries/webhooks/GET",
		"audit list -r contoso --outcome failed -o wide",
		"audit list --until 2020-01-01",
		"audit list --top 0",
		"audit list --outcome perhaps",
		"audit list -r contoso --top 1 -o json",
		"audit list -r fabrikam9",
		"signing-key list",
		"signing-key rotate",
		"signing-key rotate",
		"signing-key rotate --revoke -o json",
		"signing-key list --query '[].state' -o tsv",
		"audit list --action signingKeys --query '[].detail' -o tsv",
	)
	golden(t, "audit.txt", anyAge.ReplaceAllString(anyKey.ReplaceAllString(shown, "(key)"), "(age)  "))
}

// TestAuditPages reads more than a page holds.
func TestAuditPages(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	sh := srv.shell(t)
	sh.run(split(create)...)
	for range 120 {
		sh.run(split("webhook update -n deployhook --scope 'team/*:*'")...)
	}
	for top, want := range map[int]int{1: 1, 100: 100, 115: 115, 1000: 121} {
		got := sh.run("audit", "list", "--top", fmt.Sprint(top), "--since", "1h", "--query", "[].action", "-o", "tsv")
		if n := strings.Count(got.out, "registries/webhooks/write"); got.code != 0 || n != want {
			t.Errorf("--top %d: %d entries, want %d: %s", top, n, want, got.err)
		}
	}
	if got := sh.run("audit", "list", "--until", time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)); got.out != "[]\n" {
		t.Errorf("%+v", got)
	}
}
