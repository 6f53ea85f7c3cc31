package audit

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// Filter says which entries are wanted. Zero members want all.
type Filter struct {
	Registry int64 // only those of this registry

	After, Before time.Time // from the first on, and before the second

	Actor    string // whole name, in any case of ASCII letters
	Action   string // with which the action begins, in any case
	Resource string // a part of the resource's id, in any case of ASCII letters
	Outcome  Outcome
}

// ParseOutcome returns the outcome of a name, in any case. It fails with
// fault.Invalid.
func ParseOutcome(text string) (Outcome, error) {
	o := Outcome(strings.ToLower(text))
	if !slices.Contains(Outcomes, o) {
		return "", fault.New(fault.Invalid, "there is no outcome %.80q: use %s, %s or %s", text, Succeeded, Refused, Failed)
	}
	return o, nil
}

// Entries returns at most n entries, newest first, starting behind after: empty,
// or what an earlier call returned as next. next is empty when there are no more.
// It fails with fault.Invalid for an after that is of no earlier call.
func (l *Log) Entries(ctx context.Context, f Filter, after string, n int) (page []Entry, next string, err error) {
	from := place{at: int64(^uint64(0) >> 1)}
	if after != "" {
		if from, err = parsePlace(after); err != nil {
			return nil, "", err
		}
	}
	f.Actor, f.Action, f.Resource = Clean(f.Actor, maxName), Clean(f.Action, maxAction), Clean(f.Resource, maxText) // as they are kept
	err = l.db.Read(ctx, func(tx *sqldb.Tx) (err error) {
		page, err = selectEntries(tx, f, from, n+1)
		return err
	})
	if err != nil || len(page) <= n {
		return page, "", err
	}
	page = page[:n]
	last := page[n-1]
	return page, place{last.Time.UnixNano(), last.ID}.String(), nil
}

// place is where in the log an entry is.
type place struct{ at, id int64 }

func (p place) String() string {
	return strconv.FormatInt(p.at, 10) + "." + strconv.FormatInt(p.id, 10)
}

func parsePlace(text string) (place, error) {
	at, id, ok := strings.Cut(text, ".")
	var p place
	var err, errID error
	p.at, err = strconv.ParseInt(at, 10, 64)
	p.id, errID = strconv.ParseInt(id, 10, 64)
	if !ok || err != nil || errID != nil {
		return place{}, fault.New(fault.Invalid, "%.80q is no place in the audit log: use the nextLink of an answer as it is", text)
	}
	return p, nil
}
