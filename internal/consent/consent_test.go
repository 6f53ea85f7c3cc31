package consent

import (
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestHeader(t *testing.T) {
	t.Parallel()
	h := Header("acme.example", 0)
	if h.Get("WebHook-Request-Origin") != "acme.example" || len(h) != 1 {
		t.Errorf("without a rate: %v", h)
	}
	h = Header("acme.example", 120)
	if h.Get("WebHook-Request-Origin") != "acme.example" || h.Get("WebHook-Request-Rate") != "120" || len(h) != 2 {
		t.Errorf("with a rate: %v", h)
	}
}

// TestRead: an answer is consent by its status and its header together, and by
// nothing less.
func TestRead(t *testing.T) {
	t.Parallel()
	const none = "-"
	for _, test := range []struct {
		status       int
		origin, rate string
		body         string
		perMinute    int
		refusal      string
	}{
		{200, "*", none, "", 0, ""},
		{204, "*", "*", "", 0, ""},
		{200, "acme.example", "120", "", 120, ""},
		{200, "ACME.example", "1", "", 1, ""},
		{200, none, none, "", 0, `the answer was 200 without WebHook-Allowed-Origin`},
		{200, none, "120", "hello\n  world", 0, `the answer was 200 without WebHook-Allowed-Origin "hello world"`},
		{200, "", none, "", 0, `the answer allows the origin "", and not acme.example`},
		{200, "other.example", none, "", 0, `the answer allows the origin "other.example", and not acme.example`},
		{200, "acme.example.evil", none, "", 0, `the answer allows the origin "acme.example.evil", and not acme.example`},
		{200, "example", none, "", 0, `the answer allows the origin "example", and not acme.example`},
		{200, "other.example, acme.example", none, "", 0, `the answer allows the origin "other.example, acme.example", and not acme.example`},
		{200, "*", "0", "", 0, `the answer allows a rate of "0", which is neither * nor a number from 1 on`},
		{200, "*", "-3", "", 0, `the answer allows a rate of "-3", which is neither * nor a number from 1 on`},
		{200, "*", "many", "", 0, `the answer allows a rate of "many", which is neither * nor a number from 1 on`},
		{201, "*", "*", "", 0, `the answer was 201, and 200 or 204 is needed`},
		{202, "*", "*", "", 0, `the answer was 202, and 200 or 204 is needed`},
		{301, "*", "*", "", 0, `the answer was 301, and 200 or 204 is needed`},
		{307, "*", "*", "", 0, `the answer was 307, and 200 or 204 is needed`},
		{401, "*", "*", "", 0, `the answer was 401, and 200 or 204 is needed`},
		{405, none, none, "Method Not Allowed", 0, `the answer was 405 "Method Not Allowed", and 200 or 204 is needed`},
		{500, "*", none, "\x1b[31m\xff" + strings.Repeat("é", 200), 0, `the answer was 500 "\x1b[31m` + strings.Repeat("é", 75) + `…", and 200 or 204 is needed`},
	} {
		header := map[string]string{}
		if test.origin != none {
			header[http.CanonicalHeaderKey("WebHook-Allowed-Origin")] = test.origin
		}
		if test.rate != none {
			header[http.CanonicalHeaderKey("WebHook-Allowed-Rate")] = test.rate
		}
		perMinute, refusal := Read("acme.example", test.status, header, []byte(test.body))
		if perMinute != test.perMinute || refusal != test.refusal {
			t.Errorf("%d %v: %d, %q\nwant %d, %q", test.status, header, perMinute, refusal, test.perMinute, test.refusal)
		}
	}
}

// FuzzRead: whatever comes, it is consent only with our origin or any, and a
// refusal is one line of text.
func FuzzRead(f *testing.F) {
	f.Add(200, "*", "*", []byte("{}"))
	f.Add(204, "acme.example", "12", []byte(nil))
	f.Add(405, "", "", []byte("\xff\x00\r\n"))
	f.Fuzz(func(t *testing.T, status int, origin, rate string, body []byte) {
		perMinute, refusal := Read("acme.example", status, map[string]string{allowedOriginField: origin, allowedRateField: rate}, body)
		if refusal == "" && (status != 200 && status != 204 || origin != "*" && !strings.EqualFold(origin, "acme.example")) {
			t.Errorf("%d %q is consent", status, origin)
		}
		if perMinute < 0 || refusal != "" && perMinute != 0 {
			t.Errorf("a rate of %d, %q", perMinute, refusal)
		}
		if len(refusal) > 1000 || !utf8.ValidString(refusal) || strings.ContainsAny(refusal, "\r\n\x00\x1b") {
			t.Errorf("refusal %q", refusal)
		}
	})
}

func TestStates(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := New()
	if s.Given(at) || !s.NextAt.IsZero() || s.Epoch == "" || s.Epoch == New().Epoch {
		t.Errorf("new: %+v", s)
	}
	refused := Failure{Status: 405, Why: "no"}
	var sum time.Duration
	for i, want := range []time.Duration{10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 5 * time.Minute} {
		f := s.Failed(at, refused, 0.5)
		if i < 4 {
			want += want / 20
		}
		if got := f.NextAt.Sub(at); got != want {
			t.Errorf("after %d failures the pause is %s, want %s", i+1, got, want)
		}
		s = s.Failed(at, refused, 0.5)
		at = s.NextAt
		sum += want
	}
	if s.Given(at) || s.Failures != 6 || at.Sub(s.Since) != sum || s.Last != refused {
		t.Errorf("refused: %+v", s)
	}
	if lo, hi := pause(99, 0), pause(99, 0.999999); lo != 4*time.Minute || hi <= 5*time.Minute || hi >= 6*time.Minute {
		t.Errorf("the flat end is from %s to %s", lo, hi)
	}

	g := s.Granted(at, 60)
	if !g.Given(at) || !g.Given(at.Add(GoodFor-1)) || g.Given(at.Add(GoodFor)) || g.PerMinute != 60 || g.Epoch != s.Epoch || g.Failures != 0 || g.Last != (Failure{}) {
		t.Errorf("granted: %+v", g)
	}
	if before := g.Until.Sub(g.NextAt); before != renewBefore {
		t.Errorf("it is asked anew %s before the end", before)
	}

	// A renewal that fails does no harm before the end.
	r := g.Failed(g.NextAt, Failure{Class: "connect", Why: "no"}, 0)
	if !r.Given(g.Until.Add(-1)) || r.Given(g.Until) || r.PerMinute != 60 || r.Failures != 1 || !r.Since.Equal(g.NextAt) {
		t.Errorf("renewal failed: %+v", r)
	}
	again := r.Again()
	if again.Until != r.Until || again.Failures != 0 || !again.NextAt.IsZero() || !again.AskedAt.IsZero() || again.Epoch != r.Epoch {
		t.Errorf("again: %+v", again)
	}
}

func TestTellAndGiveUp(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	fail := func(s State, n int) State {
		for range n {
			s = s.Failed(at, Failure{}, 0)
		}
		return s
	}
	told := fail(New(), 3)
	told.Told = true
	given := fail(New().Granted(at, 0), 200)
	for _, test := range []struct {
		name           string
		state          State
		at             time.Time
		tell, hopeless bool
	}{
		{"new", New(), at, false, false},
		{"two failures", fail(New(), 2), at, false, false},
		{"three", fail(New(), 3), at, true, false},
		{"told", told, at, false, false},
		{"often", fail(New(), 100), at.Add(giveUpAfter - 1), true, false},
		{"long", fail(New(), 99), at.Add(giveUpAfter), true, false},
		{"often and long", fail(New(), 100), at.Add(giveUpAfter), true, true},
		{"given", given, at.Add(giveUpAfter), false, false},
		{"over", given, at.Add(GoodFor), true, true},
	} {
		if tell, hopeless := test.state.Tell(test.at), test.state.Hopeless(test.at); tell != test.tell || hopeless != test.hopeless {
			t.Errorf("%s: tell %v, hopeless %v", test.name, tell, hopeless)
		}
	}
}
