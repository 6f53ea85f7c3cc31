package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/controlclient"
)

// The views are resources as az prints them: the properties lifted to the top,
// the resource group added, and absent members as null.

func webhookView(w controlclient.Webhook) map[string]any {
	view := map[string]any{
		"actions":           anys(w.Properties.Actions),
		"id":                w.ID,
		"location":          w.Location,
		"name":              w.Name,
		"provisioningState": w.Properties.ProvisioningState,
		"resourceGroup":     resourceGroup(w.ID),
		"scope":             w.Properties.Scope,
		"status":            w.Properties.Status,
		"systemData":        decoded(w.SystemData),
		"tags":              anyMap(w.Tags),
		"type":              w.Type,
	}
	// What az does not have is there only if there is something to say.
	if w.Health != nil {
		view["health"] = decoded(w.Health.Raw)
	}
	if p := w.Properties.RetryPolicy; p != nil {
		view["retryPolicy"] = generic(p)
	}
	if w.Properties.SignatureHeaders != nil {
		view["signatureHeaders"] = anys(w.Properties.SignatureHeaders)
	}
	if w.Properties.DisabledReason != "" {
		view["disabledReason"] = w.Properties.DisabledReason
	}
	if w.Properties.Listener {
		view["listener"] = true
	}
	if w.Properties.Format != "" {
		view["format"] = w.Properties.Format
	}
	if w.Properties.Handshake != "" {
		view["handshake"] = w.Properties.Handshake
	}
	if w.Properties.EventTypePrefix != "" {
		view["eventTypePrefix"] = w.Properties.EventTypePrefix
	}
	if w.Properties.FlatData {
		view["flatData"] = true
	}
	if w.Properties.Consent != nil {
		view["consent"] = decoded(w.Properties.Consent.Raw)
	}
	return view
}

func callbackView(c controlclient.CallbackConfig) map[string]any {
	view := map[string]any{
		"customHeaders": anyMap(c.CustomHeaders),
		"serviceUri":    c.ServiceURI,
		"signingSecret": c.SigningSecret,
	}
	if c.PreviousSigningSecret != "" {
		view["previousSigningSecret"] = c.PreviousSigningSecret
		view["previousValidUntil"] = moment3339(c.PreviousValidUntil)
	}
	return view
}

func rotationView(r controlclient.Rotation) map[string]any {
	return map[string]any{
		"previousValidUntil": moment3339(r.PreviousValidUntil),
		"signingSecret":      r.SigningSecret,
	}
}

func replayView(r controlclient.Replay) map[string]any { return decodedObject(r.Raw) }

func deadLetterView(d controlclient.DeadLetter) map[string]any { return decodedObject(d.Raw) }

// registryView lifts whatever properties the server sent.
func registryView(r controlclient.Registry) map[string]any { return lifted(r.Raw, r.ID) }

// lifted is a resource whose properties are at the top, whatever they are.
func lifted(raw json.RawMessage, id string) map[string]any {
	view := decodedObject(raw)
	properties, _ := view["properties"].(map[string]any)
	delete(view, "properties")
	maps.Copy(view, properties)
	view["resourceGroup"] = resourceGroup(id)
	return view
}

func eventView(e controlclient.Event) map[string]any {
	view := decodedObject(e.Raw)
	request := withNulls(view, "eventRequestMessage", "content", "headers", "method", "requestUri", "version")
	content := withNulls(request, "content", "action", "actor", "id", "request", "source", "target", "timestamp")
	withNulls(content, "target", "digest", "length", "mediaType", "name", "repository", "size", "tag", "url", "version")
	withNulls(content, "request", "addr", "host", "id", "method", "useragent")
	withNulls(view, "eventResponseMessage", "content", "headers", "reasonPhrase", "statusCode", "version")
	return view
}

// withNulls gives the object at member the keys it lacks, as nulls, and returns
// it; nil if there is no object.
func withNulls(parent map[string]any, member string, keys ...string) map[string]any {
	object, ok := parent[member].(map[string]any)
	if !ok {
		return nil
	}
	addNulls(object, keys...)
	return object
}

// addNulls gives an object the keys it lacks, as nulls.
func addNulls(object map[string]any, keys ...string) {
	for _, k := range keys {
		if _, ok := object[k]; !ok {
			object[k] = nil
		}
	}
}

func views[T any](list []T, view func(T) map[string]any) []any {
	out := make([]any, len(list))
	for i, e := range list {
		out[i] = view(e)
	}
	return out
}

// resourceGroup cuts the group from an ARM id.
func resourceGroup(id string) string {
	parts := strings.Split(id, "/")
	for i, p := range parts[:len(parts)-1] {
		if strings.EqualFold(p, "resourceGroups") {
			return parts[i+1]
		}
	}
	return ""
}

// decoded returns the JSON in raw; nil if there is none.
func decoded(raw json.RawMessage) any {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return nil
	}
	return v
}

// decodedObject returns the JSON object in raw; an empty one if there is none.
func decodedObject(raw json.RawMessage) map[string]any {
	if object, ok := decoded(raw).(map[string]any); ok && object != nil {
		return object
	}
	return map[string]any{}
}

