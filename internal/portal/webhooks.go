package portal

import (
	"cmp"
	"math"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

// webhooks are one family of endpoints.
var webhooks = &family{
	kind: controlclient.OfWebhook, section: "webhooks", title: "Webhooks", noun: "webhook",
	action: "Microsoft.ContainerRegistry/registries/webhooks", command: "dockbell webhook", get: getWebhook,
}

func init() {
	addFamily(webhooks)
	const base = Root + "/registries/{registry}/webhooks"
	addPages(
		route{"GET " + base, showWebhooks},
		route{"POST " + base + "/{endpoint}/ping", pingWebhook},
		route{"POST " + base + "/{endpoint}/test", testWebhook},
		route{"POST " + base + "/{endpoint}/handshake", handshake},
		route{"POST " + base + "/{endpoint}/rotate-secret", rotateSecret},
		route{"POST " + base + "/{endpoint}/delete", deleteWebhook},
	)
	done["pinged"] = "Pinged: how it went is the first row of the log."
	done["tested"] = "The sample is sent: how it went is the first row of the log."
	done["asked"] = "The receiver was asked once more."
	done["webhook-deleted"] = "The webhook is deleted."
	done["webhook-created"] = "The webhook is there. Ping it to see whether it is heard."
	done["webhook-changed"] = "The webhook is changed."
}

// webhookList is what the page of all webhooks shows.
type webhookList struct {
	Rows    []webhookRow
	Total   int // without a filter
	States  []choiceLink
	State   string
	Search  string
	Add     string // address of the form; empty for who may not
	Command string
	HasHost bool
}

// endpointRow is an endpoint as a row of a list.
type endpointRow struct {
	Name, Link string
	Verdict    verdict
	Health     controlclient.Health
	LastStatus string
	Day        lastDay
}

// mentions reports whether a search finds it, by its name or another text.
func (r endpointRow) mentions(search, text string) bool {
	return strings.Contains(strings.ToLower(r.Name+" "+text), strings.ToLower(search))
}

// webhookRow is a webhook as a row.
type webhookRow struct {
	endpointRow
	Host    string
	Actions []string
	Scope   string
}

// listStates are the states by which a list is filtered.
var listStates = []struct{ word, text string }{
	{"", "All"}, {"trouble", "In trouble"}, {"delivered", "Delivered"}, {"waiting", "Waiting"}, {"paused", "Paused"}, {"disabled", "Disabled"},
}

// inState reports whether a verdict is in a state of the list's filter.
func (v verdict) inState(state string) bool {
	switch state {
	case "trouble":
		return v.trouble <= 2
	case "delivered":
		return v.Badge.Word == "Delivered"
	case "waiting":
		return v.Badge.Word == "Waiting" || v.Badge.Word == "Parked"
	case "paused":
		return v.Badge.Word == "Paused"
	case "disabled":
		return v.Badge.Word == "Disabled"
	}
	return true
}

// lastStatus says what the newest attempt came to.
func lastStatus(h controlclient.Health) string {
	switch {
	case h.LastAttempt.IsZero():
		return ""
	case h.LastStatus != 0:
		return strconv.Itoa(h.LastStatus)
	case h.LastError != "":
		return "no answer"
	}
	return ""
}

func newWebhookRow(registry string, h controlclient.Webhook) webhookRow {
	r := webhookRow{
		endpointRow: endpointRow{Name: h.Name, Link: pathIn(registry, "webhooks", h.Name), Verdict: judge(h.Health)},
		Actions:     h.Properties.Actions, Scope: h.Properties.Scope,
	}
	if h.Health != nil {
		r.Health, r.Host, r.LastStatus = *h.Health, h.Health.Destination, lastStatus(*h.Health)
	}
	return r
}

// byTrouble sorts whatever needs somebody first.
func byTrouble[R any](rows []R, of func(R) endpointRow) {
	oldest := func(r endpointRow) int64 {
		if r.Health.OldestUndelivered.IsZero() {
			return math.MaxInt64
		}
		return r.Health.OldestUndelivered.UnixNano()
	}
	slices.SortFunc(rows, func(x, y R) int {
		a, b := of(x), of(y)
		return cmp.Or(cmp.Compare(a.Verdict.trouble, b.Verdict.trouble), cmp.Compare(oldest(a), oldest(b)), strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)))
	})
}

// stateLinks are the filters of a list by state, which keep a search.
func (v *visit) stateLinks(state, search string) (links []choiceLink) {
	for _, s := range listStates {
		q := url.Values{}
		for name, text := range map[string]string{"state": s.word, "q": search} {
			if text != "" {
				q.Set(name, text)
			}
		}
		links = append(links, choiceLink{s.text, at(v.URL.Path, q), state == s.word})
	}
	return links
}

