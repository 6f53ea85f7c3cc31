package subscription

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/dockbell/dockbell/internal/consent"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// A receiver agrees in one of three ways: it answers the question with the code or
// the header that was asked for; it answers otherwise, and a person, or the
// receiver itself, opens the address that the question had within manualTime; or it
// is a broker, which nobody asks.

// ConfirmPath is where the address of a manual handshake leads: a name and
// "/validate" follow it.
const ConfirmPath = "/eventsubscriptions/"

// manualTime is how long that address is good for, as Event Grid has it.
const manualTime = 10 * time.Minute

// askAgainAfter is how long after a question without an answer it is asked once
// more: receivers that sleep wake up by the first.
const askAgainAfter = 5 * time.Second

// mayRing checks that a destination may be rung at all.
func (s *Store) mayRing(d Destination) error {
	if d.Broker != nil {
		for _, address := range d.Broker.Servers {
			if err := s.CheckBroker(address); err != nil {
				return unusable(err, "the server "+clip(address))
			}
		}
		return nil
	}
	return unusable(s.CheckURL(d.URL), "the endpointUrl")
}

// unusable is the fault of whoever gave an address that may not be rung.
func unusable(err error, what string) error {
	if f := fault.As(err); err != nil && f.Kind != fault.Internal {
		return invalid("%s cannot be used: %s", what, strings.Replace(f.Message, "the service URI", "it", 1))
	}
	return err
}

// token is what confirms a handshake by hand. It is in the question before it is on
// record, so it may come back before.
type token struct {
	text      string
	confirmed bool
	perMinute int
}

// tokens are those of questions that are being asked, by hash.
type tokens struct {
	mu    sync.Mutex
	asked map[string]*token
}

func hashOf(token string) []byte {
	hash := sha256.Sum256([]byte(token))
	return hash[:]
}

func (t *tokens) begin() *token {
	made := &token{text: rand.Text() + rand.Text()}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked[string(hashOf(made.text))] = made
	return made
}

// confirm reports whether the token is of a question that is being asked.
func (t *tokens) confirm(text string, perMinute int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	asked := t.asked[string(hashOf(text))]
	if asked == nil {
		return false
	}
	asked.confirmed, asked.perMinute = true, perMinute
	return true
}

// end forgets a token, and reports whether it came back meanwhile.
func (t *tokens) end(made *token) (confirmed bool, perMinute int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.asked, string(hashOf(made.text)))
	return made.confirmed, made.perMinute
}

// asks reports whether the receiver of next, which was old, has to be asked.
func asks(old, next record) bool {
	switch {
	case next.whole.Type != WebHook:
		return false
	case old.ID == 0, old.State != Succeeded, old.whole.Type != WebHook:
		return true
	}
	return old.whole.URL != next.whole.URL || old.Schema != next.Schema
}

// ask asks the receiver of r, and returns r with what came of it. A receiver that
// does not agree is a fault. made is the token of the question, which the caller
// ends when r is on record.
func (s *Store) ask(ctx context.Context, reg Registry, r record, made *token) (record, error) {
	h, err := s.newHook(r)
	if err != nil {
		return record{}, err
	}
	code := uuid.NewString()
	question := s.question(h, reg, code, made.text)
	res := s.Poster.Post(ctx, question)
	if res.Class == outbound.Connect || res.Class == outbound.Timeout || res.Answer != nil && res.Answer.Status >= 500 {
		pause, cancel := context.WithTimeout(ctx, askAgainAfter)
		<-pause.Done()
		cancel()
		res = s.Poster.Post(ctx, question)
	}
	if err := ctx.Err(); err != nil {
		return record{}, err
	}
	agreed, perMinute, why := h.read(res, code, s.origin(reg.ID))
	switch {
	case agreed:
		r.State, r.perMinute, r.tokenHash, r.tokenUntil = Succeeded, perMinute, nil, time.Time{}
	case res.Answer != nil && res.Answer.Status >= 200 && res.Answer.Status < 300:
		r.State, r.perMinute, r.tokenHash, r.tokenUntil = AwaitingManualAction, 0, hashOf(made.text), time.Now().Add(manualTime).UTC()
	default:
		return record{}, fault.New(fault.Invalid, "the validation handshake with %s failed: %s; nothing was changed, so the same request can be sent again when the receiver is mended",
			baseOf(r.whole.URL), why).WithCode("Url validation")
	}
	return r, nil
}

