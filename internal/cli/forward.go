package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/dockbell/dockbell/internal/controlclient"
)

// forwarder carries out deliveries at a URL of whoever runs the command.
type forwarder struct {
	url    *url.URL
	client *http.Client
}

// forwardTimeout is how long a local program has for its answer: less than the
// server gives the whole, so that the server hears of a timeout from here.
const forwardTimeout = 9 * time.Second

// maxForwardHeader bounds the header of an answer, in bytes.
const maxForwardHeader = 64 << 10

func newForwarder(u *url.URL) *forwarder {
	transport := &http.Transport{
		// As from the server itself: no proxy, no compression that would be undone.
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxForwardHeader,
		// A program under development is restarted often. On a connection of its
		// own, a request tells what became of it and not of an earlier one.
		DisableKeepAlives: true,
	}
	return &forwarder{url: u, client: &http.Client{
		Transport:     transport,
		Timeout:       forwardTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// parseForward reads the URL of --forward. Without a scheme it is http.
func parseForward(s string) (*url.URL, error) {
	text := s
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, Usage("--forward: %q is no address of a program that takes HTTP: give one like http://127.0.0.1:3000/hook", s)
	}
	return u, nil
}

// deliver sends what the server would have sent, and returns what came of it.
func (f *forwarder) deliver(ctx context.Context, d controlclient.Delivery) controlclient.DeliveryResult {
	started := time.Now()
	result := f.exchange(ctx, d)
	result.Attempt = d.Attempt
	result.DurationMs = float64(time.Since(started).Microseconds()) / 1000
	return result
}

func (f *forwarder) exchange(ctx context.Context, d controlclient.Delivery) controlclient.DeliveryResult {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url.String(), strings.NewReader(d.Body))
	if err != nil {
		return f.failed(ctx, err)
	}
	for name, value := range d.Headers {
		if !strings.EqualFold(name, "Content-Length") && !strings.EqualFold(name, "Host") { // the request's own
			req.Header.Set(name, value)
		}
	}
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := f.client.Do(req)
	if err != nil {
		return f.failed(ctx, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, controlclient.MaxResultBody))
	if err == nil && len(body) == controlclient.MaxResultBody {
		_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, maxDrained)) // an answer counts when it is whole
	}
	if err != nil {
		return f.failed(ctx, err)
	}
	result := controlclient.DeliveryResult{Status: resp.StatusCode, Body: string(body), Headers: map[string]string{}}
	for name, values := range resp.Header {
		result.Headers[name] = strings.Join(values, ", ")
	}
	return result
}

// maxDrained bounds what is read of an answer beyond what is reported, in bytes.
const maxDrained = 1 << 20

// failed says why there is no answer, in the words of the server's own attempts.
func (f *forwarder) failed(ctx context.Context, err error) controlclient.DeliveryResult {
	because := func(class, message string) controlclient.DeliveryResult {
		return controlclient.DeliveryResult{Error: class, Message: message}
	}
	host := f.url.Host
	var (
		dns         *net.DNSError
		op          *net.OpError
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		authority   x509.UnknownAuthorityError
		timeout     net.Error
	)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return because("cancelled", "dockbell listen was stopped during this attempt; the receiver may have seen it")
	case errors.As(err, &timeout) && timeout.Timeout():
		return because("timeout", host+" did not answer within "+forwardTimeout.String())
	case errors.As(err, &dns):
		return because("dns", "the name "+dns.Name+" has no address")
	case errors.Is(err, syscall.ECONNREFUSED):
		return because("connect", host+" refused the connection: nothing listens there")
	case errors.As(err, &authority):
		return because("tls", "the certificate of "+host+" is signed by an authority this machine does not trust")
	case errors.As(err, &certificate):
		return because("tls", "the certificate of "+host+" is not valid: "+certificate.Err.Error())
	case errors.As(err, &record):
		return because("tls", host+" speaks http, not https")
	case errors.As(err, &op) && op.Op == "dial":
		return because("connect", host+" cannot be reached: "+op.Err.Error())
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return because("protocol", host+" closed the connection before it had answered")
	}
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err // without method and URL, which may hold a secret
	}
	return because("protocol", "what "+host+" answered is no HTTP: "+err.Error())
}
