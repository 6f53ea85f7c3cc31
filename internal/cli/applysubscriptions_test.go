package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const subscriptionsYAML = `eventSubscriptions:
  - name: on-push
    endpoint: https://hooks.example.net/in?code=${DEPLOY_KEY}
    eventDeliverySchema: cloudeventschemav1_0
    filter:
      includedEventTypes: [Microsoft.ContainerRegistry.ImagePushed]
      subjectBeginsWith: team/
      isSubjectCaseSensitive: true
      advancedFilters:
        - {key: data.target.tag, operatorType: stringBeginsWith, values: [v1., 2]}
        - {key: data.target.size, operatorType: NumberInRange, values: [[1, 10], "20,30"]}
        - {key: data.x, operatorType: BoolEquals, value: false}
    deliveryAttributeMappings:
      - {name: X-Token, value: "Bearer ${DEPLOY_TOKEN}", isSecret: true}
      - {name: X-Repo, sourceField: data.target.repository}
    maxEventsPerBatch: 10
    retryPolicy: {maxDeliveryAttempts: 5}
    deadLetterContainer: dead
    labels: [a, b]
    expirationTimeUtc: 2030-01-01
  - name: to-kafka
    endpoint: kafka://k1:9092,k2/registry
    broker:
      mode: binary
      key: subject
      username: u
      password: ${DEPLOY_TOKEN}
      mechanism: scram-sha-512
      tls: {ca: "${BROKER_CA}"}
  - {name: to-nats, endpoint: tls://nats.example.net/registry.events, broker: {token: "${DEPLOY_TOKEN}"}}
`

// apply runs dockbell apply with a file, and returns what it prints and sends.
func (c *contract) apply(t *testing.T, sh *shell, file string, flags ...string) (got result, sent string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hooks.yaml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	c.requests()
	got = applied(t, sh, path, flags...)
	var bodies []string
	for _, request := range c.requests() {
		if method, _, _ := strings.Cut(request, " "); method != "GET" && !strings.Contains(request, "/get") {
			bodies = append(bodies, strings.Replace(request, "/api/v1/registries/contoso/eventSubscriptions/", "", 1))
		}
	}
	return got, strings.Join(bodies, "\n")
}