// generic returns v as encoding/json would decode it.
func generic(v any) any {
	text, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return decoded(text)
}

// moment3339 returns a time as JSON has it; null for the zero time.
func moment3339(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}

func anys(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

func anyMap(m map[string]string) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// healthWords are the states of health as tables have them, where those differ
// from the wire.
var healthWords = map[string]string{"catchingUp": "catching up", "awaitingConsent": "no consent"}

// webhookTable shows health, where the webhooks come with it, in place of the
// status: a webhook with a health that is not disabled is enabled.
func (o *output) webhookTable(hooks ...controlclient.Webhook) table {
	t := table{header: []string{"NAME", "LOCATION", "ACTIONS", "SCOPE", "STATUS"}}
	health := slices.ContainsFunc(hooks, func(w controlclient.Webhook) bool { return w.Health != nil })
	if health {
		t.header = append(t.header, healthHeader...)
	}
	for _, w := range hooks {
		p := w.Properties
		row := []string{w.Name, w.Location, strings.Join(p.Actions, ","), p.Scope, p.Status}
		if h := w.Health; h != nil {
			row[4] = cmp.Or(healthWords[h.State], h.State)
			row = append(append(row, lastWord(w)), o.waitingCells(h)...)
		} else if health {
			row = append(row, make([]string, len(healthHeader))...)
		}
		t.rows = append(t.rows, row)
	}
	return t
}

// healthHeader names the columns of tables that say how endpoints fare.
var healthHeader = []string{"LAST", "WAITING", "PARKED", "OLDEST"}

// waitingCells are the cells of what waits. Of events behind which an endpoint is
// parked it is not known whether it wants them.
func (o *output) waitingCells(h *controlclient.Health) []string {
	parked := "0"
	if h.Behind > 0 {
		parked = fmt.Sprintf("up to %d", h.Behind)
	}
	return []string{strconv.FormatInt(h.Waiting, 10), parked, o.when(h.OldestUndelivered)}
}

// addDelivered puts a column before LAST that says how much was delivered in the last
// day to the endpoint that each row begins with, of e's kind and registry. A table
// that is not drawn, or a server that does not say, gets none.
func (c *connected) addDelivered(ctx context.Context, o *output, t *table, e controlclient.Endpoint) {
	at := slices.Index(t.header, "LAST")
	if at < 0 || len(t.rows) == 0 || !o.drawsTable() {
		return
	}
	day, err := c.Statistics(ctx, e.Registry, controlclient.StatisticsSpan{})
	if err != nil {
		return // the rest is of use without
	}
	delivered := map[string]string{}
	for _, s := range day.Each {
		if s.Kind == e.Kind {
			delivered[s.Name] = strconv.FormatInt(s.Delivered, 10)
		}
	}
	t.header = slices.Insert(slices.Clone(t.header), at, "DELIVERED")
	for i, row := range t.rows {
		t.rows[i] = slices.Insert(row, at, delivered[row[0]])
	}
}

// lastWord says how the newest attempt ended, or the newest handshake where there
// is no consent: the status of its answer, or why there was none.
func lastWord(w controlclient.Webhook) string {
	h, agreed := w.Health, w.Properties.Consent
	if h.State == "awaitingConsent" && agreed != nil {
		return statusWord(agreed.LastStatus, agreed.LastError)
	}
	return statusWord(h.LastStatus, h.LastError)
}

// statusWord says how an attempt ended: the status of its answer, or why there was
// none.
func statusWord(status int, problem string) string {
	if status != 0 {
		return strconv.Itoa(status)
	}
	return problem
}

// waitingWord says how many events wait. Of those that were not looked at yet it
// is not known whether the webhook wants them.
func waitingWord(h *controlclient.Health) string {
	if h.Behind > 0 {
		return fmt.Sprintf("up to %d", h.Waiting+h.Behind)
	}
	return strconv.FormatInt(h.Waiting, 10)
}

// hintHealth says in a sentence what is wrong with a webhook, and what to do.
func (h *webhooks) hintHealth(registry string, w controlclient.Webhook) {
	health := w.Health
	if health == nil {
		return
	}
	switch health.State {
	case "awaitingConsent":
		h.env.hint("%s; %s", withoutConsent(registry, w), waitingSentence(health))
	case "disabled":
		if reason := w.Properties.DisabledReason; reason != "" {
			h.env.hint("disabled: %s; when that is mended: dockbell webhook update -r %s -n %s --status enabled", reason, registry, w.Name)
		}
	}
	h.endpoints.hintHealth(registry, w.Name, health)
}

// withoutConsent says in a sentence that a webhook's receiver has not agreed to be
// rung, and what to do; nothing if it has, or need not.
func withoutConsent(registry string, w controlclient.Webhook) string {
	agreed := w.Properties.Consent
	if agreed == nil || agreed.Given {
		return ""
	}
	next := ""
	if !agreed.NextAsked.IsZero() && w.Properties.Status != "disabled" {
		next = ", and is asked again in " + inWords(time.Until(agreed.NextAsked))
	}
	return fmt.Sprintf("nothing is sent to webhook %s, because its receiver has not agreed to be rung%s: %s; when that is mended: dockbell webhook handshake -r %s -n %s",
		w.Name, next, cmp.Or(agreed.Reason, "it was not asked yet"), registry, w.Name)
}

// warnOfConsent tells everyone, if there is none, and reports whether that is so.
func (env Env) warnOfConsent(registry string, w controlclient.Webhook) bool {
	without := withoutConsent(registry, w)
	if without != "" {
		env.warn("%s", without)
	}
	return without != ""
}

func callbackTable(c controlclient.CallbackConfig) table {
	var headers []string
	for _, name := range slices.Sorted(maps.Keys(c.CustomHeaders)) {
		headers = append(headers, name+"="+c.CustomHeaders[name])
	}
	return table{
		header: []string{"SERVICE URI", "HEADERS", "SIGNING SECRET"},
		rows:   [][]string{{c.ServiceURI, strings.Join(headers, ", "), c.SigningSecret}},
	}
}

func rotationTable(r controlclient.Rotation) table {
	until := "no more"
	if !r.PreviousValidUntil.IsZero() {
		until = "until " + r.PreviousValidUntil.UTC().Format(time.RFC3339)
	}
	return table{header: []string{"SIGNING SECRET", "PREVIOUS SIGNS"}, rows: [][]string{{r.SigningSecret, until}}}
}

func (o *output) replayTable(replays ...controlclient.Replay) table {
	t := table{header: []string{"ID", "STATUS", "STARTED", "MATCHED", "DELIVERED", "REFUSED", "GIVEN UP", "SELECTION"}}
	for _, r := range replays {
		row := []string{strconv.FormatInt(r.ID, 10), r.State, o.when(r.CreatedAt)}
		for _, n := range []int64{r.Matched, r.Delivered, r.Refused, r.Dead} {
			row = append(row, strconv.FormatInt(n, 10))
		}
		t.rows = append(t.rows, append(row, selectionWords(r)))
	}
	return t
}

// selectionWords says what a replay was asked for, as name=value.
func selectionWords(r controlclient.Replay) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(r.Selection)) {
		value := r.Selection[name]
		text := scalar(value)
		if list, ok := value.([]any); ok {
			texts := make([]string, len(list))
			for i, e := range list {
				texts[i] = scalar(e)
			}
			text = strings.Join(texts, ",")
		}
		words = append(words, name+"="+text)
	}
	if words == nil {
		words = []string{"everything"}
	}
	if r.Elsewhere {
		words = append(words, "to another address")
	}
	return strings.Join(words, " ")
}

