package sink

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"

	"github.com/dockbell/dockbell/internal/outbound"
)

// failure is how a publish ended without all messages being stored.
type failure struct {
	class   outbound.Class // None: the broker answered, with status
	status  int
	message string // one sentence for people

	late bool   // message lacks the time limit at its end
	hint string // what to do, behind that
}

// fill writes what became of a publish into res: nil for all that is well, and then
// header says where it is stored.
func (f *failure) fill(res *outbound.Result, header map[string]string) {
	switch {
	case f == nil:
		res.Answer = outbound.NewAnswer(http.StatusOK, header)
	case f.class == outbound.None:
		res.Answer = outbound.NewAnswer(f.status, nil)
		res.Body = []byte(f.message)
	default:
		res.Class, res.Message = f.class, f.message
		return
	}
	res.Answer.Version = "" // of HTTP
}

// answered is the failure of a broker that said no.
func answered(status int, message string) *failure {
	return &failure{status: status, message: message}
}

func cancelled() *failure {
	return &failure{class: outbound.Cancelled, message: "stopped while it ran, because the server is shutting down: the broker may have stored it"}
}

// silent is the failure of a broker that the time ran out on.
func silent(address, hint string) *failure {
	return &failure{class: outbound.Timeout, message: address + " did not answer", late: true, hint: hint}
}

// undialled explains the error of a dialer.
func undialled(address string, err error) *failure {
	class, message := outbound.ExplainDial(address, err)
	if class == outbound.None {
		if timedOut(err) {
			return silent(address, "")
		}
		class, message = outbound.Connect, "no connection to "+address
	}
	return &failure{class: class, message: message}
}

// unsecured explains the error of a TLS handshake.
func unsecured(address string, err error) *failure {
	var record tls.RecordHeaderError
	switch {
	case timedOut(err):
		return silent(address, "")
	case errors.As(err, &record):
		return &failure{class: outbound.TLSFailed, message: address + " does not speak TLS on this port: name the port where it does, or publish without TLS"}
	}
	class, message := outbound.ExplainTLS(address, err)
	return &failure{class: class, message: message}
}

// alerted reports whether the other side ended a TLS connection with an alert: it may
// refuse our certificate after the handshake.
func alerted(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

func timedOut(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// hungUp reports whether the connection ended before the answer.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// clean makes what a broker said fit to be shown: one line of at most 200 bytes.
func clean(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, text)
	if len(text) > 200 {
		text = text[:200]
	}
	return text
}
