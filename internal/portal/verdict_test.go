package portal

import (
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/controlclient"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	moment := time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
	for _, tt := range []struct {
		name        string
		h           *controlclient.Health
		class, word string
		waits, why  string
	}{
		{"unknown", nil, "", "Unknown", "", ""},
		{"new", &controlclient.Health{State: "ok"}, "", "Nothing sent yet", "", ""},
		{"good", &controlclient.Health{State: "ok", LastAttempt: moment, LastSuccess: moment, LastStatus: 200}, "good", "Delivered", "", ""},
		{"good, for a reader", &controlclient.Health{State: "ok", LastAttempt: moment, LastSuccess: moment}, "good", "Delivered", "", ""},
		{"refusing", &controlclient.Health{State: "ok", LastAttempt: moment, LastSuccess: moment, LastStatus: 400}, "", "Refused", "", "the receiver answered 400"},
		{"under way", &controlclient.Health{State: "ok", LastAttempt: moment, Waiting: 1}, "wait", "Waiting", "1 event waits", ""},
		{"failing", &controlclient.Health{State: "ok", ConsecutiveFailures: 2, FirstFailure: moment, LastAttempt: moment, LastError: "dns", Waiting: 2}, "bad", "Failing", "2 events wait", "its name has no address"},
		{"parked", &controlclient.Health{State: "failing", ConsecutiveFailures: 7, FirstFailure: moment, LastError: "connect", Waiting: 1, Behind: 3000}, "bad", "Parked", "1 event waits, and up to 3\u202f000 more", "no connection"},
		{"parked, for a reader", &controlclient.Health{State: "failing", ConsecutiveFailures: 7, Behind: 1}, "bad", "Parked", "up to 1 event waits", ""},
		{"catching up", &controlclient.Health{State: "catchingUp", LastAttempt: moment, Behind: 2}, "wait", "Waiting", "up to 2 events wait", ""},
		{"paused", &controlclient.Health{State: "paused", PausedAt: moment, ConsecutiveFailures: 3}, "pause", "Paused", "", ""},
		{"awaiting consent", &controlclient.Health{State: "awaitingConsent", ConsecutiveFailures: 3}, "wait", "Awaiting consent", "", ""},
		{"disabled", &controlclient.Health{State: "disabled", ConsecutiveFailures: 3}, "pause", "Disabled", "", ""},
	} {
		v := judge(tt.h)
		if v.Badge.Class != tt.class || v.Badge.Word != tt.word || v.Waits != tt.waits || v.Because != tt.why || v.Lead == "" {
			t.Errorf("%s: %+v", tt.name, v)
		}
	}
}

// TestByTrouble sorts what needs somebody before the rest, and among equals who has
// waited longest.
func TestByTrouble(t *testing.T) {
	t.Parallel()
	old := time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
	row := func(name string, h controlclient.Health) endpointRow {
		return endpointRow{Name: name, Verdict: judge(&h), Health: h}
	}
	rows := []endpointRow{
		row("disabled", controlclient.Health{State: "disabled"}), row("Bgood", controlclient.Health{State: "ok", LastAttempt: old}), row("agood", controlclient.Health{State: "ok", LastAttempt: old}),
		row("newparked", controlclient.Health{State: "failing", OldestUndelivered: old.Add(time.Hour)}), row("waiting", controlclient.Health{State: "ok", Waiting: 1}),
		row("oldparked", controlclient.Health{State: "failing", OldestUndelivered: old}), row("failing", controlclient.Health{State: "ok", ConsecutiveFailures: 1}),
	}
	byTrouble(rows, func(r endpointRow) endpointRow { return r })
	want := []string{"oldparked", "newparked", "failing", "waiting", "agood", "Bgood", "disabled"}
	for i, r := range rows {
		if r.Name != want[i] {
			t.Errorf("place %d has %s, want %s", i, r.Name, want[i])
		}
	}
}
