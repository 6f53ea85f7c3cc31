package outbound

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"
)

// What an answer that is read as it comes may hold in memory, over HTTP/2.
const (
	fetchStreamBuffer = 4 << 20
	fetchConnBuffer   = 8 << 20
)

// fetchHeaderTime is how long a stranger may take to begin an answer.
const fetchHeaderTime = time.Minute

// Transport returns what sends single requests whose answers are read as they come,
// however long they are: whoever reads them bounds time and size. The policy of the
// client holds for every connection, so also for those that a redirect leads to,
// which are the caller's to follow. Its connections are not those of Post.
func (c *Client) Transport() *http.Transport {
	t := c.newTransport(c.tlsConfig(sessionsWithTLS), idleWithTLS, idleWithTLS)
	t.ResponseHeaderTimeout = fetchHeaderTime
	t.HTTP2.MaxReceiveBufferPerStream, t.HTTP2.MaxReceiveBufferPerConnection = fetchStreamBuffer, fetchConnBuffer
	return t
}

// Explain says in a sentence for people why a request over Transport failed before
// it was answered. It names the host that was asked and no address that this
// resolved to; refused says that the policy forbids it. For what is no failure of a
// request the sentence is empty.
func Explain(err error) (sentence string, refused bool) {
	var at *url.Error
	if !errors.As(err, &at) {
		return "", false
	}
	u, perr := url.Parse(at.URL)
	if perr != nil || u.Host == "" {
		u = &url.URL{Host: "the server"}
	}
	class, sentence := explain(context.Background(), time.Now().Add(time.Hour), &Request{}, u, err)
	return sentence, class == Refused
}
