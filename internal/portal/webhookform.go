package portal

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

// compared is how many events the preview of a form compares.
const compared = 50

func init() {
	const base = Root + "/registries/{registry}/webhooks"
	addPages(
		route{"GET " + base + "/new", showNewWebhook},
		route{"POST " + base + "/new", createWebhook},
		route{"POST " + base + "/new/check", checkNewWebhook},
		route{"GET " + base + "/{endpoint}/edit", showEditWebhook},
		route{"POST " + base + "/{endpoint}/edit", changeWebhook},
		route{"POST " + base + "/{endpoint}/check", checkWebhook},
	)
}

// webhookForm is what the pages that make and change a webhook show.
type webhookForm struct {
	Form    editForm
	Preview preview
}

// preview is which of the newest events a webhook would have rung for.
type preview struct {
	Rows    []previewRow
	Matches int
	None    string // why there are no rows
}

type previewRow struct {
	Action, Image, ImageLink string
	Entry                    controlclient.FeedEntry
	Matches                  bool
}

// Kinds of actions, by which they are grouped.
var (
	actionsOfACR = []string{"push", "delete", "quarantine", "chart_push", "chart_delete"}
	actionsOfOur = []string{"untag", "tag_moved", "referrer_attached", "pull", "webhook_failing"}
)

var actionText = map[string]string{
	"push": "push: a manifest or tag was pushed", "delete": "delete: a manifest was deleted", "quarantine": "quarantine: a push waits for its release",
	"chart_push": "chart_push: a chart was pushed", "chart_delete": "chart_delete: a chart was deleted", "untag": "untag: a tag is gone",
	"tag_moved": "tag_moved: a tag names another manifest", "referrer_attached": "referrer_attached: a manifest with a subject was pushed",
	"pull": "pull: a manifest was read by its tag", "webhook_failing": "webhook_failing: a webhook fails, or recovered",
}

// typedWebhook is the form of a webhook.
type typedWebhook struct{ typedForm }

func (t *typedWebhook) policy() *controlclient.RetryPolicy {
	order := t.Get("order")
	r := &controlclient.RetryPolicy{
		MaxDeliveryAttempts: t.number("maxDeliveryAttempts"), EventTimeToLiveInMinutes: t.number("eventTimeToLiveInMinutes"),
		TimeoutInSeconds: t.number("timeoutInSeconds"), MaxPerMinute: t.number("maxPerMinute"),
	}
	if order != "" {
		r.Order = &order
	}
	return r
}

// certificates returns the certificates that were typed, nil for none.
func (t *typedWebhook) certificates() *controlclient.WebhookTLS {
	c := controlclient.WebhookTLS{CACertificates: t.Get("caCertificates"), ClientCertificate: t.Get("clientCertificate"), ClientKey: t.Get("clientKey")}
	if strings.TrimSpace(c.CACertificates+c.ClientCertificate+c.ClientKey) == "" {
		return nil
	}
	return &c
}

// create is the form as the API has it, of a new webhook.
func (t *typedWebhook) create() controlclient.WebhookCreate {
	return controlclient.WebhookCreate{
		Location: t.text("location"), Tags: t.lines("tags", "=", "team=web"),
		Properties: controlclient.WebhookCreateProperties{
			ServiceURI: t.text("serviceUri"), CustomHeaders: t.lines("customHeaders", ":", "X-Env: prod"), Status: t.text("status"), Scope: t.text("scope"),
			Actions: t.Values["actions"], RetryPolicy: t.policy(), SignatureHeaders: t.Values["signatureHeaders"], TLS: t.certificates(),
			Format: t.text("format"), Handshake: t.text("handshake"), EventTypePrefix: t.text("eventTypePrefix"), FlatData: t.Get("flatData") != "",
		},
	}
}

