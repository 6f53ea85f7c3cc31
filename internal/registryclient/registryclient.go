// Package registryclient is the data plane of one registry from the other side:
// a client of ACR's metadata API, /acr/v1, and of those parts of OCI Distribution,
// /v2, that describe what is there.
//
// It owns the requests and the following of pages. What the answers look like on
// a screen is for package cli; how a request is sent, for package exchange.
// Invariant: credentials go to the one server the client was made for, and
// nowhere else: no redirect is followed, and of a link to a next page only the
// query is used.
//
// Every method fails with a *fault.Error. What the server refused comes with the
// server's code and sentence.
package registryclient

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/dockbell/dockbell/internal/exchange"
	"github.com/dockbell/dockbell/internal/fault"
)

// Client talks to one registry. Its methods may be called from many goroutines.
type Client struct {
	server             *url.URL
	host               string
	username, password string
	http               http.Client
}

// New returns a client of a registry of the server, of whose URL scheme, host and
// port count. loginServer is the registry's login server, which is named in the
// Host header: its name need not have an address. Empty, the registry is the one
// that the server's own address means. An empty username sends no credentials.
// The transport and time limit of hc are used.
func New(server *url.URL, loginServer, username, password string, hc *http.Client) *Client {
	return &Client{
		server:   &url.URL{Scheme: server.Scheme, Host: server.Host},
		host:     loginServer,
		username: username,
		password: password,
		http:     exchange.Client(hc),
	}
}

// LoginServer returns the host, with its port if it has one, by which images of
// the registry are named.
func (c *Client) LoginServer() string {
	if c.host == "" {
		return c.server.Host
	}
	return c.host
}

// request is what is asked of the registry. path is escaped.
type request struct {
	method, path string
	query        url.Values
	accept       string // empty: application/json
	body         any    // nil: none
}

// do sends one request and returns the answer of a success.
func (c *Client) do(ctx context.Context, r request) (exchange.Answer, error) {
	var content io.Reader
	if r.body != nil {
		encoded, err := json.Marshal(r.body)
		if err != nil {
			return exchange.Answer{}, fault.Wrap(err, fault.Internal, "the request cannot be encoded")
		}
		content = bytes.NewReader(encoded)
	}
	path := r.path
	if len(r.query) > 0 {
		path += "?" + r.query.Encode()
	}
	req, err := exchange.Request(ctx, c.server, r.method, path, content, c.username, c.password)
	if err != nil {
		return exchange.Answer{}, err
	}
	req.Host = c.host // empty: the server's own
	req.Header.Set("Accept", "application/json")
	if r.accept != "" {
		req.Header.Set("Accept", r.accept)
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	answer, err := exchange.Do(&c.http, c.server, req)
	if err != nil {
		return exchange.Answer{}, err
	}
	if !answer.Done() {
		return exchange.Answer{}, c.refused(answer)
	}
	return answer, nil
}

// refused makes a fault of an answer that is no success. Of several errors the
// first is told. A host that the server does not answer for is refused with the
// body of the control plane.
func (c *Client) refused(a exchange.Answer) error {
	type told struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	var body struct {
		Errors []told `json:"errors"` // OCI Distribution 1.1, Error Codes
		Error  told   `json:"error"`
	}
	err := json.Unmarshal(a.Body, &body)
	if err == nil && len(body.Errors) > 0 {
		body.Error = body.Errors[0]
	}
	if err != nil || body.Error.Message == "" {
		return exchange.Refused(c.server, a)
	}
	kind := a.Kind()
	if kind == fault.Unauthenticated && c.username != "" && strings.Contains(a.Header.Get("WWW-Authenticate"), "scope=") {
		kind = fault.Denied // who is known and lacks a right is told which, with a 401
	}
	return fault.New(kind, "%s", body.Error.Message).WithCode(body.Error.Code)
}

// decode reads an answer, or a part of one.
func decode[T any](c *Client, text []byte) (T, error) {
	var v T
	if err := json.Unmarshal(text, &v); err != nil {
		return v, fault.Wrap(err, fault.Internal, "%s answered with something that is not a registry's JSON: is this the address of a dockbell server?", c.server)
	}
	return v, nil
}

const (
	pageSize = 100    // what is asked for at once, as az does
	maxPages = 10_000 // ends a list whose server links its pages in a circle
)

// Listing says which part of a list is wanted. The zero value is all of it, by
// name.
type Listing struct {
	Top   int    // at most so many; 0: all
	Order string // timeasc, timedesc, or empty: by name
}

// query returns the query for the first page.
func (l Listing) query() url.Values {
	q := url.Values{}
	if l.Order != "" {
		q.Set("orderby", l.Order)
	}
	return q
}

// list collects the elements that each page has at member, first with the query,
// then with that of the link to the next page.
func list[T any](ctx context.Context, c *Client, path, member string, query url.Values, top int) ([]T, error) {
	all := []T{}
	for range maxPages {
		n := pageSize
		if top > 0 {
			n = min(n, top-len(all))
		}
		query.Set("n", strconv.Itoa(n))
		answer, err := c.do(ctx, request{method: http.MethodGet, path: path, query: query})
		if err != nil {
			return nil, err
		}
		members, err := decode[map[string]json.RawMessage](c, answer.Body)
		if err != nil {
			return nil, err
		}
		page, err := decode[[]T](c, members[member])
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if top > 0 && len(all) >= top {
			return all[:top], nil
		}
		next, ok := nextQuery(answer.Header)
		if !ok {
			return all, nil
		}
		query = next
	}
	return nil, fault.New(fault.Internal, "%s links from page to page without an end", c.server)
}

// nextQuery returns the query of the link to the next page (RFC 8288). Its path
// may be written in another way than ours, with escaped slashes for example.
func nextQuery(header http.Header) (url.Values, bool) {
	for _, value := range header.Values("Link") {
		target, parameters, ok := strings.Cut(value, ">")
		target, isLink := strings.CutPrefix(strings.TrimSpace(target), "<")
		if !ok || !isLink || !strings.Contains(strings.ReplaceAll(parameters, `"`, ""), "rel=next") {
			continue
		}
		if u, err := url.Parse(target); err == nil {
			return u.Query(), true
		}
	}
	return nil, false
}