func TestApplySubscriptions(t *testing.T) {
	t.Parallel()
	c := newContract(t)
	sh := c.shell(t)
	pair := pemPair(t)
	sh.env["DEPLOY_KEY"], sh.env["DEPLOY_TOKEN"], sh.env["BROKER_CA"] = "k3y", "t0ken", pair[0]
	short := strings.NewReplacer(quoted(t, pair[0]), "(cert)")
	sh.run(split("event-subscription create -n old-one --endpoint https://old.example.net")...)
	sh.run(split("event-subscription create -n ON-push --endpoint https://hooks.example.net/in?code=k3y --event-delivery-schema CloudEventSchemaV1_0 --advanced-filter data.y IsNotNull --delivery-attribute-mapping x-gone static y")...)

	lines := `~ event subscription ON-push  maxEventsPerBatch: 1 -> 10; delivery attribute x-gone: removed; delivery attribute x-repo: added; delivery attribute x-token: added; ` +
		`includedEventTypes: default -> ImagePushed; subjectBeginsWith: "" -> "team/"; isSubjectCaseSensitive: false -> true; ` +
		`advancedFilters: data.y IsNotNull -> data.target.tag StringBeginsWith v1. 2, data.target.size NumberInRange 1,10 20,30, data.x BoolEquals false; ` +
		`retryPolicy.maxDeliveryAttempts: 30 -> 5; deadLetterContainer: none -> dead; labels: none -> a, b; expirationTimeUtc: never -> 2030-01-01T00:00:00Z
+ event subscription to-kafka
+ event subscription to-nats
`
	got, sent := c.apply(t, sh, subscriptionsYAML, "--dry-run")
	if got != (result{out: lines + "2 to create, 1 to change, 0 to delete\n"}) || sent != "" {
		t.Errorf("dry run: %+v, sent %s", got, sent)
	}
	got, sent = c.apply(t, sh, subscriptionsYAML)
	if got != (result{out: lines + "2 created, 1 changed, 0 deleted\n"}) {
		t.Errorf("apply: %+v", got)
	}
	if want := `PATCH ON-push {"destination":{"endpointType":"WebHook","properties":{"endpointUrl":"https://hooks.example.net/in?code=k3y","maxEventsPerBatch":10,"preferredBatchSizeInKilobytes":64,"deliveryAttributeMappings":[{"name":"X-Token","type":"Static","properties":{"value":"Bearer t0ken","isSecret":true}},{"name":"X-Repo","type":"Dynamic","properties":{"sourceField":"data.target.repository"}}]}},"filter":{"subjectBeginsWith":"team/","isSubjectCaseSensitive":true,"includedEventTypes":["Microsoft.ContainerRegistry.ImagePushed"],"advancedFilters":[{"operatorType":"StringBeginsWith","key":"data.target.tag","values":["v1.","2"]},{"operatorType":"NumberInRange","key":"data.target.size","values":[[1,10],[20,30]]},{"operatorType":"BoolEquals","key":"data.x","value":false}]},"labels":["a","b"],"expirationTimeUtc":"2030-01-01T00:00:00Z","retryPolicy":{"maxDeliveryAttempts":5,"eventTimeToLiveInMinutes":1440},"deadLetterDestination":{"endpointType":"StorageBlob","properties":{"blobContainerName":"dead"}}}
PUT to-kafka {"properties":{"destination":{"endpointType":"Kafka","properties":{"servers":["k1:9092","k2:9092"],"topic":"registry","mode":"binary","key":"subject","username":"u","password":"t0ken","mechanism":"SCRAM-SHA-512","tls":{"enabled":true,"ca":(cert)},"deliveryAttributeMappings":[]}},"filter":{},"eventDeliverySchema":"CloudEventSchemaV1_0","retryPolicy":{"maxDeliveryAttempts":30,"eventTimeToLiveInMinutes":1440}}}
PUT to-nats {"properties":{"destination":{"endpointType":"NatsJetStream","properties":{"servers":["nats.example.net:4222"],"subject":"registry.events","mode":"structured","token":"t0ken","tls":{"enabled":true},"deliveryAttributeMappings":[]}},"filter":{},"eventDeliverySchema":"CloudEventSchemaV1_0","retryPolicy":{"maxDeliveryAttempts":30,"eventTimeToLiveInMinutes":1440}}}`; short.Replace(sent) != want {
		t.Errorf("sent\n%s\nwant\n%s", sent, want)
	}
	got, sent = c.apply(t, sh, subscriptionsYAML)
	if got != (result{out: "nothing to change: the event subscriptions of registry contoso are as hooks.yaml has them\n"}) || sent != "" {
		t.Errorf("a second time: %+v, sent %s", got, sent)
	}

	// Secrets of webhooks are compared; those of brokers cannot be.
	sh.env["DEPLOY_KEY"], sh.env["DEPLOY_TOKEN"] = "k4y", "t1ken"
	got, _ = c.apply(t, sh, subscriptionsYAML)
	if got.out != "~ event subscription ON-push  endpoint: changed; delivery attribute x-token: changed\n0 created, 1 changed, 0 deleted\n" {
		t.Errorf("other secrets: %+v", got)
	}
	got, sent = c.apply(t, sh, subscriptionsYAML, "--resend-secrets")
	if got.out != "~ event subscription to-kafka  password: sent again; certificates: sent again\n~ event subscription to-nats  token: sent again\n0 created, 2 changed, 0 deleted\n" ||
		!strings.Contains(sent, `"password":"t1ken"`) || !strings.Contains(sent, `"token":"t1ken"`) || !strings.Contains(sent, `"ca":`) {
		t.Errorf("secrets again: %+v, sent %s", got, sent)
	}

	// What the file leaves out is the default again. A kind that it does not list is
	// left alone, and what goes goes last.
	sh.run(split("webhook create -n oldhook --uri http://old.example.net --actions push")...)
	const less = "eventSubscriptions:\n- {name: on-push, endpoint: 'kafka://k1/t'}\n- {name: to-nats, endpoint: 'nats://nats.example.net/x', broker: {username: u, password: p}}\n"
	got, _ = c.apply(t, sh, less, "--prune", "-v")
	if want := `~ event subscription ON-push  endpoint: https://hooks.example.net -> kafka://k1:9092/t; delivery attribute x-repo: removed; delivery attribute x-token: removed; includedEventTypes: ImagePushed -> default; ` +
		`subjectBeginsWith: "team/" -> ""; isSubjectCaseSensitive: true -> false; advancedFilters: data.target.tag StringBeginsWith v1. 2, data.target.size NumberInRange 1,10 20,30, data.x BoolEquals false -> none; ` +
		`retryPolicy.maxDeliveryAttempts: 5 -> 30; deadLetterContainer: dead -> none; labels: a, b -> none; expirationTimeUtc: 2030-01-01T00:00:00Z -> never
~ event subscription to-nats  endpoint: nats://nats.example.net:4222/registry.events -> nats://nats.example.net:4222/x; username: none -> u; tls: enabled -> none; password: added
- event subscription old-one
- event subscription to-kafka
0 created, 2 changed, 2 deleted
`; got.out != want {
		t.Errorf("defaults: %+v\nwant %s", got, want)
	}
	got, _ = c.apply(t, sh, less)
	if got.out != "nothing to change: the event subscriptions of registry contoso are as hooks.yaml has them\n" {
		t.Errorf("defaults, a second time: %+v", got)
	}
	if got := sh.run("webhook", "list", "--query", "[].name", "-o", "tsv"); got.out != "oldhook\n" {
		t.Errorf("webhooks: %+v", got)
	}
	sh.terminal, sh.env["NO_COLOR"] = true, "1"
	got, _ = c.apply(t, sh, "webhooks: []\neventSubscriptions:\n- {name: slow, endpoint: 'https://slow.example.net'}\n")
	got.err = anyHour.ReplaceAllString(got.err, "(hour)")
	if want := (result{out: "+ event subscription slow\n1 created, 0 changed, 0 deleted\n",
		err: "not in hooks.yaml and left alone, without --prune: oldhook, event subscription ON-push, event subscription to-nats\n" +
			"warning: event subscription slow sends nothing yet: the receiver took the question and did not answer it: open the address that it was sent until (hour), for example from its log; events wait meanwhile; " +
			"to have the receiver asked again: dockbell event-subscription validate -r contoso -n slow\n"}); got != want {
		t.Errorf("both kinds: %+v\nwant %+v", got, want)
	}
	got, _ = c.apply(t, sh, "webhooks: []\neventSubscriptions: []\n---\n", "--prune", "--dry-run")
	if got.out != "- oldhook\n- event subscription ON-push\n- event subscription slow\n- event subscription to-nats\n0 to create, 0 to change, 4 to delete\n" {
		t.Errorf("all gone: %+v", got)
	}
	got, _ = c.apply(t, sh, "eventSubscriptions:\n- {name: fine, endpoint: 'https://fine.example.net'}\n- {name: deaf, endpoint: 'https://deaf.example.net'}\n")
	if !strings.HasPrefix(got.err, "not in hooks.yaml and left alone") || !strings.Contains(got.err, "\nerror: event subscription deaf: the validation handshake with https://deaf.example.net failed: ") ||
		!strings.HasSuffix(got.err, "; done: + event subscription fine; not done: + event subscription deaf; apply the file again when that is mended\n") {
		t.Errorf("in part: %+v", got)
	}
}

