package controlclient

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/dockbell/dockbell/internal/exchange"
)

// Server is what a server tells everyone of itself.
type Server struct {
	Version string // empty: it does not say
	Ready   bool
	Reason  string // why it is not ready, a sentence
}

// Server asks the server which one it is and whether it is ready, and needs no
// credentials for that. It fails if there is no answer.
func (c *Client) Server(ctx context.Context) (s Server, err error) {
	first, err := c.text(ctx, "/")
	if err != nil {
		return s, err
	}
	if rest, ok := strings.CutPrefix(string(first.Body), "dockbell "); ok && first.Done() {
		s.Version, _, _ = strings.Cut(rest, ":")
	}
	ready, err := c.text(ctx, "/readyz")
	if err != nil {
		return s, err
	}
	if s.Ready = ready.Done(); s.Ready {
		return s, nil
	}
	var said struct {
		Status string `json:"status"`
	}
	if json.Unmarshal(ready.Body, &said) == nil {
		s.Reason = said.Status
	}
	s.Reason = cmp.Or(s.Reason, fmt.Sprintf("it answers %d %s", ready.Status, http.StatusText(ready.Status)))
	return s, nil
}

// text asks for what is for everyone, without credentials.
func (c *Client) text(ctx context.Context, path string) (exchange.Answer, error) {
	req, err := exchange.Request(ctx, c.server, http.MethodGet, path, nil, "", "")
	if err != nil {
		return exchange.Answer{}, err
	}
	req.Header.Set("Accept", "text/plain")
	return exchange.Do(&c.http, c.server, req)
}
