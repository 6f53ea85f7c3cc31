package webhook

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/dockbell/dockbell/internal/consent"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// Poster sends one request; *outbound.Client is one.
type Poster interface {
	Post(context.Context, outbound.Request) outbound.Result
}

// AwaitsConsent reports whether nothing is sent for the webhook, because its
// address has to agree first.
func (w Webhook) AwaitsConsent(now time.Time) bool {
	return w.Handshake == CloudEventsHandshake && !w.Consent.Given(now)
}

// MayRing fails with fault.Conflict if nothing may be sent for the webhook now,
// or, elsewhere, not to another address than its own.
func (w Webhook) MayRing(now time.Time, elsewhere bool) error {
	switch {
	case elsewhere && w.Handshake == CloudEventsHandshake:
		return fault.New(fault.Conflict, "webhook %s rings only the address that agreed to it: for another address create another webhook, or set the handshake of this one to none", w.Name)
	case !w.AwaitsConsent(now):
		return nil
	case w.Consent.Failures == 0:
		return fault.New(fault.Conflict, "the address of webhook %s was not asked yet whether it agrees to be rung: try again in a moment", w.Name)
	}
	return fault.New(fault.Conflict, "nothing is sent to webhook %s, because its address has not agreed to be rung: %s; dockbell webhook handshake asks it again, and --handshake none is for receivers that do not know the question",
		w.Name, w.Consent.Last.Why)
}

// consentAfter returns the consent of r, which was old: none for another address,
// or one that was not asked so far.
func consentAfter(old, r record) consent.State {
	switch {
	case r.Handshake != CloudEventsHandshake:
		return consent.State{}
	case old.Handshake != CloudEventsHandshake || old.ServiceURI != r.ServiceURI:
		return consent.New()
	case old.Status == Disabled && r.Status == Enabled && r.Consent.Failures > 0:
		return r.Consent.Again()
	}
	return r.Consent
}

// nameOrigin has every request name its origin, by both names that the field has
// had.
func (h *hook) nameOrigin() {
	h.header[consent.OriginField] = []string{h.origin}
	if h.header["Origin"] == nil {
		h.header["Origin"] = h.header[consent.OriginField]
	}
}

// held reports whether nothing may be sent at a moment but the handshake.
func (h *hook) held(now time.Time) bool { return h.origin != "" && !h.consent.Given(now) }

