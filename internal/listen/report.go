package listen

import (
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/outbound"
)

// Report is what a client says became of a delivery: an answer, or why there was
// none.
type Report struct {
	Status   int               // of the answer; 0 if there was none
	Header   map[string]string // of the answer; what is kept of it is bounded
	Body     []byte            // of the answer; the first outbound.MaxResponseBody bytes are kept
	Duration time.Duration     // how long it took

	Class   string // without an answer: at which step it ended, as package outbound calls that
	Message string // without an answer: a sentence for people
}

// maxMessage is how much of a client's sentence is kept, in bytes.
const maxMessage = 512

// reportable are the classes a client may report. The others say something of
// this server.
var reportable = map[outbound.Class]bool{
	outbound.DNS: true, outbound.Connect: true, outbound.Timeout: true, outbound.Protocol: true, outbound.Cancelled: true,
	outbound.TLSFailed: true, outbound.TLSExpired: true, outbound.TLSName: true, outbound.TLSUntrusted: true,
}

// result checks a report and returns it as the result of an exchange.
func (r Report) result() (outbound.Result, error) {
	res := outbound.Result{Duration: r.Duration, Class: outbound.Class(r.Class)}
	switch {
	case res.Class == outbound.None && (r.Status < 100 || r.Status > 599):
		return res, fault.New(fault.Invalid, "status %d is none of HTTP: report the status of the answer, 100 to 599, or an error", r.Status)
	case res.Class != outbound.None && r.Status != 0:
		return res, fault.New(fault.Invalid, "the result has a status and an error: report the status if there was an answer, else the error")
	case res.Class != outbound.None && !reportable[res.Class]:
		return res, fault.New(fault.Invalid, "error %q is none that can be reported: use dns, connect, tls, timeout, protocol or cancelled", clip(r.Class))
	case res.Class != outbound.None:
		res.Message = sentence(r.Message)
		return res, nil
	}
	res.Answer = outbound.NewAnswer(r.Status, r.Header)
	res.Body = r.Body
	if len(res.Body) > outbound.MaxResponseBody {
		res.Body, res.Cut = res.Body[:outbound.MaxResponseBody], true
	}
	return res, nil
}

// sentence returns what is kept of a client's words: one line.
func sentence(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if text == "" {
		return "the client that listens gave no reason"
	}
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + "…"
	}
	return text
}

// clip shortens hostile input for a message.
func clip(s string) string {
	const limit = 80
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
