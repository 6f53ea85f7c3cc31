package arm

import (
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/delivery"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/tenant"
	"github.com/dockbell/dockbell/internal/webhook"
)

// hooksOf is a registry as package webhook sees it.
func hooksOf(r tenant.Registry) webhook.Registry {
	return webhook.Registry{
		ID:        r.ID,
		Name:      r.Name,
		SKU:       string(r.SKU),
		Limit:     r.SKU.WebhookLimit(),
		Locations: r.Locations(),
	}
}

// putWebhook creates (201) or replaces (200). Clients that poll are told that it
// is done by the provisioning state.
func putWebhook(a *api, c call) (answer, error) {
	var in webhookInput
	if err := readBody(c.Request, &in); err != nil {
		return answer{}, err
	}
	if dry, err := parseDryRun(c.URL.Query()); err != nil || dry.is {
		return a.validate(c, in, dry, err)
	}
	def, err := in.definition()
	if err != nil {
		return answer{}, err
	}
	w, created, err := a.Webhooks.Put(c.Context(), hooksOf(c.registry), c.name, def, webhook.Actor(c.by()))
	if err != nil {
		return answer{}, err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	c.note("to", a.host(w), "created", created)
	return answer{status, webhookToWire(c.registry, w)}, nil
}

// host returns whom a webhook rings, as scheme://name:port.
func (a *api) host(w webhook.Webhook) string {
	terms, _ := a.Webhooks.Terms(w.RegistryID, w.ID) // none for one deleted in between
	return terms.Host
}

func patchWebhook(a *api, c call) (answer, error) {
	var in webhookInput
	if err := readBody(c.Request, &in); err != nil {
		return answer{}, err
	}
	if dry, err := parseDryRun(c.URL.Query()); err != nil || dry.is {
		return a.validate(c, in, dry, err)
	}
	change, err := in.change()
	if err != nil {
		return answer{}, err
	}
	w, err := a.Webhooks.Patch(c.Context(), hooksOf(c.registry), c.name, change, webhook.Actor(c.by()))
	if err != nil {
		return answer{}, err
	}
	c.note("to", a.host(w))
	return answer{http.StatusOK, webhookToWire(c.registry, w)}, nil
}

// deleteWebhook answers 204 when there was nothing to delete.
func deleteWebhook(a *api, c call) (answer, error) {
	err := a.Webhooks.Delete(c.Context(), hooksOf(c.registry), c.name)
	if fault.Is(err, fault.NotFound) {
		return answer{status: http.StatusNoContent}, nil
	}
	return answer{status: http.StatusOK}, err
}

// webhook returns the webhook that the path names.
func (a *api) webhook(c call) (webhook.Webhook, error) {
	return a.Webhooks.Get(c.Context(), hooksOf(c.registry), c.name)
}

func getWebhook(a *api, c call) (answer, error) {
	health, err := asksHealth(c.URL.Query())
	if err != nil {
		return answer{}, err
	}
	w, err := a.webhook(c)
	if err != nil {
		return answer{}, err
	}
	if health {
		return a.withHealth(c, w)
	}
	body := []webhookBody{webhookToWire(c.registry, w)}
	c.hideFailures(body)
	return answer{http.StatusOK, body[0]}, nil
}

// listWebhooks answers all at once: a registry has at most 500.
func listWebhooks(a *api, c call) (answer, error) {
	health, err := asksHealth(c.URL.Query())
	if err != nil {
		return answer{}, err
	}
	hooks, err := a.Webhooks.List(c.Context(), hooksOf(c.registry))
	if err != nil {
		return answer{}, err
	}
	list := listBody[webhookBody]{Value: make([]webhookBody, len(hooks))}
	for i, w := range hooks {
		list.Value[i] = webhookToWire(c.registry, w)
	}
	if health {
		err = a.addHealth(c.Context(), hooks, list.Value)
	}
	if err != nil {
		return answer{}, err
	}
	c.hideFailures(list.Value)
	return answer{http.StatusOK, list}, nil
}

func pingWebhook(a *api, c call) (answer, error) {
	id, err := a.Webhooks.Ping(c.Context(), hooksOf(c.registry), a.Source(c.registry), c.name)
	if err != nil {
		return answer{}, err
	}
	return answer{http.StatusOK, pingBody{id}}, nil
}

// testWebhook rings the webhook with a sample of an action, marked as one.
func testWebhook(a *api, c call) (answer, error) {
	var in testInput
	if err := readStrict(c.Request, &in); err != nil {
		return answer{}, err
	}
	if in.Action == "" {
		return answer{}, invalidContent("action is missing: give that of which a sample is to ring, for example push")
	}
	id, err := a.Webhooks.Test(c.Context(), hooksOf(c.registry), a.Source(c.registry), c.name, in.Action, c.user)
	if err != nil {
		return answer{}, err
	}
	return answer{http.StatusOK, pingBody{id}}, nil
}

// rotateSecret gives a webhook another signing secret, and shows that.
func rotateSecret(a *api, c call) (answer, error) {
	in := rotateInput{OverlapInMinutes: 24 * 60}
	if err := readOptional(c.Request, &in); err != nil {
		return answer{}, err
	}
	if most := int(webhook.MaxOverlap / time.Minute); in.OverlapInMinutes < 0 || in.OverlapInMinutes > most {
		return answer{}, invalidContent("overlapInMinutes is %d: use 0 to %d", in.OverlapInMinutes, most)
	}
	w, err := a.webhook(c)
	if err != nil {
		return answer{}, err
	}
	config, err := a.Webhooks.RotateSecret(c.Context(), hooksOf(c.registry), c.name, in.Secret, time.Duration(in.OverlapInMinutes)*time.Minute, webhook.Actor(c.by()))
	if err != nil {
		return answer{}, err
	}
	c.note("to", a.host(w), "overlapInMinutes", in.OverlapInMinutes)
	return answer{http.StatusOK, rotateBody{config.SigningSecret, optionalTime(config.PreviousUntil)}}, nil
}

// getCallbackConfig answers what no other operation does: address, headers and
// secrets.
func getCallbackConfig(a *api, c call) (answer, error) {
	w, err := a.webhook(c)
	if err != nil {
		return answer{}, err
	}
	config, err := a.Webhooks.CallbackConfig(c.Context(), hooksOf(c.registry), c.name)
	if err != nil {
		return answer{}, err
	}
	c.note("to", a.host(w))
	return answer{http.StatusOK, callbackBody{
		ServiceURI:            config.ServiceURI,
		CustomHeaders:         orEmpty(config.CustomHeaders),
		SigningSecret:         config.SigningSecret,
		PreviousSigningSecret: config.PreviousSecret,
		PreviousValidUntil:    optionalTime(config.PreviousUntil),
	}}, nil
}

// handshakeWebhook asks the webhook's address now whether it agrees to be rung.
func handshakeWebhook(a *api, c call) (answer, error) {
	w, err := a.Webhooks.Handshake(c.Context(), hooksOf(c.registry), c.name)
	if err != nil {
		return answer{}, err
	}
	c.note("to", a.host(w), "given", w.Consent.Given(time.Now()))
	return a.withHealth(c, w)
}

// listEvents shows the newest attempts, newest first, in pages: 1000 at the most, or,
// for a caller who says with limit how many are in a page, all there are.
func listEvents(a *api, c call, e endpoint) (answer, error) {
	token, err := parsePageToken(c.URL.Query())
	if err != nil {
		return answer{}, err
	}
	filter, err := parseFilter(c.URL.Query())
	if err != nil {
		return answer{}, err
	}
	n, err := parseCount(c.URL.Query(), "limit", "entries", 1, eventsPerPage, 0)
	if err != nil {
		return answer{}, err
	}
	shown := eventsShown // as ACR's
	if n > 0 {
		shown = math.MaxInt
	} else {
		n = min(eventsPerPage, eventsShown-token.seen)
	}
	if n <= 0 {
		return answer{http.StatusOK, listBody[eventBody]{Value: []eventBody{}}}, nil
	}
	page, next, err := a.Deliveries.Attempts(c.Context(), e.id, filter, token.after, n)
	if err != nil {
		return answer{}, err
	}
	list := listBody[eventBody]{Value: make([]eventBody, len(page))}
	for i, attempt := range page {
		list.Value[i] = eventToWire(attempt)
	}
	if seen := token.seen + len(page); next != "" && seen < shown {
		list.NextLink = nextLink(c.Request, pageToken{seen, next}.String())
	}
	return answer{http.StatusOK, list}, nil
}

// parseFilter reads the query parameters that narrow the log.
func parseFilter(query url.Values) (f delivery.Filter, err error) {
	switch f.Outcome = delivery.Outcome(strings.ToLower(query.Get("outcome"))); f.Outcome {
	case "", delivery.Delivered, delivery.Refused, delivery.Failed, delivery.Interrupted:
	default:
		return f, fault.New(fault.Invalid, "outcome %q is none: use delivered, refused, failed or interrupted, or leave it out for all", clip(query.Get("outcome")))
	}
	if text := query.Get("replay"); text != "" {
		f.Replay, err = strconv.ParseInt(text, 10, 64)
		if err != nil || f.Replay <= 0 {
			return f, fault.New(fault.Invalid, "replay %q is no number of a replay: leave it out for attempts of all kinds", clip(text))
		}
	}
	if text := query.Get("action"); text != "" {
		f.Action = event.Action(strings.ToLower(text))
		if f.Action != event.Ping && !slices.Contains(event.Subscribable, f.Action) {
			return f, fault.New(fault.Invalid, "action %q is none: use ping, %s, or leave it out for all", clip(text), event.SubscribableText())
		}
	}
	f.Repository, f.Tag, f.EventID = query.Get("repository"), query.Get("tag"), query.Get("eventId")
	for _, m := range []struct {
		name string
		time *time.Time
	}{{"from", &f.From}, {"until", &f.Until}, {"eventTime", &f.EventAt}} {
		if *m.time, err = parseTime(m.name, query.Get(m.name)); err != nil {
			return f, err
		}
	}
	return f, nil
}

// getStanding tells how one event stands for an endpoint: what happened, and what
// becomes of it.
func getStanding(a *api, c call, e endpoint) (answer, error) {
	at, err := parseTime("eventTime", c.URL.Query().Get("eventTime"))
	if err != nil {
		return answer{}, err
	}
	s, err := a.Deliveries.Standing(c.Context(), e.id, c.inner, at)
	if err != nil {
		return answer{}, err
	}
	return answer{http.StatusOK, c.standingToWire(s)}, nil
}

func webhookToWire(r tenant.Registry, w webhook.Webhook) webhookBody {
	body := webhookBody{
		Type:       aWebhook,
		ID:         r.ResourceID() + "/webhooks/" + w.Name,
		Name:       w.Name,
		Location:   w.Location,
		Tags:       orEmpty(w.Tags),
		SystemData: newSystemData(tenant.Actor(w.CreatedBy), w.CreatedAt, tenant.Actor(w.UpdatedBy), w.UpdatedAt),
		Properties: webhookProperties{
			Status:            string(w.Status),
			Scope:             w.Scope,
			Actions:           w.Actions,
			ProvisioningState: provisioned,
			RetryPolicy:       policyToWire(w.Policy),
			SignatureHeaders:  w.SignatureHeaders,
			DisabledReason:    w.DisabledWhy,
			Listener:          w.Listener,
			EventTypePrefix:   w.Extras.TypePrefix,
			FlatData:          w.Extras.FlatData,
		},
	}
	// A webhook that is as ACR's are looks as they do.
	if w.Format != webhook.ACR {
		body.Properties.Format = w.Format
	}
	if w.Handshake != webhook.NoHandshake || w.Format != webhook.ACR {
		body.Properties.Handshake = w.Handshake
	}
	if w.Handshake != webhook.NoHandshake {
		body.Properties.Consent = consentToWire(w.Consent, time.Now())
	}
	return body
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
