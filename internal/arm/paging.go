package arm

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
)

// How much of the delivery log listEvents shows.
const (
	eventsPerPage = 100
	eventsShown   = 1000
)

// skipToken is the query parameter by which a next link says where a list goes
// on.
const skipToken = "$skiptoken"

// pageToken is the place of a page of the delivery log: how many entries came
// before it, and where the log goes on.
type pageToken struct {
	seen  int
	after string
}

func (t pageToken) String() string { return strconv.Itoa(t.seen) + "-" + t.after }

// parsePageToken reads the token of a request; the zero token when there is none.
func parsePageToken(query url.Values) (pageToken, error) {
	text := query.Get(skipToken)
	if text == "" {
		return pageToken{}, nil
	}
	seen, after, ok := strings.Cut(text, "-")
	n, err := strconv.Atoi(seen)
	if !ok || err != nil || n < 0 || after == "" {
		return pageToken{}, badSkipToken(text)
	}
	return pageToken{n, after}, nil
}

func badSkipToken(text string) error {
	return fault.New(fault.Invalid, skipToken+" %q is not from a nextLink of this list: start again without it", clip(text))
}

// namesPerPage is how many of what is listed by name are in a page.
const namesPerPage = 100

// nameToken returns the name behind which a page of names begins, which is empty
// for the first. It is one that a next link has: of letters, digits, - and _.
func nameToken(c call) (string, error) {
	after := c.URL.Query().Get(skipToken)
	if strings.Trim(after, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		return "", badSkipToken(after)
	}
	return after, nil
}

// nextLink returns the absolute URL of the page of what r asked for that begins
// at token.
func nextLink(r *http.Request, token string) string {
	u := url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path}
	if r.TLS != nil {
		u.Scheme = "https"
	}
	query := r.URL.Query()
	query.Set(skipToken, token)
	u.RawQuery = query.Encode()
	return u.String()
}
