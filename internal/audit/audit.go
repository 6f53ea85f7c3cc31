// Package audit is the record of who did what: changes in the control plane,
// deletions, reads of secrets, and logins that failed.
//
// It owns the table audit_entry, the shape of an entry, how long entries are
// kept, and the line that the server's log has of each. What is worth an entry is
// decided by whoever makes one. Invariants:
//   - An entry is never changed. It goes with age, or when there are too many of
//     its outcome: a flood of refusals leaves what was done where it is.
//   - Each entry has one line in the server's log, of level Info, with the message
//     "audit" and always the same keys.
//   - Texts are short and hold no control characters: what strangers choose, such
//     as names and paths, can make neither a line nor a terminal lie.
//   - What whoever is not known can make happen costs no write of its own: it is
//     counted in bounded memory and written once a minute.
//
// That an entry holds no secret is up to whoever makes it: none is made of the
// body of a request or of its credentials.
package audit

import (
	"cmp"
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// Outcome is what came of an action.
type Outcome string

// The outcomes.
const (
	Succeeded Outcome = "succeeded"
	Refused   Outcome = "refused" // the actor may not, or is not known
	Failed    Outcome = "failed"  // what was asked for is wrong, or could not be done
)

// Outcomes are all of them.
var Outcomes = []Outcome{Succeeded, Refused, Failed}

// ActorKind says what the name of an actor is one of.
type ActorKind string

// The kinds of actors.
const (
	User        ActorKind = "User"        // the operator, or an admin user
	Application ActorKind = "Application" // a service principal
	Token       ActorKind = "Token"       // a token of a registry
	Anonymous   ActorKind = "Anonymous"   // nobody who is known; the name, if any, is a claim
)

// Entry is something that was done or tried.
type Entry struct {
	ID   int64     // given by the table
	Time time.Time // given by the transaction; of a count, when it happened last

	Registry int64 // id of the hosted registry; 0: of the server

	Actor     string // empty: nobody is known
	ActorKind ActorKind
	Client    string // address of the client, without a port; of a count, its network

	// Action is in ARM's words, such as
	// Microsoft.ContainerRegistry/registries/webhooks/write.
	Action string

	Resource string // an ARM id, or repository@digest
	Outcome  Outcome

	Request     string // X-Ms-Request-Id of the answer
	Correlation string // X-Ms-Correlation-Request-Id of the answer

	Detail string // a few words more, such as the cause; never a secret
	Count  int64  // how often it happened, from 1; 0 is written as 1
}

// ByRequest returns an entry for what a request for contents did, to be completed:
// who did it, from where, and how the request is found again.
func ByRequest(r event.Request, actor string, kind ActorKind, correlation string) Entry {
	return Entry{Actor: actor, ActorKind: kind, Client: r.Addr, Request: r.ID, Correlation: correlation, Outcome: Succeeded}
}

// The longest texts of an entry, in bytes.
const (
	maxName   = 128
	maxAction = 200
	maxText   = 512
)

// clean returns the entry as it is kept.
func (e Entry) clean() Entry {
	e.Actor, e.ActorKind, e.Client = Clean(e.Actor, maxName), ActorKind(Clean(string(e.ActorKind), maxName)), Clean(e.Client, maxName)
	e.Action, e.Resource, e.Detail = Clean(e.Action, maxAction), Clean(e.Resource, maxText), Clean(e.Detail, maxText)
	e.Request, e.Correlation = Clean(e.Request, maxName), Clean(e.Correlation, maxName)
	e.Count = max(e.Count, 1)
	return e
}

// Clean returns text cut to about limit bytes, with \u and four digits for every
// character that cannot be seen.
func Clean(text string, limit int) string {
	plain := len(text) <= limit
	for i := 0; plain && i < len(text); i++ {
		plain = text[i] >= ' ' && text[i] <= '~'
	}
	if plain {
		return text
	}
	const digits = "0123456789abcdef"
	var b strings.Builder
	for i, r := range text {
		if b.Len() >= limit {
			return b.String() + "…"
		}
		_, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1, !unicode.IsPrint(r) && r > 0xffff:
			b.WriteRune(utf8.RuneError)
		case !unicode.IsPrint(r):
			b.WriteString(`\u`)
			for shift := 12; shift >= 0; shift -= 4 {
				b.WriteByte(digits[r>>shift&15])
			}
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// attrs are what the line of an entry says, as keys and values.
func (e Entry) attrs() []any {
	return []any{
		"actor", e.Actor, "kind", string(e.ActorKind), "client", e.Client, "action", e.Action, "resource", e.Resource, "registry", e.Registry,
		"outcome", string(e.Outcome), "request", e.Request, "correlation", e.Correlation, "detail", e.Detail, "count", e.Count,
	}
}

// Options are what a Log stands on. DB is required.
type Options struct {
	DB  *sqldb.DB
	Log *slog.Logger // nil means slog.Default()

	// Keep is how long entries are kept. 0 means 90 days.
	Keep time.Duration

	// Most is how many entries are kept at the most: half of them of what
	// succeeded, a quarter each of what was refused and of what failed. Beyond that
	// the oldest go. An entry takes some 500 bytes. 0 means a million.
	Most int64
}

// Log is the audit log. Its methods may be called from many goroutines.
type Log struct {
	db    *sqldb.DB
	log   *slog.Logger
	keep  time.Duration
	most  int64
	added atomic.Int64 // since the last sweep
	tally tally
}

// New returns the audit log of a database. Run keeps it.
func New(opts Options) *Log {
	return &Log{
		db: opts.DB, log: cmp.Or(opts.Log, slog.Default()),
		keep: cmp.Or(opts.Keep, 90*24*time.Hour), most: cmp.Or(opts.Most, 1_000_000),
	}
}

// Append writes an entry in the caller's transaction: there is one if and only if
// that commits. Then the server's log has its line.
func (l *Log) Append(tx *sqldb.Tx, e Entry) error {
	e = e.clean()
	e.Time = tx.Now()
	if err := insertEntry(tx, e); err != nil {
		return err
	}
	tx.AfterCommit(func() {
		l.added.Add(1)
		l.log.Info("audit", e.attrs()...)
	})
	return nil
}

// recordTime is how long a request waits for its entry to be written.
const recordTime = 10 * time.Second

// Record writes an entry of its own, and returns when it is durable. It does so
// also when ctx has ended: a client that goes away hides nothing. An entry that
// cannot be written is an error in the server's log, which has all of it.
func (l *Log) Record(ctx context.Context, e Entry) {
	e = e.clean()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
	defer cancel()
	err := l.db.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error {
		e.Time = tx.Now()
		return insertEntry(tx, e)
	})
	if err != nil {
		l.log.Error("an entry of the audit log could not be written: it is here alone", append(e.attrs(), "error", err)...)
		return
	}
	l.added.Add(1)
	l.log.Info("audit", e.attrs()...)
}