// update is the form as the API has it, of a webhook that is there. What is
// write-only stays as it is where nothing was typed.
func (t *typedWebhook) update() controlclient.WebhookUpdate {
	c := t.create()
	p := c.Properties
	u := controlclient.WebhookUpdate{Tags: c.Tags, Properties: controlclient.WebhookUpdateProperties{
		Status: &p.Status, Scope: &p.Scope, Actions: p.Actions, RetryPolicy: fullPolicy(p.RetryPolicy), SignatureHeaders: p.SignatureHeaders, TLS: p.TLS,
		Format: &p.Format, Handshake: &p.Handshake, EventTypePrefix: &p.EventTypePrefix, FlatData: &p.FlatData,
	}}
	if u.Properties.Actions == nil {
		u.Properties.Actions = []string{} // for the API to refuse
	}
	if u.Properties.SignatureHeaders == nil {
		u.Properties.SignatureHeaders = []string{}
	}
	if p.ServiceURI != "" {
		u.Properties.ServiceURI = &p.ServiceURI
	}
	if len(p.CustomHeaders) > 0 || t.Get("clearHeaders") != "" {
		u.Properties.CustomHeaders = p.CustomHeaders
	}
	if t.Get("clearCertificates") != "" {
		u.Properties.TLS = &controlclient.WebhookTLS{}
	}
	return u
}

// defaultPolicy is what an empty field of a form stands for, in a change as in a new
// webhook.
var defaultPolicy = struct{ attempts, minutes, seconds, perMinute int }{30, 4320, 10, 0}

// fullPolicy returns r with every member, so that one that was emptied is the default
// again.
func fullPolicy(r *controlclient.RetryPolicy) *controlclient.RetryPolicy {
	d, order := defaultPolicy, "tag"
	return &controlclient.RetryPolicy{
		MaxDeliveryAttempts: cmp.Or(r.MaxDeliveryAttempts, &d.attempts), EventTimeToLiveInMinutes: cmp.Or(r.EventTimeToLiveInMinutes, &d.minutes),
		TimeoutInSeconds: cmp.Or(r.TimeoutInSeconds, &d.seconds), MaxPerMinute: cmp.Or(r.MaxPerMinute, &d.perMinute), Order: cmp.Or(r.Order, &order),
	}
}

// typedOf fills a form with a webhook that is there.
func typedOf(h controlclient.Webhook) *typedWebhook {
	p := h.Properties
	t := &typedWebhook{typedForm{url.Values{
		"status": {p.Status}, "scope": {p.Scope}, "actions": p.Actions, "format": {cmp.Or(p.Format, "acr")}, "handshake": {p.Handshake},
		"eventTypePrefix": {p.EventTypePrefix}, "signatureHeaders": p.SignatureHeaders,
	}, map[string]string{}}}
	var tags []string
	for name, value := range h.Tags {
		tags = append(tags, name+"="+value)
	}
	sort.Strings(tags)
	t.Set("tags", strings.Join(tags, "\n"))
	if p.FlatData {
		t.Set("flatData", "yes")
	}
	if r := p.RetryPolicy; r != nil {
		for name, n := range map[string]*int{
			"maxDeliveryAttempts": r.MaxDeliveryAttempts, "eventTimeToLiveInMinutes": r.EventTimeToLiveInMinutes, "timeoutInSeconds": r.TimeoutInSeconds, "maxPerMinute": r.MaxPerMinute,
		} {
			if n != nil {
				t.Set(name, strconv.Itoa(*n))
			}
		}
		if r.Order != nil {
			t.Set("order", *r.Order)
		}
	}
	return t
}

// fieldOf returns the field that a problem of the API is beside; empty for none.
func fieldOf(p controlclient.Problem) string {
	switch member := p.Target[strings.LastIndexByte(p.Target, '.')+1:]; member {
	case "tls":
		for _, name := range []string{"clientKey", "clientCertificate"} {
			if strings.Contains(p.Message, name) {
				return name
			}
		}
		return "caCertificates"
	default:
		return member
	}
}

// sift puts the API's problems beside the fields, and returns what is about none.
func (t *typedWebhook) sift(problems []controlclient.Problem) (whole string) {
	for _, p := range problems {
		text := capital(p.Message)
		switch name := fieldOf(p); {
		case name == "":
			whole = text
		case t.wrong[name] == "":
			t.wrong[name] = text
		}
	}
	return whole
}

