package portal

import (
	"net/url"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/controlclient"
)

// TestQuote has a shell read what was quoted.
func TestQuote(t *testing.T) {
	t.Parallel()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "plain", "https://a.example/x?b=c&d=$(id)", "it's", `a"b\c`, "two\nlines", "`id`", "-n", "*", "~", "#", "é\x07"} {
		out, err := exec.Command(sh, "-c", "printf %s "+quote(text)).Output()
		if err != nil || string(out) != text {
			t.Errorf("%q is quoted as %s, which is %q: %v", text, quote(text), out, err)
		}
	}
}

func TestStoryJudge(t *testing.T) {
	t.Parallel()
	soon := time.Now().Add(time.Hour)
	for _, tt := range []struct {
		name string
		s    *controlclient.Standing
		word string
		next string
		at   bool
	}{
		{"gone", nil, "Not kept", "not kept any more", false},
		{"delivered", &controlclient.Standing{State: "delivered"}, "Delivered", "Nothing more happens.", false},
		{"refused", &controlclient.Standing{State: "refused"}, "Refused", "not tried again", false},
		{"dead", &controlclient.Standing{State: "dead", DeadLetter: &controlclient.DeadLetter{Reason: "30 attempts failed"}}, "Given up", "dead letter", false},
		{"never owed", &controlclient.Standing{State: "none"}, "Not owed", "did not ask for it", false},
		{"later", &controlclient.Standing{State: "waiting", Attempts: 2, MaxAttempts: 30, NextAttempt: soon, ExpiresAt: soon}, "Waiting", "It is tried again, attempt 3 of 30,", true},
		{"now", &controlclient.Standing{State: "waiting", MaxAttempts: 30}, "Waiting", "It is being sent, attempt 1 of 30.", false},
		{"paused", &controlclient.Standing{State: "waiting", Paused: true, Behind: true}, "Waiting", "until the webhook is resumed", false},
		{"behind", &controlclient.Standing{State: "waiting", Behind: true}, "Waiting", "behind others that come first.", false},
		{"probing", &controlclient.Standing{State: "waiting", Probing: true, Behind: true, NextAttempt: soon}, "Waiting", "because the receiver fails", true},
	} {
		s := &story{endpoint: &endpoint{family: webhooks}, Standing: tt.s}
		s.judge()
		if s.Now.Word != tt.word || !strings.Contains(s.Next, tt.next) || s.NextAt.IsZero() == tt.at {
			t.Errorf("%s: %+v %q %s", tt.name, s.Now, s.Next, s.NextAt)
		}
		if tt.s != nil && tt.s.DeadLetter != nil && s.Reason == "" {
			t.Errorf("%s: no reason", tt.name)
		}
	}
}

func TestLogQuery(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)
	for query, want := range map[string]controlclient.EventFilter{
		"":                                 {},
		"outcome=failed&action=push":       {Outcome: "failed", Action: "push"},
		"image=team/web:v1":                {Repository: "team/web", Tag: "v1"},
		"image=team/web&id=e1":             {Repository: "team/web", EventID: "e1"},
		"range=24h":                        {From: now.Add(-24 * time.Hour)},
		"range=1h&until=2026-03-13":        {From: now.Add(-time.Hour), Until: now.Add(-33 * time.Hour)},
		"from=2026-03-14T08:30":            {From: now.Add(-30 * time.Minute)},
		"from=2026-03-14T08:30:00%2B01:00": {From: now.Add(-90 * time.Minute)},
		"replay=3":                         {Replay: 3},
	} {
		q := parseLogQuery(&url.URL{Path: "/log", RawQuery: query})
		got, err := q.filter(now)
		if err != nil || !got.From.Equal(want.From) || !got.Until.Equal(want.Until) {
			t.Errorf("%s: %+v %v", query, got, err)
		}
		got.From, got.Until, want.From, want.Until = time.Time{}, time.Time{}, time.Time{}, time.Time{}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", query, got, want)
		}
	}
	for _, query := range []string{"from=noon", "until=x", "replay=x", "replay=0"} {
		if _, err := parseLogQuery(&url.URL{RawQuery: query}).filter(now); err == nil {
			t.Errorf("%s is taken", query)
		}
	}
	q := parseLogQuery(&url.URL{Path: "/log", RawQuery: "outcome=failed&after=x&image=a%26b"})
	if got := q.with("outcome", ""); got != "/log?image=a%26b" {
		t.Errorf("without a filter: %s", got)
	}
	if got := q.with("action", "push"); got != "/log?action=push&image=a%26b&outcome=failed" {
		t.Errorf("with one more: %s", got)
	}
}

