package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/dockbell/dockbell/internal/fault"
)

// The messages to Slack: the sentence and the second line, for each action. The
// text is both; the blocks are one of each.
func TestSlackMessage(t *testing.T) {
	t.Parallel()
	const (
		by     = " by `Zoë \"the\" 100%`"
		where  = "region `westus` · "
		client = where + "client `containers/5.29` · "
		digest = "digest `sha256:9f86` · "
		at     = "2025-03-04 09:10:11 UTC"
	)
	sample, nobody, untagged, imported, bare := cloudSample(Push), cloudSample(Push), cloudSample(Push), cloudSample(Push), cloudSample(ReferrerAttached)
	sample.Sample = true
	nobody.Actor, nobody.Registry.Location, nobody.Request = "", "", Request{}
	untagged.Target.Tag, untagged.Target.Digest = "", "sha256:3b0e44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	imported.Cause = "import"
	bare.Target.ArtifactType = ""
	failing := func(w Webhook) *Event {
		e := cloudSample(WebhookFailing)
		w.Name, w.Since = "deployhook", e.At
		e.Webhook = &w
		return e
	}
	for _, test := range []struct {
		name              string
		event             *Event
		sentence, details string
	}{
		{"push", cloudSample(Push), "`team/api:1.4.2` was pushed to `acme.example`" + by, digest + client + at},
		{"push by digest", untagged, "`team/api@sha256:3b0e44298fc1` was pushed to `acme.example`" + by, client + at},
		{"push by nobody, nowhere", nobody, "`team/api:1.4.2` was pushed to `acme.example`", digest + at},
		{"import", imported, "`team/api:1.4.2` was pushed to `acme.example`" + by, digest + client + "cause `import` · " + at},
		{"sample", sample, "Test, nothing happened: `team/api:1.4.2` was pushed to `acme.example`" + by, digest + client + at},
		{"delete", cloudSample(Delete), "`team/api@sha256:9f86` was deleted from `acme.example`" + by, client + at},
		{"quarantine", cloudSample(Quarantine), "`team/api:1.4.2` was pushed to `acme.example`" + by + " and is up for quarantine", digest + client + at},
		{"chart push", cloudSample(ChartPush), "Chart `web 2.1.0` was pushed to `acme.example`" + by, client + at},
		{"chart delete", cloudSample(ChartDelete), "Chart `web 2.1.0` was deleted from `acme.example`" + by, client + at},
		{"untag", cloudSample(Untag), "Tag `team/api:1.4.2` was removed from `acme.example`" + by, digest + client + at},
		{"tag_moved", cloudSample(TagMoved), "Tag `team/api:1.4.2` was moved in `acme.example`" + by + ", from `sha256:77aa` to `sha256:9f86`", client + at},
		{"referrer_attached", cloudSample(ReferrerAttached), "`application/x` was attached to `team/api@sha256:77aa` in `acme.example`" + by, digest + client + at},
		{"referrer of no type", bare, "An artifact was attached to `team/api@sha256:77aa` in `acme.example`" + by, digest + client + at},
		{"pull", cloudSample(Pull), "`team/api:1.4.2` was pulled from `acme.example`" + by, digest + client + at},
		{"ping", cloudSample(Ping), "Ping from `acme.example`: this webhook works", where + at},
		{"failing", failing(Webhook{Condition: "failing", LastStatus: 503}), "Webhook `deployhook` of `acme.example` fails since " + at + ": the last answer was 503", where + at},
		{"disabling", failing(Webhook{Condition: "disabling", LastError: "no connection to <x>", Progress: 50}),
			"Webhook `deployhook` of `acme.example` is 50 % of the way to being disabled: it fails since " + at + ": `no connection to &lt;x&gt;`", where + at},
		{"disabled", failing(Webhook{Condition: "disabled"}), "Webhook `deployhook` of `acme.example` was disabled: it failed since " + at, where + at},
		{"recovered", failing(Webhook{Condition: "recovered", LastStatus: 200}), "Webhook `deployhook` of `acme.example` works again", where + at},
	} {
		t.Run(test.name, func(t *testing.T) {
			quote := func(s string) string { return string(compact(s)) }
			want := `{"text":` + quote(test.sentence+"\n"+test.details) + `,"blocks":[` +
				`{"type":"section","text":{"type":"mrkdwn","text":` + quote(test.sentence) + `,"verbatim":true}},` +
				`{"type":"context","elements":[{"type":"mrkdwn","text":` + quote(test.details) + `,"verbatim":true}]}]}`
			if got := string(SlackMessage(test.event)); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// The bodies for GitHub, byte for byte; what the member event has is told in
// TestCloudEvent.
func TestGitHubDispatch(t *testing.T) {
	t.Parallel()
	sample, untagged := cloudSample(Push), cloudSample(Push)
	sample.Sample, untagged.Target.Tag = true, ""
	const (
		api      = `"repository":"team/api",`
		byTag    = api + `"tag":"1.4.2","digest":"sha256:9f86","image":"acme.example/team/api:1.4.2",`
		byDigest = api + `"digest":"sha256:9f86","image":"acme.example/team/api@sha256:9f86",`
	)
	for _, test := range []struct {
		event *Event
		image string
	}{
		{cloudSample(Push), byTag},
		{sample, byTag},
		{untagged, byDigest},
		{cloudSample(Delete), byDigest},
		{cloudSample(Quarantine), byTag},
		{cloudSample(ChartPush), ""},
		{cloudSample(ChartDelete), ""},
		{cloudSample(Untag), byTag},
		{cloudSample(TagMoved), byTag},
		{cloudSample(ReferrerAttached), byDigest},
		{cloudSample(Pull), byTag},
		{cloudSample(Ping), ""},
		{cloudSample(WebhookFailing), ""},
	} {
		var whole struct{ Data json.RawMessage }
		if err := json.Unmarshal(CloudEvent(test.event), &whole); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf(`{"event_type":"dockbell.%s","client_payload":{"action":"%[1]s","registry":"acme.example",%s"test":%v,"event":%s}}`,
			test.event.Action, test.image, test.event.Sample, whole.Data)
		if got := string(GitHubDispatch(test.event)); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", test.event.Action, got, want)
		}
	}
}

// The bodies for GitLab, byte for byte.
func TestGitLabTrigger(t *testing.T) {
	t.Parallel()
	sample := cloudSample(Push)
	sample.Sample = true
	const (
		place    = `"DOCKBELL_REGISTRY":"acme.example","DOCKBELL_LOCATION":"westus",`
		api      = `"DOCKBELL_REPOSITORY":"team/api",`
		byTag    = place + api + `"DOCKBELL_TAG":"1.4.2","DOCKBELL_DIGEST":"sha256:9f86","DOCKBELL_IMAGE":"acme.example/team/api:1.4.2",`
		byDigest = place + api + `"DOCKBELL_DIGEST":"sha256:9f86","DOCKBELL_IMAGE":"acme.example/team/api@sha256:9f86",`
		chart    = place + `"DOCKBELL_DIGEST":"sha256:6030","DOCKBELL_CHART":"web","DOCKBELL_CHART_VERSION":"2.1.0",`
	)
	for _, test := range []struct {
		event *Event
		about string
	}{
		{cloudSample(Push), byTag},
		{sample, `"DOCKBELL_TEST":"true",` + byTag},
		{cloudSample(Delete), byDigest},
		{cloudSample(Quarantine), byTag},
		{cloudSample(ChartPush), chart},
		{cloudSample(ChartDelete), chart},
		{cloudSample(Untag), byTag},
		{cloudSample(TagMoved), byTag + `"DOCKBELL_PREVIOUS_DIGEST":"sha256:77aa",`},
		{cloudSample(ReferrerAttached), byDigest + `"DOCKBELL_SUBJECT_DIGEST":"sha256:77aa","DOCKBELL_ARTIFACT_TYPE":"application/x",`},
		{cloudSample(Pull), byTag},
		{cloudSample(Ping), place},
		{cloudSample(WebhookFailing), place + `"DOCKBELL_WEBHOOK":"deployhook","DOCKBELL_CONDITION":"failing",`},
	} {
		want := fmt.Sprintf(`{"variables":{"DOCKBELL_ACTION":"%s","DOCKBELL_EVENT_ID":"5f4c","DOCKBELL_TIMESTAMP":"%s",%s"DOCKBELL_ACTOR":"Zoë \"the\" 100_"}}`,
			test.event.Action, test.event.Timestamp(), test.about)
		if got := string(GitLabTrigger(test.event)); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", test.event.Action, got, want)
		}
	}
}

// TestCloudExtras: without any, nothing differs; a prefix is in the type alone, and
// flat data are behind the others, where there is an image.
func TestCloudExtras(t *testing.T) {
	t.Parallel()
	const (
		tagged = `,"repositoryName":"team/api","imageTag":"1.4.2","imageDigest":"sha256:9f86","registryUrl":"acme.example"}`
		whole  = `,"repositoryName":"team/api","imageDigest":"sha256:9f86","registryUrl":"acme.example"}`
	)
	for _, action := range allActions {
		e := cloudSample(action)
		plain := string(CloudEvent(e))
		if got := string(CloudExtras{}.Structured(e)); got != plain {
			t.Errorf("%s without extras:\ngot  %s\nwant %s", action, got, plain)
		}
		var told struct{ Type string }
		if err := json.Unmarshal([]byte(plain), &told); err != nil {
			t.Fatal(err)
		}
		name := told.Type[strings.LastIndex(told.Type, "."):]
		want := strings.Replace(plain, told.Type, "com.example.container"+name, 1)
		if got := string(CloudExtras{TypePrefix: "com.example.container"}.Structured(e)); got != want {
			t.Errorf("%s with a prefix:\ngot  %s\nwant %s", action, got, want)
		}
		switch action {
		case Push, Quarantine, Untag, TagMoved, Pull:
			want = strings.TrimSuffix(want, "}}") + tagged + "}"
		case Delete, ReferrerAttached:
			want = strings.TrimSuffix(want, "}}") + whole + "}"
		}
		both := CloudExtras{TypePrefix: "com.example.container", FlatData: true}
		if got := string(both.Structured(e)); got != want {
			t.Errorf("%s with both:\ngot  %s\nwant %s", action, got, want)
		}
		attributes, data := both.Binary(e)
		if i := slices.IndexFunc(attributes, func(a Attribute) bool { return a.Field == "Ce-Type" }); attributes[i].Value != "com.example.container"+name {
			t.Errorf("%s: type %s", action, attributes[i].Value)
		}
		if !strings.HasSuffix(want, `,"data":`+string(data)+"}") {
			t.Errorf("%s in binary mode: data %s", action, data)
		}
		if again := string(CloudEvent(e)); again != plain {
			t.Errorf("%s: another encoding changed it: %s", action, again)
		}
	}
}

func TestCheckTypePrefix(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"", "dockbell", "com.example.registry", "Com.Ex-ample.r_1", strings.Repeat("a", 128)} {
		if err := CheckTypePrefix(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{".", "com.", ".com", "com..example", "com example", "com/example", "com.exämple", "com\r\n", `a"b`, "com.*"} {
		want := fmt.Sprintf("%q cannot begin the types of events: use letters, digits, '-' and '_' with single dots between them and none at the end, for example com.example.registry", bad)
		if err := CheckTypePrefix(bad); !fault.Is(err, fault.Invalid) || err.Error() != want {
			t.Errorf("%q: %v", bad, err)
		}
	}
	err := CheckTypePrefix(strings.Repeat("a", 129))
	if !fault.Is(err, fault.Invalid) || err.Error() != "the prefix of event types has 129 bytes: it may have 128" {
		t.Errorf("a long one: %v", err)
	}
}

// hostile returns an event of an action in which a stranger chose all texts.
func hostile(action Action, text string) *Event {
	e := cloudSample(action)
	e.Actor, e.Cause = text, text
	e.Target.MediaType, e.Target.ArtifactType = text, text
	e.Request.Host, e.Request.UserAgent = text, text
	if e.Webhook != nil {
		e.Webhook.LastError = text
	}
	return e
}

// TestDialectsAreSmall does for the other dialects what TestBodiesAreSmall does for
// ACR's bodies, with the limits of those who take them.
func TestDialectsAreSmall(t *testing.T) {
	t.Parallel()
	for _, worst := range []string{"\x00", "\xff", "\u2028", `"`, "x", "<", "&", "`", "$", "\U0010FFFF"} {
		for _, action := range allActions {
			e := hostile(action, strings.Repeat(worst, 1<<20))
			e.Registry.LoginServer = strings.Repeat("a", 255)
			if e.Target.Repository != "" {
				e.Target.Repository, e.Target.Name, e.Target.Version = strings.Repeat("r", 255), strings.Repeat("n", 250), strings.Repeat("v", 128)
				e.Target.Digest, e.Target.PreviousDigest, e.Target.SubjectDigest = "sha512:"+strings.Repeat("a", 128), "sha512:"+strings.Repeat("b", 128), "sha512:"+strings.Repeat("c", 128)
				if e.Target.Tag != "" {
					e.Target.Tag = strings.Repeat("t", 128)
				}
			}
			checkDialects(t, e)
		}
	}
}

// FuzzDialects: whatever strangers chose, each body is what its receiver takes, and
// their texts are nothing but text in it.
func FuzzDialects(f *testing.F) {
	for i, s := range []string{"", "ada", "<!channel> @here", "`*x*`", "$CI_JOB_TOKEN ${A} %B%", "a\r\nb\u202e", "\xff", "https://evil.example/", "&lt;"} {
		f.Add(uint8(i), s, "docker/27.1 (linux)")
		f.Add(uint8(i), "ada", s)
	}
	f.Fuzz(func(t *testing.T, action uint8, actor, rest string) {
		e := hostile(allActions[int(action)%len(allActions)], rest)
		e.Actor = actor
		checkDialects(t, e)
	})
}

// ourWords is what stands in a message beside code.
var ourWords = regexp.MustCompile(`^[A-Za-z0-9 ,:·%\n-]*$`)

func checkDialects(t *testing.T, e *Event) {
	t.Helper()
	bodies := map[string][]byte{"slack": SlackMessage(e), "github": GitHubDispatch(e), "gitlab": GitLabTrigger(e)}
	bodies["cloudevents"] = CloudExtras{TypePrefix: strings.Repeat("p", maxTypePrefix), FlatData: true}.Structured(e)
	for name, body := range bodies {
		if len(body) > MaxBody || !json.Valid(body) || !utf8.Valid(body) || bytes.ContainsRune(body, '\n') {
			t.Fatalf("%s of %s: %d bytes, want at most %d, in JSON: %.200s", name, e.Action, len(body), MaxBody, body)
		}
	}

	var slack slackMessage
	if err := json.Unmarshal(bodies["slack"], &slack); err != nil {
		t.Fatal(err)
	}
	if len(slack.Blocks) != 2 || len(slack.Text) > 2000 || slack.Text != slack.Blocks[0].Text.Text+"\n"+slack.Blocks[1].Elements[0].Text {
		t.Fatalf("slack: %d bytes of text: %s", len(slack.Text), bodies["slack"])
	}
	parts := strings.Split(slack.Text, "`")
	if len(parts)%2 == 0 {
		t.Fatalf("slack: code that does not end: %q", slack.Text)
	}
	for i, part := range parts {
		code := i%2 == 1
		if !code && !ourWords.MatchString(part) || strings.ContainsAny(part, "<>") || code && strings.ContainsFunc(part, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Fatalf("slack: %q in %q", part, slack.Text)
		}
	}

	var github struct {
		EventType     string                     `json:"event_type"`
		ClientPayload map[string]json.RawMessage `json:"client_payload"`
	}
	if err := json.Unmarshal(bodies["github"], &github); err != nil {
		t.Fatal(err)
	}
	if github.EventType != "dockbell."+string(e.Action) || len(github.EventType) > 100 || len(github.ClientPayload) > 10 {
		t.Fatalf("github: %s", bodies["github"])
	}

	var gitlab map[string]map[string]string
	if err := json.Unmarshal(bodies["gitlab"], &gitlab); err != nil {
		t.Fatal(err)
	}
	for name, value := range gitlab["variables"] {
		if !strings.HasPrefix(name, "DOCKBELL_") || strings.ContainsAny(value, "$%") || strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Fatalf("gitlab: %s=%q", name, value)
		}
	}
}