// question returns the request that asks whether the receiver agrees, with the
// attributes by which it knows who asks.
func (s *Store) question(h *hook, reg Registry, code, token string) outbound.Request {
	q := outbound.Request{URL: h.whole.URL, Timeout: timeout, Public: h.public, Header: maps.Clone(h.header)}
	confirm := s.URL(reg.ID) + ConfirmPath + url.PathEscape(strings.ToLower(h.Name)) + "/validate?" + url.Values{"id": {code}, "token": {token}}.Encode()
	if h.Schema == CloudEventSchema {
		delete(q.Header, "Origin")
		q.Method = http.MethodOptions
		maps.Copy(q.Header, consent.Header(s.origin(reg.ID), 0))
		q.Header[consent.CallbackField] = []string{confirm}
		return q
	}
	q.Header["Content-Type"] = []string{event.EventGridMediaType}
	q.Header[typeField] = []string{validation}
	q.Header[dataVersionField] = []string{"1"}
	q.Header[countField] = []string{"0"}
	q.Body = event.SubscriptionValidation(uuid.NewString(), reg.ResourceID, time.Now(), code, confirm)
	return q
}

// read tells what a question came to: whether the receiver agrees, to how many
// requests a minute (0: any number), and in a sentence why not.
func (h *hook) read(res outbound.Result, code, origin string) (agreed bool, perMinute int, why string) {
	if res.Answer == nil {
		return false, 0, res.Message
	}
	secrets := outbound.SecretsOf(h.whole.URL)
	for _, a := range h.whole.Attributes {
		if a.Secret {
			secrets = append(secrets, a.Value)
		}
	}
	body := outbound.Mask(string(res.Body), secrets)
	if h.Schema == CloudEventSchema {
		header := maps.Clone(res.Answer.Header)
		for name := range header {
			header[name] = outbound.Mask(header[name], secrets)
		}
		perMinute, why = consent.Read(origin, res.Answer.Status, header, []byte(body))
		return why == "", min(perMinute, ring.MaxPerMinute), why
	}
	if res.Answer.Status == http.StatusOK && repeats(res.Body, code) {
		return true, 0, ""
	}
	return false, 0, fmt.Sprintf("it answered %d%s where 200 with the body {\"validationResponse\": \"<the code>\"} is expected", res.Answer.Status, consent.Quote([]byte(body)))
}

// repeats reports whether an answer has the code. Member names are taken in any
// case, as Event Grid does.
func repeats(body []byte, code string) bool {
	var answer struct{ ValidationResponse string } // encoding/json does not regard case
	return json.Unmarshal(body, &answer) == nil && strings.EqualFold(answer.ValidationResponse, code)
}

// awaits is what a person is told who is to confirm.
func awaits(r record) string {
	return fmt.Sprintf("the receiver took the question and did not answer it: open the address that it was sent until %s, for example from its log; events wait meanwhile",
		r.tokenUntil.Format("15:04:05 UTC"))
}

// failedWhy is what people are told when nobody confirmed.
const failedWhy = "nobody opened the address that the receiver was sent within 10 minutes: dockbell event-subscription validate asks the receiver again; events wait meanwhile"

// Validate asks the receiver once more whether it agrees, and returns the
// subscription as it is then. Errors: fault.Invalid (Url validation) if it does not,
// fault.NotFound (ResourceNotFound).
func (s *Store) Validate(ctx context.Context, reg Registry, name string) (Subscription, error) {
	old, err := s.find(ctx, reg, name)
	if err != nil {
		return Subscription{}, err
	}
	if old.whole.Type != WebHook {
		return old.seen(time.Now()), nil // brokers are not asked
	}
	made := s.tokens.begin()
	defer s.tokens.end(made)
	next, err := s.ask(ctx, reg, old, made)
	if err != nil {
		return Subscription{}, err
	}
	return s.keep(ctx, reg, old, next, made)
}

// Confirm is what opening the address of a manual handshake does: events flow from
// now on. perMinute is how many requests the receiver allows, 0 for any number. It
// fails with fault.NotFound for a token that is none, or no more.
func (s *Store) Confirm(ctx context.Context, token string, perMinute int) error {
	perMinute = max(0, min(perMinute, ring.MaxPerMinute))
	if s.tokens.confirm(token, perMinute) {
		return nil // whoever asks will see
	}
	return s.change(ctx, func(tx *sqldb.Tx) error {
		row, err := selectToken(tx, hashOf(token))
		if errors.Is(err, sqldb.ErrNoRow) || err == nil && !tx.Now().Before(row.tokenUntil) {
			return fault.New(fault.NotFound, "this address confirms no event subscription, or not any more: it is good once, for 10 minutes; dockbell event-subscription validate asks for another").
				WithCode("ResourceNotFound")
		}
		if err != nil {
			return err
		}
		old, err := s.unseal(row)
		if err != nil {
			return err
		}
		next := old
		next.State, next.perMinute, next.tokenHash, next.tokenUntil = Succeeded, perMinute, nil, time.Time{}
		return s.store(tx, old, next, false)
	})
}
