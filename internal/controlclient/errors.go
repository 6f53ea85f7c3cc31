package controlclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/dockbell/dockbell/internal/fault"
)

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

// The codes that mean more than their status tells.
const (
	codeQuota           = "QuotaExceeded"
	codePositionExpired = "PositionExpired"
)

// errorBody is what an answer says that is no success.
type errorBody struct {
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
	Oldest int64 `json:"oldest"` // with codePositionExpired
}

// refused makes a fault of an answer that is no success.
func (c *Client) refused(resp *http.Response, answer []byte) error {
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		return fault.New(fault.Invalid, "%s redirects to %s: use that address instead", c.server, resp.Header.Get("Location"))
	}
	kind := kinds[resp.StatusCode]
	var body errorBody
	if err := json.Unmarshal(answer, &body); err == nil && body.Error.Message != "" {
		f := fault.New(kind, "%s", body.Error.Message).WithCode(body.Error.Code)
		switch body.Error.Code {
		case codeQuota:
			f.Kind = fault.Quota
		case codePositionExpired:
			f.Detail = Expired{body.Oldest}
		}
		return f
	}
	if resp.StatusCode == http.StatusBadRequest && strings.Contains(string(answer), "HTTP request to an HTTPS server") {
		return fault.New(fault.Invalid, "%s speaks https: use https://%s", c.server.Host, c.server.Host)
	}
	return fault.New(kind, "%s answered %s and says no more: is this the address of a dockbell server?", c.server, resp.Status)
}

// unreachable makes a fault of an exchange without an answer: one sentence that
// says what to do.
func (c *Client) unreachable(ctx context.Context, err error) error {
	host := c.server.Host
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
		return fault.Wrap(err, fault.Unavailable, "%s did not answer in time: check the address, or try again", c.server)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return fault.Wrap(err, fault.Unavailable, "%s closed the connection before it had answered: try again, or look into its log", c.server)
	}
	cause := err
	var outer *url.Error
	if errors.As(err, &outer) {
		cause = outer.Err // without method and URL, which the reader knows
	}
	return fault.Wrap(err, fault.Unavailable, "%s cannot be reached: %s", c.server, cause)
}
