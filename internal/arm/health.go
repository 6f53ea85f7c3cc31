package arm

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/delivery"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/webhook"
)

// healthBody is how an endpoint fares. It is not ACR's, and only there for those
// who ask for it.
type healthBody struct {
	State               string `json:"state"`
	ConsecutiveFailures int    `json:"consecutiveFailures"`
	FirstFailure        string `json:"firstFailure,omitempty"` // of these
	LastSuccess         string `json:"lastSuccess,omitempty"`
	LastAttempt         string `json:"lastAttempt,omitempty"`
	LastStatus          int    `json:"lastStatus,omitempty"` // absent: there was no answer
	LastError           string `json:"lastError,omitempty"`  // the class of the failure
	Waiting             int    `json:"waiting"`
	Behind              int64  `json:"behind"`
	OldestUndelivered   string `json:"oldestUndelivered,omitempty"`
	NextAttempt         string `json:"nextAttempt,omitempty"`
	PausedAt            string `json:"pausedAt,omitempty"`
	DeadLetters         int64  `json:"deadLetters"`
	Destination         string `json:"destination,omitempty"` // of a webhook: scheme://name:port
}

// stateOf returns why a webhook is sent nothing, whatever the engine says; empty if
// it is for the engine to say.
func stateOf(w webhook.Webhook, now time.Time) string {
	switch {
	case w.Status == webhook.Disabled:
		return "disabled"
	case w.AwaitsConsent(now):
		return "awaitingConsent"
	}
	return ""
}

// healthToWire shows how an endpoint fares. state, if it is not empty, is said
// instead of the engine's.
func healthToWire(h delivery.Health, state string) *healthBody {
	if h.State == delivery.Live {
		h.State = "ok"
	}
	return &healthBody{
		State:               cmp.Or(state, string(h.State)),
		ConsecutiveFailures: h.FailStreak,
		FirstFailure:        optionalTime(h.FirstFail),
		LastSuccess:         optionalTime(h.LastSuccess),
		LastAttempt:         optionalTime(h.LastAttempt),
		LastStatus:          h.LastStatus,
		LastError:           h.LastError,
		Waiting:             h.Waiting,
		Behind:              h.Behind,
		OldestUndelivered:   optionalTime(h.Oldest),
		NextAttempt:         optionalTime(h.NextAttempt),
		PausedAt:            optionalTime(h.PausedAt),
		DeadLetters:         h.DeadLetters,
	}
}

// optionalTime is empty for no time.
func optionalTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return wireTime(t)
}

// asksHealth reads the query parameter expand.
func asksHealth(query url.Values) (bool, error) {
	expand := query.Get("expand")
	if expand != "" && !strings.EqualFold(expand, "health") {
		return false, fault.New(fault.Invalid, "expand %q is not known: use health, or leave it out", clip(expand))
	}
	return expand != "", nil
}

// addHealth gives each of bodies, which show hooks, its health. A webhook that
// was deleted in between has none.
func (a *api) addHealth(ctx context.Context, hooks []webhook.Webhook, bodies []webhookBody) error {
	ids := make([]int64, len(hooks))
	for i, w := range hooks {
		ids[i] = w.ID
	}
	all, err := a.Deliveries.Health(ctx, ids...)
	if err != nil {
		return err
	}
	for i, w := range hooks {
		if h, ok := all[w.ID]; ok {
			bodies[i].Health = healthToWire(h, stateOf(w, time.Now()))
			bodies[i].Health.Destination = a.host(w)
		}
	}
	return nil
}

// withHealth answers with a webhook and how it fares.
func (a *api) withHealth(c call, w webhook.Webhook) (answer, error) {
	body := []webhookBody{webhookToWire(c.registry, w)}
	if err := a.addHealth(c.Context(), []webhook.Webhook{w}, body); err != nil {
		return answer{}, err
	}
	c.hideFailures(body)
	return answer{http.StatusOK, body[0]}, nil
}

// seesFailures reports whether the caller is told in which way requests fail: only
// whoever may write webhooks, for it says something of the networks that receivers
// are in. Others see that they fail.
func (c call) seesFailures() bool { return c.caller.May(aWebhook+"/write", c.registry.ResourceID()) }

// hideFailures takes out of bodies what the caller is not told of failures.
func (c call) hideFailures(bodies []webhookBody) {
	if c.seesFailures() {
		return
	}
	for i := range bodies {
		if h := bodies[i].Health; h != nil {
			h.LastStatus, h.LastError, h.Destination = 0, "", ""
		}
		if agreed := bodies[i].Properties.Consent; agreed != nil {
			agreed.LastStatus, agreed.LastError, agreed.Reason = 0, "", ""
		}
	}
}

// pause makes what an endpoint is owed wait. One that is paused stays so.
func pause(a *api, c call, e endpoint) (answer, error) {
	return a.hold(c, e, a.Deliveries.Pause)
}

// resume ends a pause.
func resume(a *api, c call, e endpoint) (answer, error) {
	return a.hold(c, e, a.Deliveries.Resume)
}

func (a *api) hold(c call, e endpoint, do func(context.Context, int64) error) (answer, error) {
	if err := do(c.Context(), e.id); err != nil {
		return answer{}, err
	}
	c.note("to", e.host)
	return e.show()
}
