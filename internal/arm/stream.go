package arm

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
)

// stream is the body of an answer that has no end of its own: it writes until
// the client, its rights, or the server goes.
type stream func(*eventStream)

// heartBeat is how long a stream is silent at the most. Proxies give up
// connections that are silent for a minute, many of them.
const heartBeat = 15 * time.Second

// writeLimit is how long a client may take to receive one write. One that does
// not read any more is gone after it.
const writeLimit = 20 * time.Second

// eventStream writes server-sent events (WHATWG HTML, section 9.2).
type eventStream struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

// wantsStream reports whether r asks for server-sent events.
func wantsStream(r *http.Request) bool {
	for _, field := range r.Header.Values("Accept") {
		for accepted := range strings.SplitSeq(field, ",") {
			media, _, _ := strings.Cut(accepted, ";")
			if strings.EqualFold(strings.TrimSpace(media), "text/event-stream") {
				return true
			}
		}
	}
	return false
}

// writeStream begins the answer and runs its stream.
func writeStream(w http.ResponseWriter, status int, run stream) {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("X-Accel-Buffering", "no") // nginx keeps what is sent until much came together
	w.WriteHeader(status)
	s := &eventStream{w, http.NewResponseController(w)}
	if s.beat() == nil { // the client learns at once that it is connected
		run(s)
	}
}

// beat writes a comment, which clients skip.
func (s *eventStream) beat() error { return s.write([]byte(":\n\n")) }

// mark writes a comment and the id that the client goes on from, without an
// event.
func (s *eventStream) mark(id string) error { return s.write([]byte(":\nid: " + id + "\n\n")) }

// send writes an event, whose data is JSON. An empty id or name is left out.
func (s *eventStream) send(id, name string, data any) error {
	var b bytes.Buffer
	if id != "" {
		b.WriteString("id: " + id + "\n")
	}
	if name != "" {
		b.WriteString("event: " + name + "\n")
	}
	b.WriteString("data: ")
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(data); err != nil { // one line, with its end
		return err
	}
	b.WriteString("\n")
	return s.write(b.Bytes())
}

// fail tells the client why the stream ends: an event named error, whose data is
// the body of an error.
func (s *eventStream) fail(err error) {
	f := fault.As(err)
	_, code := statusAndCode(f)
	s.send("", "error", errorBody{errorDetail{Code: code, Message: f.Message}})
}

func (s *eventStream) write(b []byte) error {
	s.rc.SetWriteDeadline(time.Now().Add(writeLimit)) // where that cannot be set, the client's reading is trusted
	defer s.rc.SetWriteDeadline(time.Time{})          // HTTP/2 ends a stream at its deadline, also a silent one
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	return s.rc.Flush()
}

// recheck fails if the caller may not go on with what was begun: the password
// was changed, the token ended, a role was taken away, or the registry is gone.
func (a *api) recheck(c call) error {
	caller, err := a.Authenticate(c.Request)
	if err != nil {
		return err
	}
	c.caller = caller
	return a.admit(&c)
}
