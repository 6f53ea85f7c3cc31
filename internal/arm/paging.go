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

// pageToken is the place of a page in a list: how many entries came before it,
// and where the log goes on. Its text is the query parameter $skiptoken of a next
// link.
type pageToken struct {
	seen  int
	after string
}

func (t pageToken) String() string { return strconv.Itoa(t.seen) + "-" + t.after }

// parsePageToken reads the token of a request; the zero token when there is none.
func parsePageToken(query url.Values) (pageToken, error) {
	text := query.Get("$skiptoken")
	if text == "" {
		return pageToken{}, nil
	}
	seen, after, ok := strings.Cut(text, "-")
	n, err := strconv.Atoi(seen)
	if !ok || err != nil || n < 0 || after == "" {
		return pageToken{}, fault.New(fault.Invalid, "$skiptoken %q is not from a nextLink of this list: start again without it", clip(text))
	}
	return pageToken{n, after}, nil
}

// nextLink returns the absolute URL of the next page of what r asked for.
func nextLink(r *http.Request, token pageToken) string {
	u := url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path}
	if r.TLS != nil {
		u.Scheme = "https"
	}
	query := r.URL.Query()
	query.Set("$skiptoken", token.String())
	u.RawQuery = query.Encode()
	return u.String()
}