// fields are those of the form. old is the webhook that is changed, nil for a new one.
func (t *typedWebhook) fields(reg controlclient.Registry, locations []string, old *controlclient.Webhook) []editGroup {
	var actions []editChoice
	for _, group := range []struct {
		title string
		list  []string
	}{{"As Azure Container Registry has them", actionsOfACR}, {"Dockbell’s own", actionsOfOur}} {
		for i, a := range group.list {
			c := editChoice{Value: a, Text: actionText[a], Chosen: t.chosen("actions", a)}
			if i == 0 {
				c.Group = group.title
			}
			actions = append(actions, c)
		}
	}
	first := editGroup{}
	uri := t.field("serviceUri", "Service URI", "The http or https address that is rung. It is a secret: no page shows it again.", "https://hooks.example.net/deploy")
	headers := t.area("customHeaders", "Custom headers", "One in a line. They are secrets: no page shows their values again.", "Authorization: Bearer …")
	if old == nil {
		name := t.field("name", "Name", "5 to 50 letters and digits.", "deployhook")
		name.Required, uri.Required = true, true
		first.Fields = append(first.Fields, name)
	} else {
		uri.Help = "Leave it empty to keep the address there is. It is a secret: no page shows it."
		headers.Help = "Leave them empty to keep those there are. New ones replace all of them."
	}
	first.Fields = append(first.Fields, uri,
		editField{Name: "actions", Label: "Actions", Kind: "checks", Choices: actions, Help: "It rings for these."},
		t.field("scope", "Scope", "repo:tag, repo:* for every event of a repository, team/*:* for many. Empty: every event of the registry.", "team/web:*"),
		editField{Name: "status", Label: "Status", Kind: "select", Choices: t.pick("status", "enabled", "Enabled", "disabled", "Disabled: it is sent nothing, and owed nothing")},
		headers)
	if old != nil {
		first.Fields = append(first.Fields, editField{Name: "clearHeaders", Label: "Take all custom headers away", Kind: "check", Value: t.Get("clearHeaders")})
	}
	place := editGroup{Title: "Place and tags", Folded: true}
	if old == nil {
		var all []editChoice
		for _, l := range locations {
			all = append(all, editChoice{Value: l, Text: l, Chosen: t.chosen("location", l)})
		}
		place.Fields = append(place.Fields, editField{Name: "location", Label: "Location", Kind: "select", Choices: all, Help: "It rings for what happens here."})
	}
	place.Fields = append(place.Fields, t.area("tags", "Tags", "One in a line, name=value.", "team=web"))
	format := editGroup{Title: "Format and consent", Folded: true, Fields: []editField{
		{Name: "format", Label: "Format", Kind: "select", Choices: t.pick("format", "acr", "acr: as Azure Container Registry sends it", "cloudevents", "cloudevents: CloudEvents 1.0, structured",
			"cloudevents-binary", "cloudevents-binary: CloudEvents 1.0, binary", "github", "github: a repository dispatch", "gitlab", "gitlab: a pipeline trigger", "slack", "slack: a message")},
		{Name: "handshake", Label: "Handshake", Kind: "select", Choices: t.pick("handshake", "", "That of the format", "cloudevents", "cloudevents: the receiver has to agree first", "none", "none: it is rung without asking")},
		t.field("eventTypePrefix", "Prefix of event types", "Of CloudEvents: in the place of Microsoft.ContainerRegistry.", "com.example.registry"),
		{Name: "flatData", Label: "Flat data: CloudEvents name the image in members of their own too", Kind: "check", Value: t.Get("flatData")},
	}}
	retry := editGroup{Title: "Retries and rate", Folded: true, Fields: []editField{
		t.count("maxDeliveryAttempts", "Attempts", "At the most, 1 to 30. Empty: "+strconv.Itoa(defaultPolicy.attempts)+"."),
		t.count("eventTimeToLiveInMinutes", "Time to live, in minutes", "An event that was not delivered for so long is given up. Empty: "+strconv.Itoa(defaultPolicy.minutes)+"."),
		t.count("timeoutInSeconds", "Time limit of an attempt, in seconds", "1 to 30. Empty: "+strconv.Itoa(defaultPolicy.seconds)+"."),
		{Name: "order", Label: "Order", Kind: "select", Choices: t.pick("order", "", "By tag, as usual", "tag", "tag: events of a tag one after the other", "repository", "repository: events of a repository one after the other", "none", "none: as they come")},
		t.count("maxPerMinute", "At most, per minute", "Empty: as fast as the receiver takes them."),
	}}
	trust := editGroup{Title: "Signatures and certificates", Folded: true, Fields: []editField{
		{Name: "signatureHeaders", Label: "Signature headers", Kind: "checks", Choices: t.pick("signatureHeaders", "github", "github: X-Hub-Signature-256", "flux", "flux: X-Signature"), Help: "Beside those of Standard Webhooks, which every delivery has."},
		t.area("caCertificates", "Authorities to trust", "PEM. Empty: those of this server.", ""),
		t.area("clientCertificate", "Client certificate", "PEM, shown to the receiver.", ""),
		t.area("clientKey", "Client key", "PEM, of the client certificate. It is a secret.", ""),
	}}
	if old != nil {
		trust.Fields[1].Help = "PEM. Leave all three empty to keep those there are."
		trust.Fields = append(trust.Fields, editField{Name: "clearCertificates", Label: "Take all certificates away", Kind: "check", Value: t.Get("clearCertificates")})
	}
	return []editGroup{first, format, retry, trust, place}
}

