package portal

import (
	"bytes"
	"net/http"
	"strconv"
	"time"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

const (
	// tailWait is how long a tail of the feed is silent at the most. What a visitor
	// may is asked anew each time.
	tailWait = 15 * time.Second

	// tailPage is how many events are read at a time.
	tailPage = 100
)

// tailFeed sends events of the feed as they happen. It ends with the session, the
// rights, or the server: the browser asks again and is told then.
func tailFeed(p *portal, w http.ResponseWriter, v *visit) error {
	from := v.Header.Get("Last-Event-ID")
	if from == "" {
		from = v.URL.Query().Get("after")
	}
	after, err := strconv.ParseInt(from, 10, 64)
	if err != nil || after < 0 {
		return fault.New(fault.Invalid, "%.40q is no position of the feed", from)
	}
	filter, _ := filterOf(v.URL.Query())
	// A first look, so that who may not see the feed is told so.
	feed, err := p.tailRead(v, &after, 0)
	if err != nil {
		return err
	}
	tail, done, err := p.tailing(w)
	if err != nil {
		return err
	}
	defer done()
	for until := time.Now().Add(tailLife); ; {
		for _, e := range feed.Entries {
			if !filter.Passes(&e.Event) {
				continue
			}
			var row bytes.Buffer
			if err := templates["events"].ExecuteTemplate(&row, "feedrow", v.feedRow(e)); err != nil {
				p.Log.Error("a row of the feed failed", "error", err)
				return nil
			}
			if tail.send(strconv.FormatInt(e.Position, 10), "row", row.String()) != nil {
				return nil // nobody is there any more
			}
		}
		if tail.send(strconv.FormatInt(after, 10), "", "") != nil {
			return nil
		}
		select {
		case <-p.Stopping:
			return nil
		default:
		}
		if time.Now().After(until) {
			return nil
		}
		if feed, err = p.tailRead(v, &after, tailWait); err != nil {
			return nil
		}
	}
}

// tailRead returns what is behind a position, for which it waits, and moves that
// on. What is not kept any more is passed over.
func (p *portal) tailRead(v *visit, after *int64, wait time.Duration) (controlclient.FeedPage, error) {
	feed, err := v.api.FeedWait(v.Context(), v.registry, *after, tailPage, wait)
	if expired, ok := controlclient.ExpiredIn(err); ok {
		*after = expired.Oldest - 1
		feed, err = v.api.FeedWait(v.Context(), v.registry, *after, tailPage, wait)
	}
	if err == nil {
		*after = feed.Next
	}
	return feed, err
}