func (o *output) deadLetterTable(letters []controlclient.DeadLetter) table {
	t := table{header: []string{"ID", "EVENTS", "GIVEN UP", "HAPPENED", "FIRST EVENT", "REASON"}}
	for _, d := range letters {
		first := d.EventID
		if d.Expired {
			first = "(not kept any more)"
		}
		t.rows = append(t.rows, []string{
			strconv.FormatInt(d.ID, 10), strconv.FormatInt(d.Count, 10), o.when(d.At), o.when(d.EventTime), first, d.Reason,
		})
	}
	return t
}

func eventTable(events []controlclient.Event) table {
	t := table{header: []string{"ID", "ACTION", "IMAGE", "HTTP STATUS", "OUTCOME", "ATTEMPT", "TOOK", "TIMESTAMP"}}
	for _, e := range events {
		content := e.Request.Content
		image := content.Target.Repository
		if content.Target.Tag != "" {
			image += ":" + content.Target.Tag
		}
		status := strings.TrimSpace(e.Response.StatusCode + " " + e.Response.ReasonPhrase)
		attempt, took := "", ""
		if e.Attempt > 0 {
			attempt = strconv.Itoa(e.Attempt)
			took = tookWord(e.DurationMs)
		}
		t.rows = append(t.rows, []string{e.ID, content.Action, image, status, e.Outcome, attempt, took, toSecond(content.Timestamp)})
	}
	return t
}

// tookWord prints a number of milliseconds with as much of it as matters.
func tookWord(ms float64) string {
	switch {
	case ms < 10:
		return strconv.FormatFloat(ms, 'f', 1, 64) + "ms"
	case ms < 1000:
		return strconv.FormatFloat(ms, 'f', 0, 64) + "ms"
	}
	return strconv.FormatFloat(ms/1000, 'f', 1, 64) + "s"
}

func registryTable(registries ...controlclient.Registry) table {
	t := table{header: []string{"NAME", "RESOURCE GROUP", "LOCATION", "SKU", "LOGIN SERVER", "CREATION DATE", "ADMIN ENABLED"}}
	for _, r := range registries {
		p := r.Properties
		t.rows = append(t.rows, []string{r.Name, resourceGroup(r.ID), r.Location, r.SKU.Name, p.LoginServer, toSecond(p.CreationDate), pythonBool(p.AdminUserEnabled)})
	}
	return t
}

// toSecond cuts the fraction from a UTC timestamp.
func toSecond(timestamp string) string {
	if second, _, ok := strings.Cut(timestamp, "."); ok {
		return second + "Z"
	}
	return timestamp
}