func showWebhooks(p *portal, w http.ResponseWriter, v *visit) error {
	reg, err := v.api.Registry(v.Context(), v.registry)
	if err != nil {
		return err
	}
	hooks, err := v.api.Webhooks(v.Context(), v.registry)
	if err != nil {
		return err
	}
	q := v.URL.Query()
	l := webhookList{
		Total: len(hooks), State: q.Get("state"), Search: strings.TrimSpace(q.Get("q")),
		Command: "dockbell webhook create -r " + reg.Name + " -n deployhook --uri https://hooks.example.net/deploy --actions push",
	}
	l.States = v.stateLinks(l.State, l.Search)
	if v.may("webhooks/write", reg.ID) {
		l.Add = v.path("webhooks", "new")
	}
	days, err := v.lastDays(controlclient.OfWebhook)
	if err != nil {
		return err
	}
	for _, h := range hooks {
		r := newWebhookRow(reg.Name, h)
		r.Day = days[h.Name]
		if !r.Verdict.inState(l.State) || !r.mentions(l.Search, r.Host) {
			continue
		}
		l.HasHost = l.HasHost || r.Host != ""
		l.Rows = append(l.Rows, r)
	}
	byTrouble(l.Rows, func(r webhookRow) endpointRow { return r.endpointRow })
	return p.render(w, v.Request, v, http.StatusOK, "webhooks", page{Title: "Webhooks", Section: "webhooks", Body: l})
}

// getWebhook implements family.get.
func getWebhook(v *visit, reg controlclient.Registry, name string) (*endpoint, error) {
	h, err := v.api.Webhook(v.Context(), reg.Name, name)
	if err != nil {
		return nil, err
	}
	p := h.Properties
	e := &endpoint{Name: h.Name, Health: h.Health, Verdict: judge(h.Health), Consent: p.Consent, Why: p.DisabledReason, Actions: p.Actions, Listener: p.Listener, Format: p.Format}
	add := func(term string, code bool, values ...string) {
		if len(values) > 0 && values[0] != "" {
			e.Settings = append(e.Settings, setting{term, values, code})
		}
	}
	if h.Health != nil {
		add("Address", true, h.Health.Destination)
	}
	add("Actions", false, p.Actions...)
	add("Scope", p.Scope != "", cmp.Or(p.Scope, "every event of the registry"))
	add("Location", false, h.Location)
	add("Format", true, cmp.Or(p.Format, "acr"))
	if p.Handshake != "" {
		add("Handshake", false, p.Handshake)
	}
	add("Prefix of event types", true, p.EventTypePrefix)
	if p.FlatData {
		add("Flat data", false, "yes")
	}
	if r := p.RetryPolicy; r != nil {
		add("Retries", false, policyWords(*r)...)
	}
	add("Signature headers", false, append([]string{"Standard Webhooks"}, p.SignatureHeaders...)...)
	var tags []string
	for name, value := range h.Tags {
		tags = append(tags, name+"="+value)
	}
	sort.Strings(tags)
	add("Tags", false, tags...)
	return e, nil
}

// policyWords says what of a retry policy is given.
func policyWords(r controlclient.RetryPolicy) (words []string) {
	if r.MaxDeliveryAttempts != nil {
		words = append(words, counted(int64(*r.MaxDeliveryAttempts), "attempt", "attempts"))
	}
	if r.EventTimeToLiveInMinutes != nil {
		words = append(words, "for "+span(time.Duration(*r.EventTimeToLiveInMinutes)*time.Minute))
	}
	if r.TimeoutInSeconds != nil {
		words = append(words, strconv.Itoa(*r.TimeoutInSeconds)+" s for each")
	}
	if r.Order != nil && *r.Order != "" {
		words = append(words, "order by "+*r.Order)
	}
	if r.MaxPerMinute != nil && *r.MaxPerMinute > 0 {
		words = append(words, counted(int64(*r.MaxPerMinute), "a minute", "a minute")+" at most")
	}
	return words
}

func pingWebhook(p *portal, w http.ResponseWriter, v *visit) error {
	name := v.PathValue("endpoint")
	if _, err := v.api.Ping(v.Context(), v.registry, name); err != nil {
		return err
	}
	return back(w, v, v.path("webhooks", name), "pinged")
}

func testWebhook(p *portal, w http.ResponseWriter, v *visit) error {
	name := v.PathValue("endpoint")
	if _, err := v.api.Test(v.Context(), v.registry, name, v.PostFormValue("action")); err != nil {
		return err
	}
	return back(w, v, v.path("webhooks", name), "tested")
}

func handshake(p *portal, w http.ResponseWriter, v *visit) error {
	name := v.PathValue("endpoint")
	if _, err := v.api.Handshake(v.Context(), v.registry, name); err != nil {
		return err
	}
	return back(w, v, v.path("webhooks", name), "asked")
}

// rotation is what is shown once of a new signing secret.
type rotation struct {
	*endpoint
	controlclient.Rotation
}

// secretOverlap is how long the secret before goes on to sign.
const secretOverlap = 24 * time.Hour

// rotateSecret answers with the new secret and no address to come back to: it is
// shown once.
func rotateSecret(p *portal, w http.ResponseWriter, v *visit) error {
	e, err := webhooks.find(v)
	if err != nil {
		return err
	}
	r, err := v.api.RotateSecret(v.Context(), v.registry, e.Name, secretOverlap)
	if err != nil {
		return err
	}
	return p.render(w, v.Request, v, http.StatusOK, "secret", page{Title: "New signing secret", Section: "webhooks", Crumbs: e.crumbs(true), Body: rotation{e, r}})
}

func deleteWebhook(p *portal, w http.ResponseWriter, v *visit) error {
	name := v.PathValue("endpoint")
	existed, err := v.api.DeleteWebhook(v.Context(), v.registry, name)
	if err == nil && !existed {
		err = fault.New(fault.NotFound, "there is no webhook %.80q any more", name)
	}
	if err != nil {
		return err
	}
	return back(w, v, v.path("webhooks"), "webhook-deleted")
}
