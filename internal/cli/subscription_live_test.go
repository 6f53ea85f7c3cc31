package cli_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/delivery"
	"github.com/dockbell/dockbell/internal/outbound"
)

// anyHour stands for an hour of the day.
var anyHour = regexp.MustCompile(`\d\d:\d\d:\d\d UTC`)

// subscriber is what the receiver of an event subscription says that is asked whether
// it agrees: one whose address has "slow" in it takes the question and does not answer
// it, one with "deaf" in it knows no such thing.
func subscriber(r outbound.Request) outbound.Result {
	res := outbound.Result{Started: time.Now(), Answer: outbound.NewAnswer(http.StatusOK, nil)}
	switch {
	case strings.Contains(r.URL, "slow"):
	case strings.Contains(r.URL, "deaf"):
		res.Answer, res.Body = outbound.NewAnswer(http.StatusNotFound, nil), []byte("no such page")
	case r.Method == http.MethodOptions:
		res.Answer = outbound.NewAnswer(http.StatusOK, map[string]string{"Webhook-Allowed-Origin": "*"})
	default:
		var asked []struct {
			Data struct{ ValidationCode string }
		}
		if err := json.Unmarshal(r.Body, &asked); err == nil && len(asked) == 1 {
			res.Body = []byte(`{"validationResponse":"` + asked[0].Data.ValidationCode + `"}`)
		}
	}
	return res
}

// TestSubscriptionsLive runs the commands against the real control plane.
func TestSubscriptionsLive(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	sh := srv.shell(t)
	sh.stdin = "pa ss\n"
	scope := strings.TrimSpace(sh.run("registry", "show", "-n", "contoso", "--query", "id", "-o", "tsv").out)
	for _, line := range []string{
		"event-subscription create --source-resource-id " + scope + " -n on-push --endpoint https://hooks.example.net/in?code=s3cret --event-delivery-schema cloudeventschemav1_0 " +
			"--included-event-types Microsoft.ContainerRegistry.ImagePushed Dockbell.Registry.TagMoved --subject-begins-with team/ --subject-case-sensitive " +
			"--advanced-filter data.target.tag stringbeginswith v1. v2. --advanced-filter data.target.size NumberNotInRange -5,10 1e3,2e3 --advanced-filter data.x BoolEquals false --advanced-filter data.y IsNotNull " +
			"--delivery-attribute-mapping X-Token static s3cret true --delivery-attribute-mapping X-Repo dynamic data.target.repository " +
			"--max-delivery-attempts 5 --event-ttl 60 --labels a b --expiration-date 2060-01-01 --deadletter-endpoint /subscriptions/1/storageAccounts/acme/blobServices/default/containers/dead",
		"event-subscription create -n grid --endpoint https://hooks.example.net/grid",
		"event-subscription create -n to-nats --endpoint tls://nats.example.net/registry.events --username u --password-stdin --mode binary",
		"event-subscription create -n to-kafka --endpoint kafka://k1.example.net,k2.example.net:9093/registry --tls --username u --password p --sasl-mechanism scram-sha-256 --record-key none",
		"event-subscription update -n on-push --subject-ends-with :latest --event-ttl 30 --max-events-per-batch 10 --expiration-date ''",
		"event-subscription update -n to-nats --mode structured",
		"event-subscription update -n to-kafka --endpoint kafka://k1.example.net,k2.example.net:9093/other --labels x",
	} {
		if got := sh.run(split(line)...); got.code != 0 || got.err != "" {
			t.Errorf("%s: %+v", line, got)
		}
	}
	golden(t, "subscription-live.txt", anyHour.ReplaceAllString(transcript(sh,
		"event-subscription show -n ON-PUSH --include-full-endpoint-url --include-attrib-secret",
		"event-subscription show -n grid --query '[eventDeliverySchema,retryPolicy,filter.includedEventTypes,expirationTimeUtc,health.state]'",
		"event-subscription show -n to-nats --query '[destination,eventDeliverySchema]' --include-full-endpoint-url",
		"event-subscription show -n to-kafka --query destination",
		"event-subscription create -n slow --endpoint https://slow.example.net -o table",
		"event-subscription create -n deaf --endpoint https://deaf.example.net",
		"event-subscription create -n bad --endpoint https://hooks.example.net --advanced-filter data.x NumberIn 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26",
		"event-subscription update -n on-push --endpoint https://elsewhere.example.net",
		"event-subscription list -o table",
		"event-subscription redeliver -n slow --event e1",
		"event-subscription event-types --query [].name -o tsv",
	), "(hour)"))
	if got := sh.run("event-subscription", "list", "--odata-query", "contains(name, 'to-')", "--query", "[].name", "-o", "tsv"); got.out != "to-kafka\nto-nats\n" {
		t.Errorf("some: %+v", got)
	}

	// The file is the state: nothing is to change, once it was applied.
	path := filepath.Join(t.TempDir(), "hooks.yaml")
	file := strings.Replace(subscriptionsYAML, `{ca: "${DEPLOY_KEY}"}`, "{enabled: true}", 1)
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	sh.env["DEPLOY_KEY"], sh.env["DEPLOY_TOKEN"] = "k3y", "t0ken"
	if got := applied(t, sh, path, "--prune"); got.code != 0 || !strings.HasSuffix(got.out, "- event subscription grid\n- event subscription slow\n0 created, 3 changed, 2 deleted\n") {
		t.Errorf("apply: %+v", got)
	}
	if got := applied(t, sh, path, "--prune"); got.code != 0 || got.out != "nothing to change: the event subscriptions of registry contoso are as hooks.yaml has them\n" {
		t.Errorf("apply, a second time: %+v", got)
	}
	sh.env["DEPLOY_TOKEN"] = "t1ken"
	if got := applied(t, sh, path); got.out != "~ event subscription on-push  delivery attribute x-token: changed\n0 created, 1 changed, 0 deleted\n" {
		t.Errorf("another secret: %+v", got)
	}

	// What the commands of webhooks do.
	srv.look = steps
	srv.dead = []delivery.DeadLetter{{ID: 9, Count: 31, PosFrom: 100, PosTo: 140, Reason: "30 attempts failed", At: time.Now(), EventID: "e100"}}
	for _, tt := range []struct{ line, want string }{
		{"event-subscription pause -n on-push --query health.state -o tsv", "paused\n"},
		{"event-subscription resume -n to-kafka --query health.state -o tsv", "ok\n"},
		{"event-subscription redeliver -n to-kafka --event e5 --query state -o tsv", "running\n"},
		{"event-subscription replay -n to-nats --failed --query state -o tsv", "done\n"},
		{"event-subscription replay -n to-nats --after 0 --no-wait --query state -o tsv", "running\n"},
		{"event-subscription replays list -n to-nats --query [0].state -o tsv", "running\n"},
		{"event-subscription dead-letters list -n to-nats --query [0].count -o tsv", "31\n"},
		{"event-subscription dead-letters redrive -n to-nats --all --no-wait --query elsewhere", "false\n"},
		{"event-subscription dead-letters purge -n on-push --ids 9 --query purged -o tsv", "31\n"},
		{"event-subscription list-events -n to-nats", "[]\n"},
		{"event-subscription validate -n to-kafka --query provisioningState -o tsv", "Succeeded\n"},
		{"event-subscription list -l WestEurope --query length(@)", "3\n"},
		{"event-subscription delete -n ON-PUSH", ""},
	} {
		got := sh.run(split(tt.line)...)
		got.err = ""
		if got != (result{out: tt.want}) {
			t.Errorf("%s: %+v, want %q", tt.line, got, tt.want)
		}
	}
}
