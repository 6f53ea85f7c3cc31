// Package outbound is the only way in which this program calls strangers by
// HTTP: it decides which addresses may be dialled, sends one request under one
// deadline, reads a bounded answer and reports what happened. Whoever reads more than
// that, as imports of images do, has a Transport under the same policy, and bounds
// for itself what it reads; who speaks another protocol, as package sink does, has
// DialContext.
//
// It owns the address policy, the HTTP transport and the redaction of what is
// kept of an exchange; what to send, whether an answer counts as success and
// when to try again are for package delivery. Invariants: no redirect is
// followed, no proxy of the environment is used, no address is dialled that the
// Policy does not allow (with a proxy of the operator's: that of the proxy), no
// connection is shared by requests with different TLS settings, and neither time
// nor memory depends on the receiver.
package outbound

import (
	"context"
	"net/http"
	"time"
)

// Request is one request.
type Request struct {
	Method  string      // empty: POST
	URL     string      // http or https; userinfo in it is sent as Basic authorization
	Header  http.Header // as given, beside Content-Length and Accept-Encoding; not changed
	Body    []byte
	Timeout time.Duration // must be positive; over DNS, connect, TLS, headers and body together

	// Public names the header fields whose values may be kept and shown; all
	// others are kept as ******.
	Public []string

	// SecretPath: the path of the URL is kept as ****** as well. It is the secret of
	// receivers that know who posts by it.
	SecretPath bool

	TLS *TLS // of the receiver; nil: the system's authorities, and no certificate is shown

	// Hops is the HopsHeader of the request that led to this one; empty if it
	// had none.
	Hops string

	// Actor is who made the change that the request tells of. It is not sent.
	Actor string

	// Publish sends the request in place of a Client, to what does not speak HTTP.
	// Nil for a Client.
	Publish func(context.Context, *Request) Result
}

// Class says at which step an exchange ended without an answer.
type Class string

// The classes. None means that an answer with a status came.
const (
	None      Class = ""
	DNS       Class = "dns"       // the name has no address
	Refused   Class = "refused"   // the address policy forbids it, that of this server or of its proxy
	Connect   Class = "connect"   // no connection
	Timeout   Class = "timeout"   // the deadline passed
	Protocol  Class = "protocol"  // what came is no HTTP, or broke a limit, or ended early
	Unread    Class = "unread"    // the receiver turned the request away before it looked at it (HTTP/2): it may be tried again at once
	Cancelled Class = "cancelled" // we stopped it: shutdown
	Proxy     Class = "proxy"     // the configured proxy failed: the receiver was not asked, and is not to blame

	TLSFailed    Class = "tls"           // no handshake, for another reason than the next three
	TLSExpired   Class = "tls_expired"   // the receiver's certificate is not valid any more, or not yet
	TLSName      Class = "tls_name"      // the receiver's certificate is for another name
	TLSUntrusted Class = "tls_untrusted" // the receiver's certificate is of no authority that is trusted, or its own
)

// Result is what became of a Request.
type Result struct {
	Started  time.Time
	Duration time.Duration

	Class   Class  // None when there was an answer
	Message string // one sentence for people, when Class is not None; names no resolved address

	Sent   RequestHead
	Answer *ResponseHead // nil without an answer
	Body   []byte        // of the answer, decoded, at most MaxResponseBody bytes
	Cut    bool          // the body was longer
}

// MaxResponseBody is how much of an answer's body is kept, in bytes.
const MaxResponseBody = 4 << 10

// RequestHead is what is kept of a request, redacted: it is stored with the
// attempt and shown to people.
type RequestHead struct {
	Method  string            `json:"method"`
	URI     string            `json:"uri"` // without userinfo, query values masked, and the path if that is secret
	Version string            `json:"version"`
	Header  map[string]string `json:"header"` // secret values as ******; without User-Agent and Accept-Encoding
}

// ResponseHead is what is kept of an answer.
type ResponseHead struct {
	Status  int               `json:"status"`
	Reason  string            `json:"reason"`
	Version string            `json:"version"` // "1.1", "2.0"
	Header  map[string]string `json:"header"`
}
