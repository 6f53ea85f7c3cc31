package portal

import (
	"encoding/json"
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

// storyAttempts is how many attempts a story shows: a policy has fewer, replays add
// some.
const storyAttempts = 100

// story is what became of one event for one endpoint.
type story struct {
	*endpoint
	EventID  string
	Standing *controlclient.Standing // nil: the event is not kept any more
	Now      badge
	Next     string    // what happens next, a sentence
	NextAt   time.Time // zero: the sentence says it all
	GivesUp  time.Time // zero: it does not
	Reason   string    // of the dead letter
	Facts    eventFacts
	Attempts []attempt // newest first
	Curl     string    // what sends the newest request again; empty: nothing was sent
	Tail     string
	at       string
}

// Redeliver is where the form of that goes.
func (s story) Redeliver() string { return s.Path("deliveries", s.EventID, "redeliver") }

// At is when the event happened, as the address has it.
func (s story) At() string { return s.at }

// eventFacts are what happened, of the body that webhooks are sent.
type eventFacts struct {
	controlclient.EventBody
	Request struct {
		ID        string `json:"id"`
		Host      string `json:"host"`
		Method    string `json:"method"`
		UserAgent string `json:"useragent"`
	} `json:"request"`
	Image, ImageLink string    `json:"-"`
	When             time.Time `json:"-"`
	Who              string    `json:"-"`
	Raw              string    `json:"-"` // the body
}

// attempt is one request and what came of it.
type attempt struct {
	logRow
	Class    string // of the mark on the time line
	Open     bool
	Method   string
	URI      string
	Sent     []headerRow
	Body     string
	Reason   string // phrase of the answer
	Answered bool
	Got      []headerRow
	Answer   string
	Format   string // the body is not this: it was sent in this format; empty: it is
}

// headerRow is a header field; the value of a secret one is hidden.
type headerRow struct {
	Name, Value string
	Hidden      bool
}

// redacted is what the API has in the place of a secret.
const redacted = "******"

func headerRows(fields map[string]string) []headerRow {
	var rows []headerRow
	for name, value := range fields {
		rows = append(rows, headerRow{name, value, value == redacted})
	}
	slices.SortFunc(rows, func(a, b headerRow) int { return strings.Compare(a.Name, b.Name) })
	return rows
}

func init() {
	done["redelivered"] = "It is rung once more: the new attempt shows below as soon as it is made."
}

// story reads what became of the event that the path names.
func (v *visit) story(e *endpoint) (*story, error) {
	s := &story{endpoint: e, EventID: v.PathValue("event"), at: v.URL.Query().Get("at")}
	happened, _ := time.Parse(time.RFC3339Nano, s.at)
	standing, err := v.api.Standing(v.Context(), e.ref(), s.EventID, happened)
	if err == nil {
		s.Standing = &standing
		if s.at == "" {
			s.at = standing.Event.Timestamp
		}
	} else if !fault.Is(err, fault.NotFound) {
		return nil, err
	}
	page, err := v.api.EventPage(v.Context(), e.ref(), controlclient.EventFilter{EventID: s.EventID, EventTime: happened}, "", storyAttempts)
	if err != nil {
		return nil, err
	}
	if s.Standing == nil && len(page.Value) == 0 {
		return nil, fault.New(fault.NotFound, "there is no event %.80q that is still kept: the log of %s has those that are", s.EventID, e.Name)
	}
	for i, ev := range page.Value {
		s.Attempts = append(s.Attempts, e.attempt(ev, i == 0))
	}
	s.readFacts(page.Value)
	s.judge()
	if len(s.Attempts) > 0 && e.Format == "" {
		s.Curl = s.Attempts[0].curl()
	}
	if s.Standing == nil {
		return s, nil // nothing more comes
	}
	tail := url.Values{"since": {time.Now().UTC().Format(time.RFC3339Nano)}, "at": {s.at}}
	s.Tail = at(e.Path("deliveries", s.EventID, "tail"), tail)
	return s, nil
}

// readFacts fills in what happened, from the event or else from what was sent.
func (s *story) readFacts(attempts []controlclient.Event) {
	var raw json.RawMessage
	switch {
	case s.Standing != nil:
		var whole struct{ Event json.RawMessage }
		if json.Unmarshal(s.Standing.Raw, &whole) == nil {
			raw = whole.Event
		}
		s.Facts.Who = s.Standing.Actor
	case len(attempts) > 0:
		raw = contentOf(attempts[0])
	}
	who := s.Facts.Who
	if json.Unmarshal(raw, &s.Facts) != nil {
		return // it is shown without
	}
	s.Facts.Who, s.Facts.Raw = who, string(raw)
	s.Facts.Image, s.Facts.ImageLink = s.Facts.EventBody.Image(), imageLink(s.registry.Name, s.Facts.EventBody)
	s.Facts.When, _ = time.Parse(time.RFC3339Nano, s.Facts.Timestamp)
}

// contentOf returns the event of an attempt as it came.
func contentOf(ev controlclient.Event) json.RawMessage {
	var whole struct {
		Request struct {
			Content json.RawMessage `json:"content"`
		} `json:"eventRequestMessage"`
	}
	if json.Unmarshal(ev.Raw, &whole) != nil || string(whole.Request.Content) == "null" {
		return nil
	}
	return whole.Request.Content
}

// judge says how the event stands, and what happens next.
func (s *story) judge() {
	n := s.Standing
	if n == nil {
		s.Now, s.Next = badge{"", "Not kept"}, "The event itself is not kept any more; what was sent of it is below."
		return
	}
	if n.DeadLetter != nil {
		s.Reason = n.DeadLetter.Reason
	}
	switch n.State {
	case controlclient.StandsDelivered:
		s.Now, s.Next = badge{"good", "Delivered"}, "Nothing more happens."
	case controlclient.StandsRefused:
		s.Now, s.Next = badge{"", "Refused"}, "The receiver does not want it, so it is not tried again."
	case controlclient.StandsDead:
		s.Now, s.Next = badge{"bad", "Given up"}, "It is a dead letter, and is not tried again until somebody asks for it."
	case controlclient.StandsNowhere:
		s.Now, s.Next = badge{"", "Not owed"}, "This "+s.noun+" did not ask for it when it happened."
		if len(s.Attempts) > 0 {
			s.Now, s.Next = badge{"bad", "Not delivered"}, "It is not tried again."
		}
	case controlclient.StandsWaiting:
		s.Now, s.GivesUp = badge{"wait", "Waiting"}, n.ExpiresAt
		nth := ""
		if n.MaxAttempts > 0 {
			nth = fmt.Sprintf(", attempt %d of %d", n.Attempts+1, n.MaxAttempts)
		}
		switch {
		case n.Paused:
			s.Next = "It waits until the " + s.noun + " is resumed."
		case n.Probing && n.Attempts == 0:
			s.Next, s.NextAt = "It waits behind others, because the receiver fails. One of them is tried", n.NextAttempt
		case n.Behind:
			s.Next = "It waits behind others that come first" + nth + "."
		case n.NextAttempt.After(time.Now()):
			s.Next, s.NextAt = "It is tried again"+nth+",", n.NextAttempt
		default:
			s.Next = "It is being sent" + nth + "."
		}
	}
}

// attempt shows an attempt with all that was exchanged.
func (e *endpoint) attempt(ev controlclient.Event, open bool) attempt {
	a := attempt{
		logRow: e.row(ev), Open: open, Method: ev.Request.Method, URI: ev.Request.RequestURI, Sent: headerRows(ev.Request.Headers),
		Body: string(contentOf(ev)), Got: headerRows(ev.Response.Headers), Answer: ev.Response.Content,
		Answered: answered(ev), Format: e.Format,
	}
	if a.Answered {
		a.Reason = ev.Response.ReasonPhrase
	}
	if a.Class = a.Outcome.Class; a.Class == "pause" {
		a.Class = ""
	}
	return a
}

// curl returns the command that sends the request again, but for what is hidden of
// it.
func (a attempt) curl() string {
	if a.Method == "" || a.URI == "" {
		return ""
	}
	var b strings.Builder
	b.WriteString("curl -i -X " + quote(a.Method) + " " + quote(a.URI))
	for _, h := range a.Sent {
		if strings.EqualFold(h.Name, "Content-Length") {
			continue
		}
		b.WriteString(" -H " + quote(h.Name+": "+h.Value))
	}
	if a.Body != "" {
		b.WriteString(" --data-binary " + quote(a.Body))
	}
	return b.String()
}

// quote writes a text as one word of a POSIX shell.
func quote(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@%+,", r)
	}
	if text != "" && !strings.ContainsFunc(text, func(r rune) bool { return !plain(r) }) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

func showStory(p *portal, w http.ResponseWriter, v *visit, e *endpoint) error {
	s, err := v.story(e)
	if err != nil {
		return err
	}
	title := strings.TrimSpace(s.Facts.Action + " " + s.Facts.Image)
	if title == "" {
		title = "Event " + s.EventID
	}
	return p.render(w, v.Request, v, http.StatusOK, "story", page{Title: title, Section: e.section, Crumbs: e.crumbs(true), Body: s})
}

// tailStory sends attempts as they are made, and how the event stands then.
func tailStory(p *portal, w http.ResponseWriter, v *visit, e *endpoint) error {
	return p.tail(w, v, func(since time.Time) ([]message, error) {
		s, err := v.story(e)
		if err == nil && s.Standing == nil {
			err = fault.New(fault.NotFound, "the event is not kept any more")
		}
		if err != nil {
			return nil, err
		}
		var all []message
		for _, a := range slices.Backward(s.Attempts) {
			if a.At.Before(since) {
				continue
			}
			a.Open = true
			html, err := part("story", "attempt", a)
			if err != nil {
				return nil, err
			}
			all = append(all, message{"row", html, a.ID + a.Outcome.Word, a.At.Add(a.Duration)})
		}
		html, err := part("story", "standing", s)
		return append(all, message{"part", html, fmt.Sprint(s.Now, s.Next, s.NextAt, s.GivesUp, s.Reason), time.Time{}}), err
	})
}

// redeliver rings one event once more, and comes back to its story.
func redeliver(p *portal, w http.ResponseWriter, v *visit, e *endpoint) error {
	id := v.PathValue("event")
	if _, err := v.api.Redeliver(v.Context(), e.ref(), id); err != nil {
		return err
	}
	to := url.Values{"done": {"redelivered"}}
	if happened := v.PostFormValue("at"); happened != "" {
		to.Set("at", happened)
	}
	http.Redirect(w, v.Request, at(e.Path("deliveries", id), to), http.StatusSeeOther)
	return nil
}

// Nth says which attempt a row is.
func (r logRow) Nth() string {
	if r.Replay > 0 {
		return strconv.Itoa(r.Attempt) + " of replay " + strconv.FormatInt(r.Replay, 10)
	}
	return strconv.Itoa(r.Attempt)
}
