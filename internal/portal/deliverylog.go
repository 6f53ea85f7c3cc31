package portal

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

// logPage is how many attempts a page of the log shows.
const logPage = 50

// deliveryLog is a page of the attempts of an endpoint.
type deliveryLog struct {
	Rows    []logRow
	Query   logQuery
	Problem string // why the filter cannot be followed
	Older   string // address of the next page; empty: this is the last
	Newest  string // address of the first page; empty: this is it
	Sifted  bool   // the page is short, and there may be more that the filter takes
	Tail    string // where rows come from; empty: none do
	Ranges  []choiceLink
	States  []choiceLink
	Actions []choiceLink
}

// choiceLink is a filter.
type choiceLink struct {
	Text, Link string
	Current    bool
}

// logRow is an attempt as a row.
type logRow struct {
	ID        string // of the element
	EventID   string
	Link      string // to the event's story
	Action    string
	Image     string
	ImageLink string
	Status    string
	At        time.Time
	Attempt   int
	Replay    int64
	Duration  time.Duration
	Outcome   badge
}

// logQuery is what of the log is shown, as the address has it.
type logQuery struct {
	Outcome, Action, Image, Range, From, Until, ID, Replay string
	after                                                  string
	path                                                   string
}

// logSpans are spans of time that end now.
var logSpans = []struct {
	word, text string
	span       time.Duration
}{{"", "All times", 0}, {"1h", "Last hour", time.Hour}, {"24h", "Last 24 h", 24 * time.Hour}, {"7d", "Last 7 d", 7 * 24 * time.Hour}}

// logActions are the actions that a log can be of.
var logActions = []string{"push", "delete", "quarantine", "chart_push", "chart_delete", "untag", "tag_moved", "referrer_attached", "pull", "webhook_failing", "ping"}

func parseLogQuery(u *url.URL) logQuery {
	q := u.Query()
	text := func(name string) string { return strings.TrimSpace(q.Get(name)) }
	return logQuery{
		Outcome: text("outcome"), Action: text("action"), Image: text("image"), Range: text("range"),
		From: text("from"), Until: text("until"), ID: text("id"), Replay: text("replay"), after: text("after"), path: u.Path,
	}
}

// Any reports whether the log is narrowed at all.
func (q logQuery) Any() bool {
	return q.Outcome != "" || q.Action != "" || q.Image != "" || q.Range != "" || q.From != "" || q.Until != "" || q.ID != "" || q.Replay != ""
}

// values returns the query, without the place in the log.
func (q logQuery) values() url.Values {
	v := url.Values{}
	for name, text := range map[string]string{
		"outcome": q.Outcome, "action": q.Action, "image": q.Image, "range": q.Range, "from": q.From, "until": q.Until, "id": q.ID, "replay": q.Replay,
	} {
		if text != "" {
			v.Set(name, text)
		}
	}
	return v
}

// with returns the address of the log with a filter changed, from its beginning.
func (q logQuery) with(name, value string) string {
	v := q.values()
	v.Set(name, value)
	if value == "" {
		v.Del(name)
	}
	return at(q.path, v)
}

func at(path string, v url.Values) string {
	if len(v) == 0 {
		return path
	}
	return path + "?" + v.Encode()
}

// filter is the query as the API has it.
func (q logQuery) filter(now time.Time) (f controlclient.EventFilter, err error) {
	f = controlclient.EventFilter{Outcome: q.Outcome, Action: q.Action, EventID: q.ID}
	f.Repository, f.Tag, _ = strings.Cut(q.Image, ":")
	for _, r := range logSpans {
		if r.word == q.Range && r.span > 0 {
			f.From = now.Add(-r.span)
		}
	}
	for _, m := range []struct {
		text string
		time *time.Time
	}{{q.From, &f.From}, {q.Until, &f.Until}} {
		if m.text == "" {
			continue
		}
		if *m.time, err = parseMoment(m.text); err != nil {
			return f, err
		}
	}
	if q.Replay != "" {
		if f.Replay, err = strconv.ParseInt(q.Replay, 10, 64); err != nil || f.Replay < 1 {
			return f, fault.New(fault.Invalid, "%.40q is no number of a replay", q.Replay)
		}
	}
	return f, nil
}

// parseMoment reads a time as people and browsers write it. Without a zone it is
// UTC.
func parseMoment(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02 15:04", time.DateTime, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fault.New(fault.Invalid, "%.40q is no time: write it in UTC, for example 2026-01-31T15:04", text)
}