// TestApplyRefusesSubscriptions: nothing is sent for a file that breaks a rule.
func TestApplyRefusesSubscriptions(t *testing.T) {
	t.Parallel()
	const good = "name: on-push, endpoint: 'https://x.example.net'"
	c := newContract(t)
	sh := c.shell(t)
	sh.env["DEPLOY_KEY"] = "k3y"
	for _, tt := range []struct{ name, element, want string }{
		{"unknown", "{url: x}", `an event subscription has no key "url": there are broker, deadLetterContainer, deliveryAttributeMappings, endpoint, eventDeliverySchema, expirationTimeUtc, filter, labels, maxEventsPerBatch, name, preferredBatchSizeInKilobytes, retryPolicy`},
		{"no name", "{endpoint: 'https://x'}", "the event subscription has no name"},
		{"bad name", "{name: a_b}", `event subscription name "a_b" breaks the rule: use 3 to 64 letters, digits and dashes`},
		{"no endpoint", "{name: on-push}", "event subscription on-push has no endpoint"},
		{"bad endpoint", "{endpoint: 's3cret ${DEPLOY_KEY}'}", "endpoint: this is no address that can be told of events"},
		{"bad broker", "{endpoint: 'nats://${DEPLOY_KEY}'}", "endpoint: this is no address of a broker, which is nats://host:4222/subject"},
		{"schema", "{eventDeliverySchema: CustomInputSchema}", `eventDeliverySchema: "CustomInputSchema" is not one of EventGridSchema, CloudEventSchemaV1_0`},
		{"filter key", "{filter: {subjectBegins: x}}", `a filter has no key "subjectBegins"`},
		{"operator", "{filter: {advancedFilters: [{key: a, operatorType: StringIs, values: [x]}]}}", `advancedFilters: operator "StringIs" is not one of `},
		{"no operand", "{filter: {advancedFilters: [{key: a, operatorType: NumberIn}]}}", `advancedFilters: a NumberIn has no value to compare with`},
		{"bad range", "{filter: {advancedFilters: [{key: a, operatorType: NumberInRange, values: [[1]]}]}}", `advancedFilters: NumberInRange: "1" is no range`},
		{"no boolean", "{filter: {isSubjectCaseSensitive: si}}", "isSubjectCaseSensitive is true or false"},
		{"attribute", "{deliveryAttributeMappings: [{name: A}]}", "the delivery attribute A has either a value, or a sourceField"},
		{"both", "{deliveryAttributeMappings: [{name: A, value: s3cret, sourceField: x}]}", "the delivery attribute A has either a value, or a sourceField"},
		{"nameless", "{deliveryAttributeMappings: [{value: s3cret}]}", "a delivery attribute has no name"},
		{"attempts", "{retryPolicy: {maxDeliveryAttempts: 31}}", "maxDeliveryAttempts: 31 is out of range: use 1 to 30"},
		{"order", "{retryPolicy: {order: none}}", `a retryPolicy of an event subscription has no key "order"`},
		{"batch", "{maxEventsPerBatch: 0}", "maxEventsPerBatch: 0 is out of range: use 1 to 5000"},
		{"time", "{expirationTimeUtc: soon}", `"soon" is no time: use a date like 2030-12-31`},
		{"broker of none", "{" + good + ", broker: {mode: binary}}", "broker is for the addresses of NATS and Kafka"},
		{"batch to a broker", "{name: on-push, endpoint: 'kafka://k/t', maxEventsPerBatch: 2}", "event subscription on-push is told of events one by one, by a broker"},
		{"token of Kafka", "{name: on-push, endpoint: 'kafka://k/t', broker: {token: s3cret}}", `the broker of a Kafka destination has no key "token"`},
		{"no mechanism", "{name: on-push, endpoint: 'kafka://k/t', broker: {username: u, password: s3cret}}", "a user of Kafka logs in by PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512: choose with mechanism"},
		{"unset", "{name: on-push, endpoint: 'nats://k/t', broker: {token: '${NOSUCH}'}}", "token: the variable NOSUCH is not set"},
		{"twice", "{" + good + "}\n- {" + strings.Replace(good, "on-push", "On-Push", 1) + "}", "event subscription On-Push is listed already at hooks.yaml:2"},
	} {
		got, sent := c.apply(t, sh, "eventSubscriptions:\n- "+tt.element+"\n")
		line := "2"
		if tt.name == "twice" {
			line = "3"
		}
		if got.code != 1 || got.out != "" || sent != "" || !strings.HasPrefix(got.err, "error: hooks.yaml:"+line+": "+tt.want) || strings.Count(got.err, "\n") != 1 || strings.Contains(got.err, "s3cret") {
			t.Errorf("%s: %+v\nwant %s", tt.name, got, tt.want)
		}
	}
}