// locationsOf returns where a webhook of a registry can be, its home first.
func (v *visit) locationsOf(reg controlclient.Registry) []string {
	all := []string{reg.Location}
	if list, err := v.api.Replications(v.Context(), reg.Name); err == nil { // the form is of use without
		for _, r := range list {
			if !slices.Contains(all, r.Location) {
				all = append(all, r.Location)
			}
		}
	}
	return all
}

// validate asks the API what is wrong with a form, and which events it matches.
func (v *visit) validate(t *typedWebhook, old *controlclient.Webhook) (whole string, shown preview, err error) {
	var found controlclient.Validation
	if old == nil {
		def, name := t.create(), t.text("name")
		switch {
		case name == "":
			t.wrong["name"] = "Give it a name: 5 to 50 letters and digits, for example deployhook"
		case anotherPath(name):
			t.wrong["name"] = fmt.Sprintf("Webhook name %.80q has a character that is not a letter or digit: use 5 to 50 letters and digits, for example deployhook", name)
			name = ""
		}
		found, err = v.api.ValidateWebhook(v.Context(), v.registry, cmp.Or(name, "-"), def, compared)
		if err == nil && name != "" && t.wrong["name"] == "" {
			if _, missing := v.api.Webhook(v.Context(), v.registry, name); missing == nil {
				t.wrong["name"] = "There is a webhook " + name + " already: choose another name, or open that one to change it"
			}
		}
	} else {
		found, err = v.api.ValidateWebhookUpdate(v.Context(), v.registry, old.Name, t.update(), compared)
	}
	if err != nil {
		return "", preview{}, err
	}
	whole = t.sift(found.Problems)
	for _, e := range found.Events {
		r := previewRow{e.Event.Action, e.Event.Image(), imageLink(v.registry, e.Event), e.FeedEntry, e.Matches}
		if r.Matches {
			shown.Matches++
		}
		shown.Rows = append(shown.Rows, r)
	}
	if len(shown.Rows) == 0 {
		shown.None = "Nothing has happened in this registry yet."
		if t.wrong["scope"] != "" || t.wrong["actions"] != "" {
			shown.None = "Choose actions and a scope to see which of the newest events they match."
		}
	}
	return whole, shown, nil
}

