package controlclient

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dockbell/dockbell/internal/exchange"
	"github.com/dockbell/dockbell/internal/fault"
)

// A stream is server-sent events (HTML Standard, 9.2) over one answer that does
// not end by itself.

// silence is how long a stream may bring nothing before it counts as lost. The
// server sends something every 15 seconds.
const silence = 45 * time.Second

// maxMessage bounds one message of a stream, in bytes.
const maxMessage = 1 << 20

// errMessageTooLong is what a reader fails with beyond maxMessage.
var errMessageTooLong = errors.New("a message of the stream is too long")

// message is one server-sent event.
type message struct {
	id   string // of this message, or of the last one that had an id
	name string // empty: none was given
	data []byte
}

// messageReader cuts a stream into messages.
type messageReader struct {
	in      *bufio.Reader
	begun   bool // whether a byte was read
	afterCR bool // whether the last line ended with CR: a LF that follows belongs to it
	lastID  string
}

func newMessageReader(r io.Reader) *messageReader {
	return &messageReader{in: bufio.NewReader(r)}
}

// next returns the next message. What the stream's end cuts off is no message.
// The data is the caller's.
func (r *messageReader) next() (message, error) {
	var m message
	var hasData bool
	for {
		line, err := r.line()
		if err != nil {
			return message{}, err
		}
		if len(line) == 0 {
			if !hasData {
				m = message{} // a name without data is forgotten
				continue
			}
			m.id = r.lastID
			return m, nil
		}
		field, value, _ := bytes.Cut(line, []byte(":")) // a comment has an empty field
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event":
			m.name = string(value)
		case "data":
			if hasData {
				m.data = append(m.data, '\n')
			}
			m.data, hasData = append(m.data, value...), true
			if len(m.data) > maxMessage {
				return message{}, errMessageTooLong
			}
		case "id":
			if !bytes.ContainsRune(value, 0) {
				r.lastID = string(value)
			}
		}
	}
}

// line returns the next line without its end, which is LF, CR or both.
func (r *messageReader) line() ([]byte, error) {
	var line []byte
	for {
		b, err := r.in.ReadByte()
		if err != nil {
			return nil, err
		}
		if b == '\n' && r.afterCR {
			r.afterCR = false
			continue
		}
		r.afterCR = b == '\r'
		if b == '\n' || b == '\r' {
			if !r.begun {
				r.begun = true
				line = bytes.TrimPrefix(line, []byte("\ufeff"))
			}
			return line, nil
		}
		if len(line) == maxMessage {
			return nil, errMessageTooLong
		}
		line = append(line, b)
	}
}

// stream asks for path and calls each with every message, until each fails, ctx
// ends, or the stream does, which is a fault.Unavailable. opened is called when
// the server has agreed. lastID is the id of the last message of an earlier
// stream, empty for none.
func (c *Client) stream(ctx context.Context, path, lastID string, opened func(), each func(message) error) error {
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	// The time limit of other requests would cut the stream off. This one limits
	// its silence.
	var silent atomic.Bool
	watch := time.AfterFunc(c.silence, func() { silent.Store(true); cancel() })
	defer watch.Stop()
	lost := func(err error) error {
		if silent.Load() && ctx.Err() == nil {
			return fault.Wrap(err, fault.Unavailable, "%s was silent for %s", c.server, c.silence)
		}
		return exchange.Unreachable(ctx, c.server, err)
	}

	req, err := exchange.Request(reading, c.server, http.MethodGet, path, nil, c.username, c.password)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	endless := c.http
	endless.Timeout = 0
	resp, err := endless.Do(req)
	if err != nil {
		return lost(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		answer, err := io.ReadAll(io.LimitReader(resp.Body, maxMessage))
		if err != nil {
			return lost(err)
		}
		return c.refused(exchange.Answer{Status: resp.StatusCode, Header: resp.Header, Body: answer})
	}
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		return fault.New(fault.Internal, "%s answered with something that is no stream of events: is this the address of a dockbell server?", c.server)
	}
	opened()
	in := newMessageReader(readerFunc(func(p []byte) (int, error) {
		n, err := resp.Body.Read(p)
		watch.Reset(c.silence)
		return n, err
	}))
	for {
		m, err := in.next()
		if errors.Is(err, errMessageTooLong) {
			return fault.Wrap(err, fault.Internal, "%s sent a message of more than %d bytes", c.server, maxMessage)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
			return fault.Wrap(err, fault.Unavailable, "%s closed the connection", c.server)
		}
		if err != nil {
			return lost(err)
		}
		if m.name == endOfStream {
			return c.ended(m.data)
		}
		watch.Stop() // what each takes is no silence
		err = each(m)
		watch.Reset(c.silence)
		if err != nil {
			return err
		}
	}
}

// endOfStream is the name of the message by which a server says why it ends a
// stream.
const endOfStream = "error"

// ended makes a fault of what the server says. Whether it is for good shows when
// the stream is asked for again.
func (c *Client) ended(data []byte) error {
	var body errorBody
	if json.Unmarshal(data, &body) != nil || body.Error.Message == "" {
		return fault.New(fault.Unavailable, "%s ended the stream", c.server)
	}
	return fault.New(fault.Unavailable, "%s", body.Error.Message)
}

// undecodable is the fault for a message that is not what was agreed on.
func (c *Client) undecodable(err error) error {
	return fault.Wrap(err, fault.Internal, "%s sent a message that is not the control plane's JSON: is this program older than the server?", c.server)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
