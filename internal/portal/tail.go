package portal

import (
	"bytes"
	"net/http"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
)

// A tail is server-sent events (WHATWG HTML, section 9.2) that keep a page fresh: rows
// that are new, and parts that changed. It looks for them again and again, by the API
// as the page does, so that it ends when the visitor may not see them any more.
const (
	tailEvery = time.Second      // between two looks
	tailBeat  = 15 * time.Second // the longest silence: proxies give up what is silent
	tailLife  = 10 * time.Minute // then the browser asks again, and shows who it is
	maxTails  = 200              // at once
	tailWrite = 20 * time.Second // for a browser to take one message

	// overlap is how long an attempt may take, and be on its way to the log. A look
	// goes back so far, since attempts are found by when they began.
	overlap = 40 * time.Second

	lag       = time.Second     // between the end of an attempt and its being on record
	maxResume = 5 * time.Minute // what was missed for longer, a new page shows
)

// message is an event of a tail.
type message struct {
	name, html string
	key        string    // what it says, whenever it is said: times in html are relative
	at         time.Time // when that came to be; zero: of a part, which is sent at first too
}

// part writes a template of a page's set.
func part(name, part string, data any) (string, error) {
	var b bytes.Buffer
	err := templates[name].ExecuteTemplate(&b, part, data)
	return b.String(), err
}

// tailWriter writes server-sent events.
type tailWriter struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

// tailing has a browser sent events, if not too many are. Whoever gets a writer calls
// done in the end.
func (p *portal) tailing(w http.ResponseWriter) (t *tailWriter, done func(), err error) {
	if p.tails.Add(1) > maxTails {
		p.tails.Add(-1)
		return nil, nil, fault.New(fault.Unavailable, "%d pages are kept fresh already: load this one again by hand", maxTails)
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("X-Accel-Buffering", "no") // nginx keeps what is sent until much came together
	w.WriteHeader(http.StatusOK)
	return &tailWriter{w, http.NewResponseController(w)}, func() { p.tails.Add(-1) }, nil
}

// send writes an event. An id is where the browser goes on from; without a name it is
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
	t.rc.SetWriteDeadline(time.Now().Add(tailWrite)) // where that cannot be set, the browser's reading is trusted
	defer t.rc.SetWriteDeadline(time.Time{})
	if _, err := t.w.Write(b.Bytes()); err != nil {
		return err
	}
	return t.rc.Flush()
}

// tail sends what look finds: what began at a time or later, in order. What it found
// before is not sent again. What a browser has already is known by when its page was
// made, in the address, or the last message it got.
func (p *portal) tail(w http.ResponseWriter, v *visit, look func(since time.Time) ([]message, error)) error {
	since := time.Now().UTC()
	for _, text := range []string{v.URL.Query().Get("since"), v.Header.Get("Last-Event-ID")} { // the second counts
		if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
			since = later(t, since.Add(-maxResume))
		}
	}
	now := time.Now()
	all, err := look(since.Add(-overlap))
	if err != nil {
		return err
	}
	sent := map[string]bool{} // by key: what the last look found
	for _, m := range all {
		if !m.at.IsZero() && m.at.Before(since.Add(-lag)) {
			sent[m.key] = true
		}
	}
	stream, done, err := p.tailing(w)
	if err != nil {
		return err
	}
	defer done()
	if stream.send("", "", "") != nil {
		return nil
	}
	ticks := time.NewTicker(tailEvery)
	defer ticks.Stop()
	end := time.NewTimer(tailLife)
	defer end.Stop()
	silent := time.Now()
	for {
		found := make(map[string]bool, len(all))
		for _, m := range all {
			found[m.key] = true
			if sent[m.key] {
				continue
			}
			silent = time.Now()
			if stream.send(now.UTC().Format(time.RFC3339Nano), m.name, m.html) != nil {
				return nil
			}
		}
		sent = found
		if time.Since(silent) > tailBeat {
			silent = time.Now()
			if stream.send("", "", "") != nil {
				return nil
			}
		}
		select {
		case <-ticks.C:
		case <-end.C:
			return nil
		case <-v.Context().Done():
			return nil
		case <-p.Stopping:
			return nil
		}
		now = time.Now()
		if all, err = look(now.Add(-overlap)); err != nil {
			// A session that ended shows when the browser asks again; what is gone or
			// not allowed any more stays so.
			if fault.Is(err, fault.NotFound) || fault.Is(err, fault.Denied) {
				stream.send("", "end", "")
			}
			return nil
		}
	}
}
