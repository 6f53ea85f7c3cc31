package cli_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/delivery"
	"github.com/dockbell/dockbell/internal/outbound"
)

const gridScope = testSubscription + "/resourceGroups/dockbell/providers/Microsoft.ContainerRegistry/registries/contoso"

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

const subscribe = "event-subscription create -n on-push --endpoint https://hooks.example.net/in?code=s3cret "

// TestSubscriptionJSON runs the commands of a script.
func TestSubscriptionJSON(t *testing.T) {
	t.Parallel()
	c := newContract(t)
	sh := c.shell(t)
	c.behind.look = steps
	c.behind.dead = []delivery.DeadLetter{{ID: 9, Count: 31, PosFrom: 100, PosTo: 140, Reason: "30 attempts failed", At: time.Now().Add(-50 * time.Hour), EventID: "e100", EventAt: time.Now().Add(-80 * time.Hour)}}
	golden(t, "subscription-json.txt", c.transcript(sh,
		"event-subscription list -r contoso",
		"event-subscription create --source-resource-id "+gridScope+" -n on-push --endpoint https://hooks.example.net/in?code=s3cret --event-delivery-schema cloudeventschemav1_0 "+
			"--included-event-types Microsoft.ContainerRegistry.ImagePushed --subject-begins-with team/ --subject-case-sensitive true "+
			"--advanced-filter data.target.tag stringbeginswith v1. v2. --advanced-filter data.target.size NumberInRange -5,10 1e3,2e3 --advanced-filter data.x BoolEquals false "+
			"--delivery-attribute-mapping X-Token static s3cret true --delivery-attribute-mapping X-Repo dynamic data.target.repository "+
			"--max-delivery-attempts 5 --event-ttl 60 --labels a b --expiration-date 2030-01-01 --deadletter-endpoint /subscriptions/1/storageAccounts/acme/blobServices/default/containers/dead",
		"event-subscription show -r contoso -n ON-PUSH --include-full-endpoint-url --include-attrib-secret --query destination",
		"event-subscription update -r contoso -n on-push --subject-ends-with :latest --event-ttl 30 --expiration-date ''",
		"event-subscription update -r contoso -n on-push --max-events-per-batch 10 -o none",
		"event-subscription show -r contoso -n on-push --include-attrib-secret true --query destination",
		"event-subscription show -r contoso -n on-push --query '[retryPolicy,health.state]'",
		"event-subscription create -r contoso -n grid --endpoint https://hooks.example.net/grid --query '[eventDeliverySchema,retryPolicy,filter.includedEventTypes,expirationTimeUtc]'",
		"event-subscription validate -r contoso -n on-push --query provisioningState",
		"event-subscription create -r contoso -n to-nats --endpoint tls://nats.example.net/registry.events --broker-token t0ken",
		"event-subscription show -r contoso -n to-nats --include-full-endpoint-url --query destination.subject",
		"event-subscription create -r contoso -n to-kafka --endpoint kafka://k1.example.net,k2.example.net:9093/registry --tls --username u --password p --sasl-mechanism scram-sha-256 --record-key none --query destination",
		"event-subscription pause -r contoso -n on-push --query health.state",
		"event-subscription resume -r contoso -n on-push --query health.state",
		"event-subscription list-events -r contoso -n on-push",
		"event-subscription dead-letters list -r contoso -n on-push --query [].reason",
		"event-subscription redeliver -r contoso -n on-push --event e1",
		"event-subscription dead-letters redrive -r contoso -n on-push --all --query state",
		"event-subscription dead-letters purge -r contoso -n on-push --ids 9",
		"event-subscription event-types --query [0]",
		"event-subscription delete -r contoso -n on-push",
		"event-subscription delete -r contoso -n on-push",
		"event-subscription show -r contoso -n on-push",
	))
}

