package controlclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
)

// readAll returns the messages of a stream, each as name/id/data, and the error
// at its end.
func readAll(r io.Reader) ([]string, error) {
	in := newMessageReader(r)
	var messages []string
	for {
		m, err := in.next()
		if err != nil {
			return messages, err
		}
		messages = append(messages, m.name+"/"+m.id+"/"+string(m.data))
	}
}

// The examples of the HTML Standard, 9.2.6, are among these.
func TestMessages(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, stream string
		want         []string
	}{
		{"nothing", "", nil},
		{"one", "data: a\n\n", []string{"//a"}},
		{"all fields", "id: 7\nevent: push\ndata: {}\nretry: 5\n\n", []string{"push/7/{}"}},
		{"lines of data", "data: YHOO\ndata: +2\ndata: 10\n\n", []string{"//YHOO\n+2\n10"}},
		{"comments, ids that stay and end", ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n", []string{"/1/first event", "//second event"}},
		{"data without a value", "data\n\ndata\ndata\n\ndata:", []string{"//", "//\n"}},
		{"blank or none", "data:test\n\ndata: test\n\n", []string{"//test", "//test"}},
		{"line ends", "data: a\r\n\r\ndata: b\r\rdata: c\n\r\ndata: d\r\n\n", []string{"//a", "//b", "//c", "//d"}},
		{"names do not stay, ids do", "id: 1\nevent: x\ndata: a\n\ndata: b\n\n", []string{"x/1/a", "/1/b"}},
		{"a name without data is forgotten", "event: x\n\ndata: a\n\n", []string{"//a"}},
		{"id with a zero", "id: a\x00b\ndata: a\n\n", []string{"//a"}},
		{"a mark at the beginning", "\ufeffdata: a\n\n\ufeffdata: b\n\n", []string{"//a"}},
		{"unknown fields", "Data: a\ndata : b\nx\ndata: c\n\n", []string{"//c"}},
		{"cut off", "data: a\n\ndata: b\n", []string{"//a"}},
		{"endless heart-beats", strings.Repeat(":\n", maxMessage) + "data: a\n\n", []string{"//a"}},
	} {
		got, err := readAll(strings.NewReader(tt.stream))
		if !slices.Equal(got, tt.want) || err != io.EOF {
			t.Errorf("%s: %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
}

func TestMessagesAreBounded(t *testing.T) {
	t.Parallel()
	for _, stream := range []string{
		"data: " + strings.Repeat("a", maxMessage+1),
		strings.Repeat("data: aaaaaaaaaa\n", maxMessage/10),
		": " + strings.Repeat("a", 2*maxMessage),
	} {
		if got, err := readAll(strings.NewReader(stream)); !errors.Is(err, errMessageTooLong) {
			t.Errorf("%.20s: %d messages, %v", stream, len(got), err)
		}
	}
}

// FuzzMessages: how a stream is cut into reads changes nothing, nor does the way
// its lines end, and what is written as the standard has it is read back.
func FuzzMessages(f *testing.F) {
	f.Add("id: 7\nevent: push\ndata: {}\n\n", "data")
	f.Add("data: a\r\n\r\n:\r\rdata\n\n", "a\nb")
	f.Add("\ufeffid:\x00\nevent\ndata\n\ndata", "")
	f.Fuzz(func(t *testing.T, stream, data string) {
		whole, wholeErr := readAll(strings.NewReader(stream))
		slow, slowErr := readAll(iotest.OneByteReader(strings.NewReader(stream)))
		if !slices.Equal(whole, slow) || wholeErr != slowErr {
			t.Errorf("whole: %q, %v; byte by byte: %q, %v", whole, wholeErr, slow, slowErr)
		}
		if !strings.Contains(stream, "\r") {
			other, otherErr := readAll(strings.NewReader(strings.ReplaceAll(stream, "\n", "\r\n")))
			if !slices.Equal(whole, other) || wholeErr != otherErr {
				t.Errorf("LF: %q, %v; CR LF: %q, %v", whole, wholeErr, other, otherErr)
			}
		}
		if strings.Contains(data, "\r") || len(data) > maxMessage/2 {
			return
		}
		written := "event: x\nid: 1\n"
		for line := range strings.SplitSeq(data, "\n") {
			written += "data: " + line + "\n"
		}
		back, err := readAll(strings.NewReader(written + "\n"))
		if want := []string{"x/1/" + data}; !slices.Equal(back, want) || err != io.EOF {
			t.Errorf("%q was read back as %q, %v", want, back, err)
		}
	})
}

// streamer answers with a stream that write makes.
func streamer(write func(w http.ResponseWriter, r *http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		w.WriteHeader(http.StatusOK)
		write(w, r)
	}
}

func flush(w http.ResponseWriter, format string, args ...any) {
	fmt.Fprintf(w, format, args...)
	http.NewResponseController(w).Flush()
}

func TestFollowFeed(t *testing.T) {
	t.Parallel()
	c := client(t, streamer(func(w http.ResponseWriter, r *http.Request) {
		want := "GET /api/v1/registries/contoso/events?after=41 text/event-stream 41"
		if got := strings.Join([]string{r.Method, r.RequestURI, r.Header.Get("Accept"), r.Header.Get("Last-Event-ID")}, " "); got != want {
			t.Errorf("asked %s, want %s", got, want)
		}
		if user, password, _ := r.BasicAuth(); user != "dockbell" || password != "s3cret" {
			t.Errorf("credentials are %s, %s", user, password)
		}
		flush(w, ":\n\n")
		flush(w, "id: 42\nevent: push\ndata: {\"position\":42,\"location\":\"local\",\"actor\":\"ci\",\"event\":{\"id\":\"e1\",\"action\":\"push\",\"target\":{\"repository\":\"team/web\",\"tag\":\"v1\"}}}\n\n")
		flush(w, "id: 44\nevent: webhook_failing\ndata: {\"position\":44,\"event\":{}}\n\n")
	}))
	c.http.Timeout = time.Nanosecond // is for requests that have an end
	opened := 0
	var got []string
	err := c.FollowFeed(t.Context(), "contoso", 41, func() { opened++ }, func(e FeedEntry) error {
		got = append(got, fmt.Sprintf("%d %s %s %s", e.Position, e.Actor, e.Event.ID, e.Event.Image()))
		return nil
	})
	if want := []string{"42 ci e1 team/web:v1", "44   "}; opened != 1 || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("opened %d times, got %q, want %q", opened, got, want)
	}
	if !fault.Is(err, fault.Unavailable) {
		t.Errorf("the end of the connection is %v", err)
	}
}

func TestStreamEnds(t *testing.T) {
	t.Parallel()
	mine := errors.New("enough")
	for _, tt := range []struct {
		name    string
		answer  http.HandlerFunc
		kind    fault.Kind
		message string
	}{
		{"expired", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusGone)
			io.WriteString(w, `{"error":{"code":"PositionExpired","message":"gone"},"oldest":500}`)
		}, fault.OutOfRange, "gone"},
		{"refused", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, `{"error":{"code":"AuthorizationFailed","message":"not you"}}`)
		}, fault.Denied, "not you"},
		{"no stream", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<html>") }, fault.Internal, "no stream of events"},
		{"no JSON", streamer(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "data: x\n\n") }), fault.Internal, "not the control plane's JSON"},
		{"too long", streamer(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "data: "+strings.Repeat("x", maxMessage+10)+"\n\n")
		}), fault.Internal, "more than 1048576 bytes"},
		{"said why", streamer(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "event: error\ndata: {\"error\":{\"code\":\"AuthenticationFailed\",\"message\":\"the password was changed\"}}\n\n")
		}), fault.Unavailable, "the password was changed"},
		{"said nothing", streamer(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "event: error\ndata: \n\n") }), fault.Unavailable, "ended the stream"},
		{"silent", streamer(func(w http.ResponseWriter, r *http.Request) { flush(w, ":\n\n"); <-r.Context().Done() }), fault.Unavailable, "was silent for"},
		{"never answers", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, fault.Unavailable, "was silent for"},
	} {
		c := client(t, tt.answer)
		if strings.HasPrefix(tt.message, "was silent") {
			c.silence = 50 * time.Millisecond
		}
		err := c.FollowFeed(t.Context(), "contoso", 1, func() {}, func(FeedEntry) error { return mine })
		f := fault.As(err)
		if f.Kind != tt.kind || !strings.Contains(f.Message, tt.message) {
			t.Errorf("%s: %v: %v", tt.name, f.Kind, err)
		}
		if expired, ok := ExpiredIn(err); ok != (tt.name == "expired") || ok && expired.Oldest != 500 {
			t.Errorf("%s: expired %+v, %v", tt.name, expired, ok)
		}
	}

	c := client(t, streamer(func(w http.ResponseWriter, r *http.Request) { flush(w, "data: {}\n\n"); <-r.Context().Done() }))
	if err := c.FollowFeed(t.Context(), "contoso", 1, func() {}, func(FeedEntry) error { return mine }); !errors.Is(err, mine) {
		t.Errorf("the caller's own error became %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := c.FollowFeed(ctx, "contoso", 1, func() {}, func(FeedEntry) error { cancel(); return nil }); err == nil || fault.As(err).Message != "interrupted" {
		t.Errorf("interrupted: %v", err)
	}
}

