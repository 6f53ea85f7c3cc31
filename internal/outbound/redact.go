package outbound

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// masked stands for a value that is not kept.
const masked = "******"

// wireHeader returns the header as it is sent: given, the encoding we can read,
// and the userinfo of u as Basic authorization unless given has one.
func wireHeader(given http.Header, u *url.URL) http.Header {
	h := make(http.Header, len(given)+2)
	for name, values := range given {
		h[name] = values
	}
	h["Accept-Encoding"] = identity
	if u.User != nil && len(given["Authorization"]) == 0 {
		h["Authorization"] = []string{basic(u.User)}
	}
	return h
}

var identity = []string{"identity"}

// redactHeader returns what is kept of the header: every field of the request's
// own and Content-Length. User-Agent and Accept-Encoding tell nothing of the
// request, and ACR's log has neither.
func redactHeader(h http.Header, length int, public []string) map[string]string {
	kept := make(map[string]string, len(h))
	keep := func(name, value string) {
		if name != HopsHeader && !slices.ContainsFunc(public, func(p string) bool { return strings.EqualFold(p, name) }) {
			value = masked
		}
		kept[name] = value
	}
	for name, values := range h {
		if name != "User-Agent" && name != "Accept-Encoding" {
			keep(name, join(values))
		}
	}
	keep("Content-Length", strconv.Itoa(length))
	return kept
}

func join(values []string) string {
	if len(values) == 1 {
		return values[0]
	}
	return strings.Join(values, ", ")
}

// redactURI writes u, which has no userinfo any more, with the values of its
// query masked, and with a path, as it goes on the wire or masked.
func redactURI(u *url.URL, secretPath bool) string {
	path := u.EscapedPath()
	switch {
	case path == "" || path == "/":
		path = "/"
	case secretPath:
		path = "/" + masked
	}
	if u.RawQuery == "" {
		return u.Scheme + "://" + u.Host + path
	}
	pairs := strings.Split(u.RawQuery, "&")
	for i, pair := range pairs {
		if name, _, ok := strings.Cut(pair, "="); ok {
			pairs[i] = name + "=" + masked
		} else if pair != "" {
			pairs[i] = masked // a bare word may be the secret itself
		}
	}
	return u.Scheme + "://" + u.Host + path + "?" + strings.Join(pairs, "&")
}

// Head returns what is kept of a request that goes another way than over a
// Client.
func (r *Request) Head() RequestHead {
	head := RequestHead{Method: r.method(), Version: "1.1", Header: redactHeader(r.Header, len(r.Body), r.Public)}
	if u, err := url.Parse(r.URL); err == nil {
		head.URI = redactURI(u, r.SecretPath)
	}
	return head
}

// NewAnswer returns what is kept of an answer that came another way than over a
// Client. It takes the header over and may shorten it.
func NewAnswer(status int, header map[string]string) *ResponseHead {
	head := &ResponseHead{Status: status, Reason: http.StatusText(status), Version: "1.1", Header: header}
	if head.Header == nil {
		head.Header = map[string]string{}
	}
	cutHeader(head.Header)
	return head
}

// maxKeptHeader is how much of an answer's header is kept, in bytes of names and
// values.
const maxKeptHeader = 8 << 10

// keepAnswer returns what is kept of an answer, its body aside.
func keepAnswer(answer *http.Response) *ResponseHead {
	head := &ResponseHead{
		Status:  answer.StatusCode,
		Reason:  http.StatusText(answer.StatusCode),
		Version: strconv.Itoa(answer.ProtoMajor) + "." + strconv.Itoa(answer.ProtoMinor),
		Header:  make(map[string]string, len(answer.Header)),
	}
	if _, reason, ok := strings.Cut(answer.Status, " "); ok && reason != "" {
		head.Reason = reason
	}
	size := 0
	for name, values := range answer.Header {
		head.Header[name] = join(values)
		size += len(name) + len(head.Header[name])
	}
	if size > maxKeptHeader {
		cutHeader(head.Header)
	}
	return head
}

// cutHeader drops fields, in order of name, from the one that goes beyond
// maxKeptHeader.
func cutHeader(h map[string]string) {
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	size := 0
	for _, name := range names {
		if size += len(name) + len(h[name]); size > maxKeptHeader {
			delete(h, name)
		}
	}
}