// TestSubscriptionTerminal runs the commands of a person.
func TestSubscriptionTerminal(t *testing.T) {
	t.Parallel()
	c := newContract(t)
	sh := c.shell(t)
	sh.terminal = true
	c.behind.look = steps
	c.behind.dead = []delivery.DeadLetter{{ID: 9, Count: 31, PosFrom: 100, PosTo: 140, Reason: "30 attempts failed", At: time.Now().Add(-50 * time.Hour), EventID: "e100", EventAt: time.Now().Add(-80 * time.Hour)}}
	got := c.transcript(sh,
		"event-subscription list",
		subscribe+"--subject-begins-with team/ --subject-ends-with :latest --advanced-filter data.target.size NumberInRange 1,10",
		"event-subscription create -n slow-one --endpoint https://slow.example.net --included-event-types Microsoft.ContainerRegistry.ImagePushed",
		"event-subscription create -n deaf-one --endpoint https://deaf.example.net",
		"event-subscription create -n to-kafka --endpoint kafka://k1:9092,k2/registry --mode binary --record-key subject",
		"event-subscription list",
		"event-subscription list -l westeurope --query [].name",
		"event-subscription list -l eastus",
		"event-subscription show -n slow-one",
		"event-subscription validate -n slow-one",
		"event-subscription redeliver -n slow-one --event e1",
		"event-subscription create -n bad --endpoint https://hooks.example.net --advanced-filter data.x NumberIn 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26",
		"event-subscription update -n on-push --delivery-attribute-mapping X-Token static s3cret true --subject-ends-with '' -o none",
		"event-subscription update -n on-push --endpoint https://elsewhere.example.net",
		"event-subscription pause -n on-push",
		"event-subscription resume -n on-push",
		"event-subscription list-events -n on-push",
		"event-subscription replay -n on-push --failed --since 2026-03-14",
		"event-subscription dead-letters list -n on-push",
		"event-subscription dead-letters purge -n on-push --ids 9",
		"event-subscription delete -n on-push",
		"event-subscription event-types",
	)
	golden(t, "subscription-terminal.txt", anyHour.ReplaceAllString(got, "(hour)"))
	sh.terminal = false
	if got := sh.run("event-subscription", "list", "--odata-query", "contains(name, 'to-') or name eq 'slow-one'", "--query", "[].name", "-o", "tsv"); got.out != "slow-one\nto-kafka\n" {
		t.Errorf("some: %+v", got)
	}
}

// pemPair returns a certificate and its key in PEM.
func pemPair(t *testing.T) [2]string {
	t.Helper()
	srv := httptest.NewTLSServer(nil)
	defer srv.Close()
	key, err := x509.MarshalPKCS8PrivateKey(srv.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return [2]string{
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})),
	}
}