// lower returns the lower of two rates, of which 0 is none.
func lower(a, b int) int {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// question returns the request that asks for consent: with the headers of the
// webhook, by which its receiver knows who asks.
func (h *hook) question() outbound.Request {
	header := maps.Clone(h.header)
	delete(header, "Content-Type")
	delete(header, "Origin")
	maps.Copy(header, consent.Header(h.origin, h.perMinute))
	return outbound.Request{Method: http.MethodOptions, URL: h.url, Header: header, Timeout: h.terms.Timeout, SecretPath: h.format.secretPath(), TLS: h.tls}
}

// secrets returns what must not be shown of an answer that repeats the question.
func (h *hook) secrets() (all []string) {
	all = h.format.secretsIn(h.url)
	for name, values := range h.header {
		if name != "User-Agent" && name != "Content-Type" && name != "Origin" && name != consent.OriginField {
			all = append(all, values...)
		}
	}
	return append(all, outbound.SecretsOf(h.url)...)
}

// answered returns the consent of h after an exchange that asked for it.
func (h *hook) answered(was consent.State, res outbound.Result) consent.State {
	now := res.Started.Add(res.Duration).UTC()
	if res.Answer == nil {
		return was.Failed(now, consent.Failure{Class: string(res.Class), Why: res.Message}, rand.Float64())
	}
	secrets := h.secrets()
	header := maps.Clone(res.Answer.Header)
	for name := range header {
		header[name] = outbound.Mask(header[name], secrets)
	}
	perMinute, refusal := consent.Read(h.origin, res.Answer.Status, header, []byte(outbound.Mask(string(res.Body), secrets)))
	if refusal != "" {
		return was.Failed(now, consent.Failure{Status: res.Answer.Status, Why: refusal}, rand.Float64())
	}
	return was.Granted(now, min(perMinute, ring.MaxPerMinute))
}

// Handshake asks the address of a webhook now whether it agrees to be rung, and
// returns the webhook as it is then; that it does not agree is no error.
//
// Errors: fault.NotFound (ResourceNotFound) if there is no such webhook,
// fault.Conflict for one without a handshake.
func (s *Store) Handshake(ctx context.Context, reg Registry, name string) (Webhook, error) {
	w, err := s.Get(ctx, reg, name)
	if err != nil {
		return Webhook{}, err
	}
	if w.Handshake != CloudEventsHandshake {
		return Webhook{}, fault.New(fault.Conflict, "webhook %s has no handshake: it rings without one; dockbell webhook update --handshake cloudevents makes it ask first", w.Name)
	}
	if err := s.ask(ctx, w.RegistryID, w.ID); err != nil {
		return Webhook{}, err
	}
	return s.Get(ctx, reg, w.Name)
}

// askNew asks the address of a webhook if that is needed and was never done, and
// returns the webhook as it is then. What fails is done later.
func (s *Store) askNew(ctx context.Context, w Webhook) Webhook {
	if w.Handshake != CloudEventsHandshake || !w.Consent.AskedAt.IsZero() {
		return w
	}
	err := s.ask(ctx, w.RegistryID, w.ID)
	if err == nil {
		err = s.DB.Read(ctx, func(tx *sqldb.Tx) error {
			row, err := selectEndpoint(tx, w.RegistryID, w.ID)
			if err == nil {
				w = row.Webhook
			}
			return err
		})
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, sqldb.ErrNoRow) {
		s.Log.Error("what came of a handshake is not on record; trying again", "webhook", w.ID, "error", err)
	}
	return w
}

// ask asks the address of a webhook, and puts on record what came of it. Who asks
// while another does waits for that.
func (s *Store) ask(ctx context.Context, registry, id int64) error {
	before := s.rules.Load().hook(registry, id)
	for {
		other := s.asking.begin(id)
		if other == nil {
			defer s.asking.end(id)
			return s.askOnce(ctx, registry, id)
		}
		select {
		case <-other:
		case <-ctx.Done():
			return ctx.Err()
		}
		now := s.rules.Load().hook(registry, id)
		if before == nil || now == nil || !now.consent.AskedAt.Equal(before.consent.AskedAt) {
			return nil // it was answered while we waited
		}
	}
}

// askOnce is ask for who has begun.
func (s *Store) askOnce(ctx context.Context, registry, id int64) error {
	h := s.rules.Load().hook(registry, id)
	if h == nil || h.origin == "" {
		return nil
	}
	res := s.Poster.Post(ctx, h.question())
	if res.Class == outbound.Cancelled {
		return ctx.Err()
	}
	var hopeless bool
	err := s.change(ctx, func(tx *sqldb.Tx) (err error) {
		hopeless, err = s.keepAnswer(tx, h, res)
		return err
	})
	if err == nil && hopeless {
		err = s.Disable(ctx, registry, id, "its address did not agree to be rung for 5 days")
	}
	return err
}

// keepAnswer puts on record what an exchange came to that asked for the consent of
// h, and draws the consequences. It reports whether it is no use to ask again. An
// answer of another address than the webhook has by now does not count.
func (s *Store) keepAnswer(tx *sqldb.Tx, h *hook, res outbound.Result) (hopeless bool, err error) {
	row, err := selectEndpoint(tx, h.registry, h.id)
	if errors.Is(err, sqldb.ErrNoRow) || err == nil && row.Consent.Epoch != h.consent.Epoch {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	r, err := s.unseal(row)
	if err != nil {
		return false, err
	}
	now, was := tx.Now(), r.Consent
	r.Consent = h.answered(was, res)
	report := ring.Condition("")
	switch {
	case r.Consent.Failures == 0 && was.Told:
		report = ring.Recovered
	case r.Consent.Hopeless(now):
		report, hopeless = ring.Disabled, r.Status == Enabled
	case r.Consent.Tell(now):
		report, r.Consent.Told = ring.Failing, true
	}
	if err := updateConsent(tx, r.ID, r.Consent); err != nil {
		return false, err
	}
	if err := s.putInForce(tx, r); err != nil {
		return false, err
	}
	switch {
	case r.AwaitsConsent(now):
		err = s.Endpoints.Held(tx, r.ID)
	case r.Consent.Failures == 0 && (was.Failures > 0 || !was.Given(now)): // it may have ended a moment ago
		err = s.Endpoints.Changed(tx, r.ID)
	}
	if err != nil || report == "" || r.Status == Disabled {
		return hopeless, err
	}
	told := ring.Report{Registry: r.RegistryID, Endpoint: r.ID, Condition: report, Since: was.Since}
	if r.Consent.Failures > 0 {
		told.LastStatus, told.LastError = r.Consent.Last.Status, "the address does not agree to be rung: "+r.Consent.Last.Why
	}
	return hopeless, s.Report(tx, told)
}

// asking is which addresses are being asked.
type asking struct {
	changed chan struct{} // there may be others to ask; takes one

	mu      sync.Mutex
	running map[int64]chan struct{} // by webhook; closed when that ends
}

func newAsking() asking {
	return asking{changed: make(chan struct{}, 1), running: map[int64]chan struct{}{}}
}

// look has Run look for whom to ask.
func (a *asking) look() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// begin returns nil for whoever may ask now, and else what is closed when another
// has done so.
func (a *asking) begin(id int64) (other <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if running, ok := a.running[id]; ok {
		return running
	}
	a.running[id] = make(chan struct{})
	return nil
}

func (a *asking) end(id int64) {
	a.mu.Lock()
	close(a.running[id])
	delete(a.running, id)
	a.mu.Unlock()
	a.look()
}

// free returns those of hooks that nobody asks, as many as may be asked beside the
// others.
func (a *asking) free(hooks []*hook) (free []*hook) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, h := range hooks {
		if a.running[h.id] == nil && len(a.running)+len(free) < maxAsking {
			free = append(free, h)
		}
	}
	return free
}

// maxAsking is how many addresses are asked at once by themselves.
const maxAsking = 16

// askRetry is how long a handshake waits whose outcome could not be kept.
const askRetry = time.Second

// Run asks addresses for their consent when it is time to, until ctx ends: new
// ones, those that did not agree, and those whose consent is about to end.
// Disabled webhooks wait until someone enables them.
func (s *Store) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-s.asking.changed:
		}
		due, next := s.rules.Load().toAsk(time.Now())
		for _, h := range s.asking.free(due) {
			if s.asking.begin(h.id) == nil {
				running.Go(func() { s.askByItself(ctx, h) })
			}
		}
		timer.Reset(next)
	}
}

func (s *Store) askByItself(ctx context.Context, h *hook) {
	defer s.asking.end(h.id)
	if err := s.askOnce(ctx, h.registry, h.id); err != nil && ctx.Err() == nil {
		s.Log.Error("what came of a handshake is not on record; trying again", "webhook", h.id, "error", err)
		pause, cancel := context.WithTimeout(ctx, askRetry)
		defer cancel()
		<-pause.Done()
	}
}

// lookLeast is how often it is looked at the least whom to ask.
const lookLeast = time.Hour

// toAsk returns the enabled webhooks whose addresses are to be asked now, and how
// long it is until the next one is.
func (r *rules) toAsk(now time.Time) (due []*hook, next time.Duration) {
	next = lookLeast
	for _, shard := range r.shards {
		for _, of := range shard {
			for _, h := range of.hooks {
				switch wait := h.consent.NextAt.Sub(now); {
				case h.origin == "" || !h.rule.enabled:
				case wait <= 0:
					due = append(due, h)
				default:
					next = min(next, wait)
				}
			}
		}
	}
	return due, next
}