// TestFilterLines reads conditions and writes them as they were.
func TestFilterLines(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		line string
		want controlclient.AdvancedFilter // its Key is k; without an operator: it is refused
	}{
		{"k StringIn a b", controlclient.AdvancedFilter{OperatorType: "StringIn", Values: []any{"a", "b"}}},
		{"k NumberLessThan 5", controlclient.AdvancedFilter{OperatorType: "NumberLessThan", Value: 5.0}},
		{"k NumberIn 1 2.5", controlclient.AdvancedFilter{OperatorType: "NumberIn", Values: []any{1.0, 2.5}}},
		{"k NumberInRange 1,2 5,9", controlclient.AdvancedFilter{OperatorType: "NumberInRange", Values: []any{[]any{1.0, 2.0}, []any{5.0, 9.0}}}},
		{"k BoolEquals true", controlclient.AdvancedFilter{OperatorType: "BoolEquals", Value: true}},
		{"k IsNotNull", controlclient.AdvancedFilter{OperatorType: "IsNotNull"}},
		{"k NumberLessThan few", controlclient.AdvancedFilter{}},
		{"k NumberIn NaN", controlclient.AdvancedFilter{}},
		{"k NumberInRange 1", controlclient.AdvancedFilter{}},
		{"k BoolEquals perhaps", controlclient.AdvancedFilter{}},
	} {
		got, err := parseFilterLine(strings.Fields(tt.line))
		if tt.want.OperatorType == "" {
			if err == nil {
				t.Errorf("%s is taken as %+v", tt.line, got)
			}
			continue
		}
		tt.want.Key = "k"
		if err != nil || !reflect.DeepEqual(got, tt.want) || filterLine(got) != tt.line {
			t.Errorf("%s: %+v %v, written as %s", tt.line, got, err, filterLine(got))
		}
	}
}

// TestCurl repeats what was sent, and hides what the log hides.
func TestCurl(t *testing.T) {
	t.Parallel()
	a := attempt{Method: "POST", URI: "https://a.example/?code=***", Body: `{"it":"it's"}`, Sent: headerRows(map[string]string{"Content-Length": "3", "Authorization": redacted, "X-A": "b"})}
	want := `curl -i -X POST 'https://a.example/?code=***' -H 'Authorization: ******' -H 'X-A: b' --data-binary '{"it":"it'\''s"}'`
	if got := a.curl(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := (attempt{}).curl(); got != "" {
		t.Errorf("of nothing: %s", got)
	}
}

// TestAnswered: a status that is made up is told from one that came back.
func TestAnswered(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		version, status, reason string
		want                    bool
	}{
		{"1.1", "502", "Bad Gateway", true}, {"2.0", "502", "", true}, {"1.1", "502", "BadGateway", true},
		{"", "502", "BadGateway", false}, {"", "504", "GatewayTimeout", false}, {"", "", "Interrupted", false},
		{"", "200", "stored", true}, {"", "401", "", true}, // of brokers
	} {
		var ev controlclient.Event
		ev.Response.Version, ev.Response.StatusCode, ev.Response.ReasonPhrase = c.version, c.status, c.reason
		if answered(ev) != c.want {
			t.Errorf("%+v: %v", c, !c.want)
		}
	}
}
