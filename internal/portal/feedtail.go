package portal

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

// A tail is the rows of a table as they come: server-sent events (WHATWG HTML,
// section 9.2), each a row.

const (
	// tailWait is how long a tail is silent at the most. What a visitor may is asked
	// anew each time.
	tailWait = 15 * time.Second

	// tailLife is how long a tail goes on. The browser asks for it again then, and
	// goes on where it was, with a session that may be another.
	tailLife = 10 * time.Minute

	// tailWriteLimit is how long a browser may take to receive one write.
	tailWriteLimit = 20 * time.Second

	// tailPage is how many events are read at a time.
	tailPage = 100
)

// tailWriter writes server-sent events.
type tailWriter struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func beginTail(w http.ResponseWriter) *tailWriter {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("X-Accel-Buffering", "no") // nginx keeps what is sent until much came together
	w.WriteHeader(http.StatusOK)
	return &tailWriter{w, http.NewResponseController(w)}
}

// send writes an event. An id is where the browser goes on from; without data it is
// all that is told.
func (t *tailWriter) send(id, name, data string) error {
	var b bytes.Buffer
	b.WriteString(":\n")
	if id != "" {
		b.WriteString("id: " + id + "\n")
	}
	if name != "" {
		b.WriteString("event: " + name + "\n")
		for line := range strings.Lines(strings.ReplaceAll(data, "\r", "\n")) {
			b.WriteString("data: " + strings.TrimSuffix(line, "\n") + "\n")
		}
		if data == "" {
			b.WriteString("data:\n")
		}
	}
	b.WriteString("\n")
	t.rc.SetWriteDeadline(time.Now().Add(tailWriteLimit)) // where that cannot be set, the browser's reading is trusted
	defer t.rc.SetWriteDeadline(time.Time{})
	if _, err := t.w.Write(b.Bytes()); err != nil {
		return err
	}
	return t.rc.Flush()
}

// tailFeed sends events of the feed as they happen. It ends with the session, the
// rights, or the server: the browser asks again and is told then.
func tailFeed(p *portal, w http.ResponseWriter, v *visit) error {
	from := v.Header.Get("Last-Event-ID")
	if from == "" {
		from = v.URL.Query().Get("after")
	}
	after, err := strconv.ParseInt(from, 10, 64)
	if err != nil || after < 0 {
		return fault.New(fault.Invalid, "%.40q is no position of the feed", from)
	}
	filter, _ := filterOf(v.URL.Query())
	// A first look, so that who may not see the feed is told so.
	feed, err := p.tailRead(v, &after, 0)
	if err != nil {
		return err
	}
	tail := beginTail(w)
	for until := time.Now().Add(tailLife); ; {
		for _, e := range feed.Entries {
			if !filter.Passes(&e.Event) {
				continue
			}
			var row bytes.Buffer
			if err := templates["events"].ExecuteTemplate(&row, "feedrow", v.feedRow(e)); err != nil {
				p.Log.Error("a row of the feed failed", "error", err)
				return nil
			}
			if tail.send(strconv.FormatInt(e.Position, 10), "row", row.String()) != nil {
				return nil // nobody is there any more
			}
		}
		if tail.send(strconv.FormatInt(after, 10), "", "") != nil {
			return nil
		}
		select {
		case <-p.Stopping:
			return nil
		default:
		}
		if time.Now().After(until) {
			return nil
		}
		if feed, err = p.tailRead(v, &after, tailWait); err != nil {
			return nil
		}
	}
}

// tailRead returns what is behind a position, for which it waits, and moves that
// on. What is not kept any more is passed over.
func (p *portal) tailRead(v *visit, after *int64, wait time.Duration) (controlclient.FeedPage, error) {
	feed, err := v.api.FeedWait(v.Context(), v.registry, *after, tailPage, wait)
	if expired, ok := controlclient.ExpiredIn(err); ok {
		*after = expired.Oldest - 1
		feed, err = v.api.FeedWait(v.Context(), v.registry, *after, tailPage, wait)
	}
	if err == nil {
		*after = feed.Next
	}
	return feed, err
}