// quoted returns a text as JSON has it.
func quoted(t *testing.T, text string) string {
	t.Helper()
	b, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestSubscriptionSent shows the bodies that command lines make.
func TestSubscriptionSent(t *testing.T) {
	t.Parallel()
	c := newContract(t)
	sh := c.shell(t)
	file := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pair := pemPair(t)
	certificate, key := file("cert.pem", pair[0]), file("key.pem", pair[1])
	short := strings.NewReplacer(quoted(t, pair[0]), "(cert)", quoted(t, pair[1]), "(key)")
	const hook = `{"endpointType":"WebHook","properties":{"endpointUrl":"https://hooks.example.net/in?code=s3cret"`
	for _, tt := range []struct{ line, stdin, want string }{
		{subscribe, "", `PUT {"properties":{"destination":` + hook + `}}}}`},
		{subscribe + "--endpoint-type WebHook --included-event-types All --max-events-per-batch 50 --preferred-batch-size-in-kilobytes 128", "",
			`PUT {"properties":{"destination":` + hook + `,"maxEventsPerBatch":50,"preferredBatchSizeInKilobytes":128}},"filter":{}}}`},
		{subscribe + "--advanced-filter data.a NumberIn 1 2.5 --advanced-filter data.b NumberLessThan -5 --advanced-filter data.c boolequals True --advanced-filter data.d IsNullOrUndefined --enable-af-arr", "",
			`PUT {"properties":{"destination":` + hook + `}},"filter":{"enableAdvancedFilteringOnArrays":true,"advancedFilters":[` +
				`{"operatorType":"NumberIn","key":"data.a","values":[1,2.5]},{"operatorType":"NumberLessThan","key":"data.b","value":-5},` +
				`{"operatorType":"BoolEquals","key":"data.c","value":true},{"operatorType":"IsNullOrUndefined","key":"data.d"}]}}}`},
		{subscribe + "--deadletter-endpoint dead --expiration-date 2030-01-01T00:00:00+01:00 --labels x", "",
			`PUT {"properties":{"destination":` + hook + `}},"labels":["x"],"expirationTimeUtc":"2029-12-31T23:00:00Z","deadLetterDestination":{"endpointType":"StorageBlob","properties":{"blobContainerName":"dead"}}}}`},
		{subscribe + "--delivery-attribute-mapping A static ' -x' --delivery-attribute-mapping B Static v FALSE", "",
			`PUT {"properties":{"destination":` + hook + `,"deliveryAttributeMappings":[{"name":"A","type":"Static","properties":{"value":" -x","isSecret":false}},{"name":"B","type":"Static","properties":{"value":"v","isSecret":false}}]}}}}`},
		{"event-subscription update -n on-push", "", `PATCH {}`},
		{"event-subscription update -n on-push --labels ''", "", `PATCH {"labels":[]}`},
		{"event-subscription update -n on-push --deadletter-endpoint '' --expiration-date ''", "", `PATCH {"expirationTimeUtc":null,"deadLetterDestination":null}`},
		{"event-subscription update -n on-push --event-ttl 5 --event-delivery-schema EventGridSchema", "", `PATCH {"eventDeliverySchema":"EventGridSchema","retryPolicy":{"maxDeliveryAttempts":30,"eventTimeToLiveInMinutes":5}}`},
		// What is changed in part keeps the rest.
		{"event-subscription update -n on-push --delivery-attribute-mapping T static s3cret true", "",
			`PATCH {"destination":{"endpointType":"WebHook","properties":{"maxEventsPerBatch":1,"preferredBatchSizeInKilobytes":64,"deliveryAttributeMappings":[{"name":"T","type":"Static","properties":{"value":"s3cret","isSecret":true}}]}}}`},
		{"event-subscription update -n on-push --endpoint https://hooks.example.net/other", "",
			`PATCH {"destination":{"endpointType":"WebHook","properties":{"endpointUrl":"https://hooks.example.net/other","maxEventsPerBatch":1,"preferredBatchSizeInKilobytes":64}}}`},
		{"event-subscription update -n on-push --subject-begins-with a --included-event-types Microsoft.ContainerRegistry.ImagePushed --advanced-filter a IsNotNull", "",
			`PATCH {"filter":{"subjectBeginsWith":"a","includedEventTypes":["Microsoft.ContainerRegistry.ImagePushed"],"advancedFilters":[{"operatorType":"IsNotNull","key":"a"}]}}`},
		{"event-subscription update -n on-push --subject-begins-with '' --subject-case-sensitive", "",
			`PATCH {"filter":{"isSubjectCaseSensitive":true,"includedEventTypes":["Microsoft.ContainerRegistry.ImagePushed"],"advancedFilters":[{"operatorType":"IsNotNull","key":"a"}]}}`},
		{"event-subscription update -n on-push --advanced-filter '' --included-event-types ''", "", `PATCH {"filter":{"isSubjectCaseSensitive":true}}`},
		// Brokers, who take CloudEvents alone.
		{"event-subscription update -n on-push --endpoint nats://[::1]/a.b --username u --password-stdin --mode binary --delivery-attribute-mapping ''", "pa ss\n",
			`PATCH {"destination":{"endpointType":"NatsJetStream","properties":{"servers":["[::1]:4222"],"subject":"a.b","mode":"binary","username":"u","password":"pa ss","deliveryAttributeMappings":[]}},"eventDeliverySchema":"CloudEventSchemaV1_0"}`},
		{"event-subscription update -n on-push --mode structured", "",
			`PATCH {"destination":{"endpointType":"NatsJetStream","properties":{"servers":["[::1]:4222"],"subject":"a.b","mode":"structured","username":"u","password":"Hidden","tls":{"enabled":false}}}}`},
		{"event-subscription update -n on-push --broker-token t0ken", "",
			`PATCH {"destination":{"endpointType":"NatsJetStream","properties":{"servers":["[::1]:4222"],"subject":"a.b","mode":"structured","token":"t0ken","tls":{"enabled":false}}}}`},
		{"event-subscription update -n on-push --endpoint tls://n1/a.b --broker-token t1ken", "",
			`PATCH {"destination":{"endpointType":"NatsJetStream","properties":{"servers":["n1:4222"],"subject":"a.b","mode":"structured","token":"t1ken","tls":{"enabled":true}}}}`},
		{"event-subscription update -n on-push --endpoint nats://n2/a.b --username ''", "",
			`PATCH {"destination":{"endpointType":"NatsJetStream","properties":{"servers":["n2:4222"],"subject":"a.b","mode":"structured","tls":{"enabled":true}}}}`},
		{"event-subscription create -n kaf --endpoint KAFKA://k1:9093,k2/topic --endpoint-type Kafka --record-key None --sasl-mechanism scram-sha-512 --username u --password p --ca " + certificate, "",
			`PUT {"properties":{"destination":{"endpointType":"Kafka","properties":{"servers":["k1:9093","k2:9092"],"topic":"topic","key":"none","username":"u","password":"p","mechanism":"SCRAM-SHA-512","tls":{"enabled":true,"ca":(cert)}}}}}`},
		{"event-subscription update -n kaf --certificate " + certificate + " --key " + key, "",
			`PATCH {"destination":{"endpointType":"Kafka","properties":{"servers":["k1:9093","k2:9092"],"topic":"topic","mode":"structured","key":"none","username":"u","password":"Hidden","mechanism":"SCRAM-SHA-512","tls":{"enabled":true,"certificate":(cert),"key":(key)}}}}`},
		// Another address is no reason for a password to go out unencrypted.
		{"event-subscription update -n kaf --endpoint kafka://k3/topic --password-stdin", "again",
			`PATCH {"destination":{"endpointType":"Kafka","properties":{"servers":["k3:9092"],"topic":"topic","mode":"structured","key":"none","username":"u","password":"again","mechanism":"SCRAM-SHA-512","tls":{"enabled":true}}}}`},
		{"event-subscription update -n kaf --tls false", "",
			`PATCH {"destination":{"endpointType":"Kafka","properties":{"servers":["k3:9092"],"topic":"topic","mode":"structured","key":"none","username":"u","password":"Hidden","mechanism":"SCRAM-SHA-512","tls":{"enabled":false}}}}`},
		{"event-subscription update -n kaf --tls", "",
			`PATCH {"destination":{"endpointType":"Kafka","properties":{"servers":["k3:9092"],"topic":"topic","mode":"structured","key":"none","username":"u","password":"Hidden","mechanism":"SCRAM-SHA-512","tls":{"enabled":true}}}}`},
		{"event-subscription replay -n kaf --failed --no-wait", "", `POST {"only":"undelivered"}`},
		{"event-subscription dead-letters purge -n kaf --all", "", `POST {"ids":"all"}`},
	} {
		c.requests()
		sh.stdin = tt.stdin
		if got := sh.run(split(tt.line)...); got.code != 0 {
			t.Errorf("%s: exit %d: %s", tt.line, got.code, got.err)
		}
		var sent []string
		for _, request := range c.requests() {
			method, rest, _ := strings.Cut(request, " ")
			if _, body, ok := strings.Cut(rest, " {"); ok {
				sent = append(sent, method+" {"+body)
			}
		}
		if got := short.Replace(strings.Join(sent, "; ")); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.line, got, tt.want)
		}
	}

	if got := sh.run(split("event-subscription update -n kaf --endpoint kafka://k4/topic")...); got.code != 2 || got.err != "error: other servers are not told the credentials there are: give them again, as in create, or --username '' for none\n" {
		t.Errorf("elsewhere, without credentials: %+v", got)
	}
	// The server refuses what is in the file, which does not matter here.
	c.requests()
	sh.run(split("event-subscription create -n creds --endpoint nats://n/a --broker-creds " + certificate)...)
	if got, want := short.Replace(strings.Join(c.requests(), "; ")), `"subject":"a","credentials":(cert)}`; !strings.Contains(got, want) {
		t.Errorf("sent %s, want %s in it", got, want)
	}

	sh.env["DOCKBELL_BROKER_PASSWORD"], sh.env["DOCKBELL_BROKER_TOKEN"] = "from-env", "t0ken"
	for line, want := range map[string]string{
		"event-subscription create -n env --endpoint kafka://k/t --username u --sasl-mechanism plain": `"username":"u","password":"from-env","mechanism":"PLAIN"}`,
		"event-subscription create -n env --endpoint nats://k/t":                                      `"subject":"t","token":"t0ken"}`,
	} {
		c.requests()
		if got := sh.run(split(line)...); got.code != 0 {
			t.Errorf("%s: %+v", line, got)
		}
		if got := strings.Join(c.requests(), "; "); !strings.Contains(got, want) {
			t.Errorf("%s: sent %s, want %s in it", line, got, want)
		}
	}
}

