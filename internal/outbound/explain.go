package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// explain gives a failure before the answer its class and a sentence. The
// sentence is made here and never taken from the error: those of package net
// hold the address that a name resolved to.
func explain(parent context.Context, deadline time.Time, r *Request, u *url.URL, err error) (Class, string) {
	where := u.Host
	if class, message := stopped(parent, deadline, r, where+" did not answer"); class != None {
		return class, message
	}
	if class, message := unreached(where, u.Hostname(), err); class != None {
		return class, message
	}
	if turnedAway(err) {
		return Unread, where + " turned the request away before it looked at it: it closes the connection, or has too much to do"
	}
	if early(err) {
		return Protocol, where + " closed the connection before it answered"
	}
	return Protocol, "the answer of " + where + " is no valid HTTP, or has more than 64 KiB of headers"
}

// ExplainDial gives the failure of a DialContext to address its class and a
// sentence, in the words of a Result. They are None and empty for what is none: an
// error of what was said over the connection, or of a context that ended.
func ExplainDial(address string, err error) (Class, string) {
	host, _, splitErr := net.SplitHostPort(address)
	if splitErr != nil {
		host = address
	}
	return unreached(address, host, err)
}

// ExplainTLS gives the failure of a TLS handshake over a connection to address,
// with what TLS.Config returned, its class and a sentence, in the words of a Result.
func ExplainTLS(address string, err error) (Class, string) { return explainTLS(address, err) }

// unreached explains why there is no connection to where, which is host and
// perhaps a port; None if it is about something else.
func unreached(where, host string, err error) (Class, string) {
	var refusal *refusal
	if errors.As(err, &refusal) {
		_, err := netip.ParseAddr(host)
		return Refused, refusal.sentence(host, err != nil)
	}
	var atProxy *proxyError
	if errors.As(err, &atProxy) {
		return atProxy.class, atProxy.sentence
	}
	var handshake *handshakeError
	if errors.As(err, &handshake) {
		return explainTLS(where, handshake.error)
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		if dns.IsNotFound {
			return DNS, host + " has no address: check the host name"
		}
		return DNS, "no name server could tell the address of " + host
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" { // an alert: since TLS 1.3 a certificate is refused after the handshake
		return explainTLS(where, err)
	}
	if errors.As(err, &op) && op.Op == "dial" {
		if op.Timeout() {
			return Timeout, where + " did not take the connection in time"
		}
		if errors.Is(err, syscall.ECONNREFUSED) {
			return Connect, where + " refused the connection: nothing listens there"
		}
		return Connect, "no connection to " + where + systemReason(err)
	}
	return None, ""
}

// explainBody is explain for an answer that began with a status and did not come
// to its end.
func explainBody(parent context.Context, deadline time.Time, r *Request, u *url.URL, status int) (Class, string) {
	begun := fmt.Sprintf("%s answered with status %d, but ", u.Host, status)
	if class, message := stopped(parent, deadline, r, begun+"did not finish"); class != None {
		return class, message
	}
	return Protocol, begun + "ended before its body was complete"
}

// stopped tells whether we ended the exchange, and not the receiver.
func stopped(parent context.Context, deadline time.Time, r *Request, what string) (Class, string) {
	switch {
	case parent.Err() != nil:
		return Cancelled, "stopped while it ran, because the server is shutting down: the receiver may have seen it"
	case time.Until(deadline) <= 0: // the dialer may find that out before the request does
		return Timeout, fmt.Sprintf("%s within %s", what, r.Timeout)
	}
	return None, ""
}

// early reports whether the connection ended before the answer. net/http has no
// exported names for how that is over HTTP/2.
func early(err error) bool {
	text := err.Error()
	return strings.HasPrefix(text, "http2: client conn") || strings.HasPrefix(text, "http2: server sent GOAWAY and closed") ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed)
}

// turnedAway reports whether the receiver said, by GOAWAY or REFUSED_STREAM,
// that it did not look at the request (RFC 9113, section 8.7). net/http has no
// exported name for that error.
func turnedAway(err error) bool {
	text := err.Error()
	return strings.HasPrefix(text, "http2: Transport: cannot retry err") &&
		(strings.Contains(text, "GOAWAY") || strings.Contains(text, "REFUSED_STREAM"))
}

func explainTLS(where string, err error) (Class, string) {
	var (
		invalid   x509.CertificateInvalidError
		host      x509.HostnameError
		authority x509.UnknownAuthorityError
		record    tls.RecordHeaderError
		op        *net.OpError
	)
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		now := time.Now()
		if invalid.Cert != nil && now.Before(invalid.Cert.NotBefore) {
			return TLSExpired, fmt.Sprintf("the certificate of %s is valid only from %s", where, invalid.Cert.NotBefore.UTC().Format(time.DateOnly))
		}
		if invalid.Cert != nil {
			return TLSExpired, fmt.Sprintf("the certificate of %s expired on %s", where, invalid.Cert.NotAfter.UTC().Format(time.DateOnly))
		}
		return TLSExpired, "the certificate of " + where + " expired"
	case errors.As(err, &invalid):
		return TLSFailed, "the certificate of " + where + " is not valid for a web server"
	case errors.As(err, &host):
		return TLSName, "the certificate of " + where + " is for another name"
	case errors.As(err, &authority):
		return TLSUntrusted, "the certificate of " + where + " is signed by no authority that this server trusts"
	case errors.As(err, &record):
		return TLSFailed, where + " does not speak TLS on this port: is it an http address?"
	case early(err):
		return TLSFailed, where + " closed the connection during the TLS handshake"
	case errors.As(err, &op) && strings.HasPrefix(op.Err.Error(), "tls: "):
		return TLSFailed, "no TLS with " + where + ": it says " + strings.TrimPrefix(op.Err.Error(), "tls: ")
	}
	return TLSFailed, "no TLS with " + where + ": it needs version 1.2 or later and a certificate that this server trusts"
}

// systemReason returns the operating system's reason, after a colon. Unlike the
// error around it, it holds no address.
func systemReason(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return ": " + errno.Error()
	}
	return ""
}