// TestWorkIsNoSilence: a consumer that takes its time does not lose the stream.
func TestWorkIsNoSilence(t *testing.T) {
	t.Parallel()
	c := client(t, streamer(func(w http.ResponseWriter, r *http.Request) {
		flush(w, "data: {\"position\":1}\n\n")
		flush(w, "data: {\"position\":2}\n\n")
	}))
	c.silence = 100 * time.Millisecond
	var got []int64
	err := c.FollowFeed(t.Context(), "contoso", 0, func() {}, func(e FeedEntry) error {
		<-time.After(2 * c.silence)
		got = append(got, e.Position)
		return nil
	})
	if !slices.Equal(got, []int64{1, 2}) || strings.Contains(err.Error(), "silent") {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestListen(t *testing.T) {
	t.Parallel()
	c := client(t, streamer(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Method + " " + r.RequestURI; got != "GET /api/v1/registries/contoso/listeners/listenab/deliveries" {
			t.Errorf("asked %s", got)
		}
		flush(w, "event: hello\ndata: hello\n\n")
		flush(w, "event: delivery\ndata: {\"attempt\":\"a1\",\"eventId\":\"e1\",\"actor\":\"ci\",\"headers\":{\"Webhook-Id\":\"e1\"},\"body\":\"{}\",\"replay\":3}\n\n")
	}))
	var got []Delivery
	c.Listen(t.Context(), "contoso", "listenab", func() {}, func(d Delivery) error { got = append(got, d); return nil })
	if len(got) != 1 || got[0].Attempt != "a1" || got[0].EventID != "e1" || got[0].Actor != "ci" || got[0].Headers["Webhook-Id"] != "e1" || got[0].Body != "{}" || got[0].Replay != 3 {
		t.Errorf("got %+v", got)
	}
}