// TestSubscriptionUsage: what is wrong is said before anything is asked, and no
// secret with it.
func TestSubscriptionUsage(t *testing.T) {
	t.Parallel()
	const filter = subscribe + "--advanced-filter "
	const attribute = subscribe + "--delivery-attribute-mapping "
	const to = "event-subscription create -n on-push --endpoint "
	for _, tt := range []struct{ line, want string }{
		{"event-subscripton", `dockbell has no command "event-subscripton", did you mean event-subscription?`},
		{"event-subscription create -n on-push", `dockbell event-subscription create needs --endpoint: see `},
		{"event-subscription create --endpont x", `dockbell event-subscription create has no flag --endpont, did you mean --endpoint?`},
		{subscribe + "-u x", `dockbell event-subscription create has no flag -u`},
		{subscribe + "--event-delivery-schema custominputschema", `--event-delivery-schema: "custominputschema" is not one of EventGridSchema, CloudEventSchemaV1_0`},
		{subscribe + "--endpoint-type eventhub", `--endpoint-type: eventhub is a service of Azure, which is not told of events here: an event hub speaks Kafka: `},
		{subscribe + "--endpoint-type StorageQueue", `--endpoint-type: storagequeue is a service of Azure, which is not told of events here: use one of webhook, natsjetstream, kafka`},
		{subscribe + "--endpoint-type webhok", `--endpoint-type: "webhok" is not one of webhook, natsjetstream, kafka, did you mean webhook?`},
		{subscribe + "--endpoint-type kafka", `--endpoint: the address of a broker of this type looks like kafka://host:9092,host2:9092/topic`},
		{to + "nats://x/y --endpoint-type webhook", `--endpoint: the address of an HTTP receiver looks like https://hooks.example.net/in`},
		{to + "s3cret", `--endpoint: this is no address that can be told of events: use one like `},
		{to + "https:///s3cret", `--endpoint: this is no http or https address: write one like `},
		{to + "nats://u:s3cret@x/y", `--endpoint: user and password do not go into the address of a broker, which is nats://host:4222/subject, or tls://`},
		{to + "kafka://x", `--endpoint: this is no address of a broker, which is kafka://host:9092,`},
		{to + "kafka://x/y/z", `--endpoint: this is no address of a broker`},
		{to + "kafka://,x/y", `--endpoint: this is no address of a broker`},
		{to + "nats://x/y --max-events-per-batch 2", `--max-events-per-batch is for HTTP receivers, and this is a destination of type NatsJetStream: leave it out`},
		{to + "nats://x/y --record-key none", `--record-key is for Kafka, and this is`},
		{to + "kafka://x/y --broker-token s3cret", `--broker-token is for NATS, and this is`},
		{to + "nats://x/y --username u --password s3cret --broker-token s3cret", `--username and --broker-token are two ways to log in: give one of them`},
		{to + "kafka://x/y --username u --password s3cret", `a user of Kafka logs in by PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512: choose with --sasl-mechanism`},
		{to + "kafka://x/y --password s3cret", `the password of the broker has no user name: give --username, too`},
		{to + "kafka://x/y --username u", `there is no password for --username u of the broker: use --password-stdin, --password or DOCKBELL_BROKER_PASSWORD`},
		{to + "kafka://x/y --username u --password s3cret --password-stdin", `give the password once: with --password or with --password-stdin`},
		{to + "tls://x/y --endpoint-type kafka", `--endpoint: the address of a broker of this type looks like kafka://host:9092,host2:9092/topic`},
		{to + "kafka://x/y --tls false --ca subscription_test.go", `--ca is for a connection with TLS, and --tls is false: leave one of them out`},
		{to + "kafka://x/y --ca nosuch.pem", `--ca: nosuch.pem cannot be read: no such file or directory`},
		{subscribe + "--username u --password s3cret", `--username is for NATS and Kafka, and this is a destination of type WebHook: leave it out; the server's own user is that of dockbell login`},
		{subscribe + "--max-delivery-attempts 0", `--max-delivery-attempts: "0" is no whole number from 1 on`},
		{subscribe + "--expiration-date soon", `--expiration-date: "soon" is no time: use a date like 2030-12-31`},
		{filter + "data.a", `--advanced-filter: write KEY OPERATOR VALUES, for example `},
		{filter + "data.a StringIs x", `--advanced-filter: operator "StringIs" is not one of NumberLessThan, `},
		{filter + "data.a StringIn", `--advanced-filter: data.a StringIn has no value to compare with`},
		{filter + "data.a IsNotNull x", `--advanced-filter: IsNotNull compares with nothing: leave out "x"`},
		{filter + "data.a NumberLessThan 1 2", `--advanced-filter: NumberLessThan compares with one value, and "2" is a second`},
		{filter + "data.a NumberIn 1 NaN", `--advanced-filter: NumberIn: "NaN" is no number`},
		{filter + "data.a NumberInRange 1", `--advanced-filter: NumberInRange: "1" is no range: write its ends like 1,10`},
		{filter + "data.a NumberInRange 2,1", `--advanced-filter: NumberInRange: "2,1" is no range`},
		{filter + "data.a BoolEquals yes", `--advanced-filter: BoolEquals: "yes" is not one of true, false`},
		{filter + "'' IsNotNull", `--advanced-filter: the key is empty`},
		{attribute + "A static", `--delivery-attribute-mapping: write NAME static VALUE true, `},
		{attribute + "A statc s3cret", `--delivery-attribute-mapping: the second word: "statc" is not one of static, dynamic, did you mean static?`},
		{attribute + "A static s3cret s3cret", `--delivery-attribute-mapping: A: behind the value there is true, if it is secret, or false`},
		{attribute + "A dynamic data.x true", `--delivery-attribute-mapping: A: a dynamic attribute has a name and a member of the event, and no more`},
		{subscribe + "--aad-tenant-id x", `--azure-active-directory-tenant-id: requests carry no token of Microsoft Entra: `},
		{subscribe + "--delivery-identity systemassigned", `--delivery-identity: there are no managed identities here: `},
		{subscribe + "--deadletter-identity-endpoint x", `--deadletter-identity-endpoint: there are no managed identities here, and dead letters are files`},
		{"event-subscription update -n on-push --set retryPolicy.maxDeliveryAttempts=3 labels=x", `--set: every property has a flag of its own here: see --help`},
		{subscribe + "--qttl 5", `--storage-queue-msg-ttl: there are no storage queues here`},
		{subscribe + "--source-resource-id contoso", `--source-resource-id: "contoso" is no id of a registry: use /subscriptions/`},
		{"event-subscription list -r fabrikam --source-resource-id " + gridScope, `--source-resource-id: it is the id of registry contoso, and --registry is fabrikam: give one of them`},
		{"event-subscription list --topic-type-name Microsoft.Storage.StorageAccounts", `--topic-type-name Microsoft.Storage.StorageAccounts: there is no such source of events here`},
		{"event-subscription replay -n on-push --uri http://x --failed", `dockbell event-subscription replay has no flag --uri`},
	} {
		sh := newShell(t)
		sh.env = map[string]string{"DOCKBELL_SERVER": "http://nobody.invalid", "DOCKBELL_REGISTRY": "contoso"}
		sh.transport = func(r *http.Request) (*http.Response, error) {
			t.Errorf("%s: %s is asked for", tt.line, r.URL)
			return nil, http.ErrServerClosed
		}
		got := sh.run(split(tt.line)...)
		if got.code != 2 || !strings.HasPrefix(got.err, "error: "+tt.want) || strings.Count(got.err, "\n") != 1 {
			t.Errorf("%s: exit %d\n%swant %s", tt.line, got.code, got.err, tt.want)
		}
		if strings.Contains(got.err, "s3cret") {
			t.Errorf("%s: a secret is printed: %s", tt.line, got.err)
		}
	}
}

// TestSourceResourceID: an id is of a registry of this server or of none.
func TestSourceResourceID(t *testing.T) {
	t.Parallel()
	c := newContract(t)
	sh := c.shell(t)
	if got := sh.run("event-subscription", "list", "--source-resource-id", strings.Replace(gridScope, "resourceGroups/dockbell/providers", "RESOURCEGROUPS/Dockbell/Providers", 1)); got.code != 0 || got.out != "[]\n" {
		t.Errorf("in another case: %+v", got)
	}
	got := sh.run("event-subscription", "show", "-n", "on-push", "--source-resource-id", strings.Replace(gridScope, "resourceGroups/dockbell", "resourceGroups/other", 1))
	if got.code != 1 || !strings.Contains(got.err, "/resourceGroups/other/providers/Microsoft.ContainerRegistry/registries/contoso is no registry of http://") {
		t.Errorf("another group: %+v", got)
	}
	got = sh.run("event-subscription", "show", "-n", "on-push", "--source-resource-id", gridScope, "-r", "fabrikam")
	if got.code != 2 || got.err != "error: --source-resource-id is the id of registry contoso, and --registry is fabrikam: give one of them\n" {
		t.Errorf("two registries: %+v", got)
	}
}