// deliveryLog reads the page of the log that the address asks for. What is wrong with
// the filter is shown beside it.
func (v *visit) deliveryLog(e *endpoint) (deliveryLog, error) {
	q := parseLogQuery(v.URL)
	l := deliveryLog{Query: q}
	for _, s := range []struct{ word, text string }{{"", "All"}, {"delivered", "Delivered"}, {"failed", "Failed"}, {"refused", "Refused"}, {"interrupted", "Interrupted"}} {
		l.States = append(l.States, choiceLink{s.text, q.with("outcome", s.word), q.Outcome == s.word})
	}
	for _, r := range logSpans {
		l.Ranges = append(l.Ranges, choiceLink{r.text, q.with("range", r.word), q.Range == r.word})
	}
	l.Actions = append(l.Actions, choiceLink{"All actions", q.with("action", ""), q.Action == ""})
	for _, a := range logActions {
		if slices.Contains(e.Actions, a) || a == "ping" && e.Webhook() || a == q.Action {
			l.Actions = append(l.Actions, choiceLink{a, q.with("action", a), a == q.Action})
		}
	}
	f, err := q.filter(time.Now())
	if err != nil {
		l.Problem = sentence(err)
		return l, nil
	}
	page, err := v.api.EventPage(v.Context(), e.ref(), f, q.after, logPage)
	if fault.Is(err, fault.Invalid) {
		l.Problem = sentence(err)
		return l, nil
	}
	if err != nil {
		return l, err
	}
	for _, ev := range page.Value {
		l.Rows = append(l.Rows, e.row(ev))
	}
	if page.Next != "" {
		older := q.values()
		older.Set("after", page.Next)
		l.Older = at(q.path, older)
		l.Sifted = len(page.Value) < logPage
	}
	if q.after != "" {
		l.Newest = at(q.path, q.values())
	} else if q.Until == "" && q.ID == "" { // an event has a page that is kept fresh
		tail := q.values()
		tail.Set("since", time.Now().UTC().Format(time.RFC3339Nano))
		l.Tail = at(e.Path("tail"), tail)
	}
	return l, nil
}

// row shows an attempt.
func (e *endpoint) row(ev controlclient.Event) logRow {
	body := ev.Request.Content
	status := ev.Response.StatusCode
	switch {
	case !answered(ev):
		status = "no answer"
	case status == "":
		status = "–"
	}
	return logRow{
		ID:      "attempt-" + ev.ID + "-" + strconv.FormatInt(ev.Replay, 10) + "-" + strconv.Itoa(ev.Attempt),
		EventID: ev.ID, Link: e.storyLink(ev.ID, body.Timestamp), Action: body.Action, Image: body.Image(), ImageLink: imageLink(e.registry.Name, body),
		Status: status, At: ev.Timestamp, Attempt: ev.Attempt, Replay: ev.Replay,
		Duration: time.Duration(ev.DurationMs * float64(time.Millisecond)), Outcome: outcome(ev.Outcome),
	}
}

// answered reports whether something came back. ACR's log has a status in any case; one
// that is made up comes without a version of HTTP and with one of these words, and
// what brokers say without the latter.
func answered(ev controlclient.Event) bool {
	return ev.Response.Version != "" || !slices.Contains([]string{"BadGateway", "GatewayTimeout", "Interrupted"}, ev.Response.ReasonPhrase)
}

// storyLink returns the address of an event's story. When it happened is in it, by
// which the server finds it however old it is.
func (e *endpoint) storyLink(eventID, happened string) string {
	link := e.Path("deliveries", eventID)
	if happened != "" {
		link += "?at=" + url.QueryEscape(happened)
	}
	return link
}

// imageLink returns the address of the page of what an event is about; empty where
// there is none.
func imageLink(registry string, b controlclient.EventBody) string {
	if b.Target.Repository == "" || b.Target.Name != "" {
		return ""
	}
	link := pathIn(registry, append([]string{"repositories"}, strings.Split(b.Target.Repository, "/")...)...)
	switch {
	case b.Target.Digest != "":
		link += "@" + url.PathEscape(b.Target.Digest)
	case b.Target.Tag != "":
		link += ":" + url.PathEscape(b.Target.Tag)
	}
	return link
}

// tailLog sends the rows of attempts as they are made, and how the endpoint fares.
func tailLog(p *portal, w http.ResponseWriter, v *visit, e *endpoint) error {
	q := parseLogQuery(v.URL)
	f, err := q.filter(time.Now())
	if err == nil && q.ID != "" {
		err = fault.New(fault.Invalid, "the log of one event is not kept fresh: its own page is")
	}
	if err != nil {
		return err
	}
	return p.tail(w, v, func(since time.Time) ([]message, error) {
		f := f
		f.From = later(f.From, since)
		page, err := v.api.EventPage(v.Context(), e.ref(), f, "", logPage)
		if err != nil {
			return nil, err
		}
		var all []message
		for _, ev := range slices.Backward(page.Value) {
			r := e.row(ev)
			html, err := part("endpoint", "log-row", r)
			if err != nil {
				return nil, err
			}
			all = append(all, message{"row", html, r.ID + ev.Outcome, r.At.Add(r.Duration)})
		}
		fresh, err := e.get(v, e.registry, e.Name)
		if err != nil {
			return nil, err
		}
		html, err := part("endpoint", "verdict", fresh.Verdict)
		return append(all, message{"part", html, fmt.Sprint(fresh.Verdict), time.Time{}}), err
	})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
