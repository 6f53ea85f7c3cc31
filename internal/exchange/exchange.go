// Package exchange is one request of a client to its server, and what it means
// when that fails.
//
// It owns the reading of answers and the sentences for what can go wrong between
// here and the server; what is asked, and which errors a server has words for, is
// left to the clients. Invariant: an answer is read up to a limit, whatever the
// server sends.
package exchange

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

	"github.com/dockbell/dockbell/internal/fault"
)

// maxAnswer bounds what is read of one answer, in bytes. A page of a hundred
// events with their bodies is well below.
const maxAnswer = 32 << 20

// Answer is what came back, read whole.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Done reports whether the server did what it was asked for.
func (a Answer) Done() bool { return a.Status >= 200 && a.Status < 300 }

// Client returns a client with transport and time limit of hc, that follows no
// redirect: credentials go to the server they are meant for.
func Client(hc *http.Client) http.Client {
	c := *hc
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c
}

// Request returns a request to the server for an escaped path, which may have a
// query. An empty username sends no credentials.
func Request(ctx context.Context, server *url.URL, method, path string, body io.Reader, username, password string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, server.String()+path, body)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "%q is no address of a server: give one like http://localhost:5000", server)
	}
	if username != "" {
		req.SetBasicAuth(username, password)
	}
	return req, nil
}

// Do sends a request to the server and reads the answer. It fails with a
// *fault.Error when there is none.
func Do(client *http.Client, server *url.URL, req *http.Request) (Answer, error) {
	resp, err := client.Do(req)
	if err != nil {
		return Answer{}, Unreachable(req.Context(), server, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return Answer{}, Unreachable(req.Context(), server, err)
	}
	if len(body) > maxAnswer {
		return Answer{}, fault.New(fault.Internal, "%s answered with more than %d bytes", server, maxAnswer)
	}
	return Answer{resp.StatusCode, resp.Header, body}, nil
}

// kinds says what a status means to the caller.
var kinds = map[int]fault.Kind{
	http.StatusBadRequest:            fault.Invalid,
	http.StatusUnauthorized:          fault.Unauthenticated,
	http.StatusForbidden:             fault.Denied,
	http.StatusNotFound:              fault.NotFound,
	http.StatusMisdirectedRequest:    fault.NotFound,
	http.StatusMethodNotAllowed:      fault.Unsupported,
	http.StatusNotImplemented:        fault.Unsupported,
	http.StatusConflict:              fault.Conflict,
	http.StatusGone:                  fault.OutOfRange,
	http.StatusRequestEntityTooLarge: fault.TooLarge,
	http.StatusTooManyRequests:       fault.Unavailable,
	http.StatusServiceUnavailable:    fault.Unavailable,
	http.StatusInsufficientStorage:   fault.NoSpace,
}

// Kind says what an answer that is no success means to the caller.
func (a Answer) Kind() fault.Kind { return kinds[a.Status] }

// Refused makes a fault of an answer that is no success and whose body says
// nothing that the client understands.
func Refused(server *url.URL, a Answer) *fault.Error {
	switch {
	case a.Status >= 300 && a.Status < 400:
		return fault.New(fault.Invalid, "%s redirects to %s: use that address instead", server, a.Header.Get("Location"))
	case a.Status == http.StatusBadRequest && strings.Contains(string(a.Body), "HTTP request to an HTTPS server"):
		return fault.New(fault.Invalid, "%s speaks https: use https://%s", server.Host, server.Host)
	}
	return fault.New(a.Kind(), "%s answered %d %s and says no more: is this the address of a dockbell server?", server, a.Status, http.StatusText(a.Status))
}

// Unreachable makes a fault of an exchange without an answer: one sentence that
// says what to do.
func Unreachable(ctx context.Context, server *url.URL, err error) error {
	host := server.Host
	var (
		dns       *net.DNSError
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		timeout   net.Error
	)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return fault.Wrap(err, fault.Unavailable, "interrupted")
	case errors.As(err, &dns):
		return fault.Wrap(err, fault.Unavailable, "the name %s has no address: check the server's address (--server), or add it to the hosts file", dns.Name)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fault.Wrap(err, fault.Unavailable, "nothing listens at %s: start the server with dockbell serve, or name another with --server", host)
	case errors.As(err, &authority):
		return fault.Wrap(err, fault.Unavailable, "the certificate of %s is signed by an authority this machine does not trust: dockbell login https://%s --ca FILE, or DOCKBELL_CA=FILE (a server with --tls self-signed keeps the file in tls/ca.pem of its data folder)", host, host)
	case errors.As(err, &name):
		return fault.Wrap(err, fault.Unavailable, "the certificate of %s is for another name: use the name it was made for", host)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fault.Wrap(err, fault.Unavailable, "the certificate of %s has expired or is not valid yet: renew it, or check the clocks", host)
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fault.Wrap(err, fault.Invalid, "%s speaks http, not https: use http://%s", host, host)
	case errors.As(err, &timeout) && timeout.Timeout():
		return fault.Wrap(err, fault.Unavailable, "%s did not answer in time: check the address, or try again", server)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return fault.Wrap(err, fault.Unavailable, "%s closed the connection before it had answered: try again, or look into its log", server)
	}
	cause := err
	var outer *url.Error
	if errors.As(err, &outer) {
		cause = outer.Err // without method and URL, which the reader knows
	}
	return fault.Wrap(err, fault.Unavailable, "%s cannot be reached: %s", server, cause)
}