// showForm answers with a form. problem is what is wrong with it as a whole.
func (p *portal) showForm(w http.ResponseWriter, v *visit, status int, t *typedWebhook, old *controlclient.Webhook, problem string, shown preview) error {
	reg, err := v.api.Registry(v.Context(), v.registry)
	if err != nil {
		return err
	}
	if !v.may("webhooks/write", reg.ID) {
		return fault.New(fault.Denied, "you may not write webhooks of %s", reg.Name)
	}
	f := webhookForm{Preview: shown}
	pg := page{Title: "Add webhook", Section: "webhooks", Crumbs: []crumb{{"Webhooks", v.path("webhooks")}}}
	if old == nil {
		f.Form = editForm{Action: v.path("webhooks", "new"), Check: v.path("webhooks", "new", "check"), Submit: "Add webhook", Cancel: v.path("webhooks")}
	} else {
		own := v.path("webhooks", old.Name)
		f.Form = editForm{Action: own + "/edit", Check: own + "/check", Submit: "Save", Cancel: own}
		pg.Title, pg.Crumbs = "Edit "+old.Name, append(pg.Crumbs, crumb{old.Name, own})
	}
	f.Form.Problem, f.Form.Groups = problem, t.fields(reg, v.locationsOf(reg), old)
	f.Form.mark(t.wrong)
	pg.Body = f
	return p.render(w, v.Request, v, status, "webhookform", pg)
}

func showNewWebhook(p *portal, w http.ResponseWriter, v *visit) error {
	t := &typedWebhook{typedForm{url.Values{"actions": {"push"}, "status": {"enabled"}, "format": {"acr"}}, map[string]string{}}}
	t.Set("scope", v.URL.Query().Get("scope")) // of a link to the form
	_, shown, err := v.validate(t, nil)
	if err != nil {
		return err
	}
	clear(t.wrong) // nobody has typed anything
	return p.showForm(w, v, http.StatusOK, t, nil, "", shown)
}

func createWebhook(p *portal, w http.ResponseWriter, v *visit) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	t := &typedWebhook{*typed}
	whole, shown, err := v.validate(t, nil)
	if err != nil {
		return err
	}
	if whole != "" || len(t.wrong) > 0 {
		return p.showForm(w, v, http.StatusBadRequest, t, nil, whole, shown)
	}
	name := t.text("name")
	if _, err := v.api.PutWebhook(v.Context(), v.registry, name, t.create()); err != nil {
		return p.showForm(w, v, statusOf(fault.As(err).Kind), t, nil, sentence(err), shown)
	}
	return back(w, v, v.path("webhooks", name), "webhook-created")
}

func showEditWebhook(p *portal, w http.ResponseWriter, v *visit) error {
	old, err := v.api.Webhook(v.Context(), v.registry, v.PathValue("endpoint"))
	if err != nil {
		return err
	}
	t := typedOf(old)
	_, shown, err := v.validate(t, &old)
	if err != nil {
		return err
	}
	clear(t.wrong)
	return p.showForm(w, v, http.StatusOK, t, &old, "", shown)
}

func changeWebhook(p *portal, w http.ResponseWriter, v *visit) error {
	old, err := v.api.Webhook(v.Context(), v.registry, v.PathValue("endpoint"))
	if err != nil {
		return err
	}
	typed, err := v.typed()
	if err != nil {
		return err
	}
	t := &typedWebhook{*typed}
	whole, shown, err := v.validate(t, &old)
	if err != nil {
		return err
	}
	if whole != "" || len(t.wrong) > 0 {
		return p.showForm(w, v, http.StatusBadRequest, t, &old, whole, shown)
	}
	if _, err := v.api.PatchWebhook(v.Context(), v.registry, old.Name, t.update()); err != nil {
		return p.showForm(w, v, statusOf(fault.As(err).Kind), t, &old, sentence(err), shown)
	}
	return back(w, v, v.path("webhooks", old.Name), "webhook-changed")
}

func checkNewWebhook(p *portal, w http.ResponseWriter, v *visit) error { return checkForm(w, v, nil) }

func checkWebhook(p *portal, w http.ResponseWriter, v *visit) error {
	old, err := v.api.Webhook(v.Context(), v.registry, v.PathValue("endpoint"))
	if err != nil {
		return err
	}
	return checkForm(w, v, &old)
}

// checkForm tells a script what is wrong with what was typed so far, and which events
// it matches.
func checkForm(w http.ResponseWriter, v *visit, old *controlclient.Webhook) error {
	typed, err := v.typed()
	if err != nil {
		return err
	}
	t := &typedWebhook{*typed}
	_, shown, err := v.validate(t, old)
	if err != nil {
		return err
	}
	html, err := part("webhookform", "preview", shown)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	return json.NewEncoder(w).Encode(map[string]any{"wrong": t.wrong, "preview": html})
}
