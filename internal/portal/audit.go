package portal

import (
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

func init() {
	addPages(
		route{"GET " + inRegistry + "/audit", showAudit},
		route{"GET " + inRegistry + "/audit/entry", showAuditEntry},
		route{"GET " + Root + "/server/audit", showAudit},
		route{"GET " + Root + "/server/audit/entry", showAuditEntry},
	)
}

// auditLog is what the page of who did what shows: in a registry, or in all of the
// server.
type auditLog struct {
	Pages    []entry // about the server; none in a registry
	At       string  // path of the page
	Rows     []auditRow
	Outcomes []entry
	Spans    []entry
	Wanted   auditWanted
	Problem  string
	Filtered bool
	Newest   string // link to the first page; empty on that
	Older    string // link to the next page; empty on the last
}

// auditWanted is the filter as the address of the page has it.
type auditWanted struct{ Who, Action, Outcome, Since, Until string }

// query writes the filter, and the place where a page begins, as the query of an
// address.
func (a auditWanted) query(after string) string {
	text, _ := query([]string{"who", a.Who, "action", a.Action, "outcome", a.Outcome, "since", a.Since, "until", a.Until, "after", after})
	return text
}

// filter returns what is asked of the API.
func (a auditWanted) filter() (f controlclient.AuditFilter, err error) {
	f = controlclient.AuditFilter{Actor: a.Who, Action: a.Action, Outcome: a.Outcome}
	if f.After, err = auditTime("since", a.Since); err == nil {
		f.Before, err = auditTime("until", a.Until)
	}
	return f, err
}

// auditTime reads a time of the form, which is in UTC; empty is the zero one.
func auditTime(name, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fault.New(fault.Invalid, "%s %.80q is no time: write it like 2026-11-20T15:04", name, text)
}

// auditRow is an entry as a person reads it.
type auditRow struct {
	controlclient.AuditEntry
	What    string // in words
	Kind    string // of the actor
	Target  string
	Outcome state
	Link    string // of its page
	ByActor string // link to what else the actor did; empty: nobody is known
	ByWhat  string // link to the same by others
}

func newAuditRow(e controlclient.AuditEntry, at string) auditRow {
	entry, _ := query([]string{"time", e.Time.UTC().Format(time.RFC3339Nano), "request", e.RequestID})
	row := auditRow{
		AuditEntry: e, What: whatWords(e), Kind: actorWords(e.ActorKind), Target: targetWords(e.ResourceID), Outcome: outcomeState(e.Outcome),
		Link: at + "/entry" + entry, ByWhat: at + auditWanted{Action: e.Action}.query(""),
	}
	if e.Actor != "" {
		row.ByActor = at + auditWanted{Who: e.Actor}.query("")
	}
	return row
}

func outcomeState(outcome string) state {
	switch outcome {
	case "succeeded":
		return state{"good", outcome}
	case "refused":
		return state{"bad", outcome}
	}
	return state{"wait", outcome}
}

func actorWords(kind string) string {
	switch kind {
	case "User":
		return "user"
	case "Application":
		return "service principal"
	case "Token":
		return "token"
	case "Anonymous":
		return "not logged in"
	}
	return kind
}

// targetWords writes what an action was about as short as can be without a doubt.
func targetWords(id string) string {
	if _, within, ok := strings.Cut(id, "/providers/Microsoft.ContainerRegistry/registries/"); ok {
		name, below, deep := strings.Cut(within, "/")
		if !deep {
			return "registry " + name
		}
		return name + ": " + strings.TrimPrefix(below, "providers/Microsoft.EventGrid/")
	}
	parts := strings.Split(strings.Trim(id, "/"), "/")
	switch {
	case id == "/", len(parts) == 2 && parts[0] == "subscriptions":
		return "the server"
	case len(parts) == 4 && parts[0] == "subscriptions":
		return "resource group " + parts[3]
	}
	if _, name, ok := strings.Cut(id, "/api/v1/servicePrincipals/"); ok {
		return "service principal " + name
	}
	return id
}

// knownActions are the actions that are not told well by their own words.
var knownActions = map[string]string{
	"auditLog/query/action":                           "read the audit log of the server",
	"signingKeys/rotate/action":                       "rotated the signing key",
	"garbageCollections/write":                        "started a garbage collection",
	"login/failed":                                    "failed to log in to the control plane",
	"servicePrincipals/resetPassword/action":          "made another password of a service principal",
	"registries/login/failed":                         "failed to log in",
	"registries/listCredentials/action":               "read the passwords of the admin user",
	"registries/regenerateCredential/action":          "made another password of the admin user",
	"registries/importImage/action":                   "imported an image",
	"registries/generateCredentials/action":           "made passwords of a token",
	"registries/auditLog/query/action":                "read the audit log",
	"registries/listeners/write":                      "began to listen",
	"registries/listeners/listen/action":              "listened",
	"registries/listeners/delete":                     "stopped listening",
	"registries/repositories/content/delete":          "deleted what a repository held",
	"registries/repositories/metadata/write":          "changed what is locked in a repository",
	"registries/artifacts/delete":                     "deleted a chart",
	"registries/quarantine/write":                     "changed the quarantine of an image",
	"registries/webhooks/getCallbackConfig/action":    "read the address and the secrets of a webhook",
	"registries/webhooks/rotateSecret/action":         "rotated the secret of a webhook",
	"registries/webhooks/test/action":                 "sent a sample to a webhook",
	"registries/webhooks/replays/write":               "replayed events to a webhook",
	"eventSubscriptions/replays/write":                "replayed events to an event subscription",
	"eventSubscriptions/getFullUrl/action":            "read the address of an event subscription",
	"eventSubscriptions/getDeliveryAttributes/action": "read the delivery attributes of an event subscription",
}

// verbWords are what is said of the last word but "action" of the other actions.
var verbWords = map[string]string{
	"write": "created or changed", "delete": "deleted", "read": "read", "ping": "pinged", "handshake": "asked for the consent of", "pause": "paused",
	"resume": "resumed", "redeliver": "redelivered to", "cancel": "cancelled", "purge": "purged", "validate": "validated", "listEvents": "read the deliveries of",
	"register": "registered",
}

// actionWords tells an action as what somebody did. One that is not known is told as
// it is.
func actionWords(action string) string {
	_, rest, ok := strings.Cut(action, "/")
	if !ok {
		return action
	}
	if known := knownActions[strings.TrimPrefix(rest, "systemTopics/")]; known != "" {
		return known
	}
	parts := strings.Split(strings.TrimSuffix(rest, "/action"), "/")
	verb := verbWords[parts[len(parts)-1]]
	if verb == "" || len(parts) < 2 {
		return action
	}
	return verb + " " + oneOf(parts[len(parts)-2])
}

// whatWords tells what somebody did. What is created or changed by one action is told
// apart by the detail.
func whatWords(e controlclient.AuditEntry) string {
	words := actionWords(e.Action)
	if rest, ok := strings.CutPrefix(words, verbWords["write"]); ok {
		switch {
		case strings.Contains(" "+e.Detail, " created=true"):
			return "created" + rest
		case strings.Contains(" "+e.Detail, " created=false"):
			return "changed" + rest
		}
	}
	return words
}

// oneOf turns a collection of a path, such as scopeMaps, into one of its members, such
// as a scope map.
func oneOf(collection string) string {
	var b strings.Builder
	for _, r := range collection {
		if unicode.IsUpper(r) {
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	name := b.String()
	if many, ok := strings.CutSuffix(name, "ies"); ok {
		name = many + "y"
	} else {
		name = strings.TrimSuffix(name, "s")
	}
	if strings.ContainsAny(name[:min(1, len(name))], "aeiou") {
		return "an " + name
	}
	return "a " + name
}

// auditAt returns the path of the audit log that a page is of.
func auditAt(v *visit) string {
	if v.registry == "" {
		return serverPath("audit")
	}
	return v.path("audit")
}

// auditSpans are the times that the filter offers, by how long ago they begin.
var auditSpans = []struct {
	text string
	ago  time.Duration
}{{"last hour", time.Hour}, {"last 24 h", 24 * time.Hour}, {"last 7 d", 7 * 24 * time.Hour}}

func showAudit(p *portal, w http.ResponseWriter, v *visit) error {
	q := v.URL.Query()
	at, now := auditAt(v), time.Now().UTC()
	b := auditLog{At: at, Wanted: auditWanted{Who: q.Get("who"), Action: q.Get("action"), Outcome: q.Get("outcome"), Since: q.Get("since"), Until: q.Get("until")}}
	b.Filtered = b.Wanted != auditWanted{}
	status := http.StatusOK
	f, err := b.Wanted.filter()
	var list controlclient.Page[controlclient.AuditEntry]
	if err == nil {
		list, err = v.api.AuditPage(v.Context(), v.registry, f, q.Get("after"))
	}
	if fault.Is(err, fault.Invalid) {
		b.Problem, status = sentence(err), http.StatusBadRequest
	} else if err != nil {
		return err
	}
	for _, e := range list.Value {
		b.Rows = append(b.Rows, newAuditRow(e, at))
	}
	for _, outcome := range []string{"", "succeeded", "refused", "failed"} {
		to := b.Wanted
		to.Outcome = outcome
		text := outcome
		if outcome == "" {
			text = "all"
		}
		b.Outcomes = append(b.Outcomes, entry{text, at + to.query(""), outcome == b.Wanted.Outcome})
	}
	for _, s := range auditSpans {
		to := b.Wanted
		to.Since, to.Until = now.Add(-s.ago).Format("2006-01-02T15:04"), ""
		b.Spans = append(b.Spans, entry{s.text, at + to.query(""), to.Since == b.Wanted.Since && b.Wanted.Until == ""})
	}
	if q.Get("after") != "" {
		b.Newest = at + b.Wanted.query("")
	}
	if list.Next != "" {
		b.Older = at + b.Wanted.query(list.Next)
	}
	b.Wanted.Since, b.Wanted.Until = formTime(f.After, b.Wanted.Since), formTime(f.Before, b.Wanted.Until)
	return p.renderAudit(w, v, status, "audit", page{Title: "Audit log", Body: &b}, &b.Pages)
}

// formTime writes a time as the form's field has it; what was no time stays as it was.
func formTime(t time.Time, typed string) string {
	if t.IsZero() {
		return typed
	}
	return t.Format("2006-01-02T15:04")
}

// renderAudit answers with a page of the audit log of the registry, or of the server,
// whose pages then get their links.
func (p *portal) renderAudit(w http.ResponseWriter, v *visit, status int, name string, pg page, pages *[]entry) error {
	pg.Section = "audit"
	if v.registry == "" {
		list, err := v.api.Registries(v.Context())
		if err != nil {
			return err
		}
		pg.Section, *pages = "server", v.serverPages(list)
	}
	return p.render(w, v.Request, v, status, name, pg)
}

// auditEntry is what the page of an entry shows. There can be more than one of a
// moment and a request.
type auditEntry struct {
	Pages []entry
	Rows  []auditRow
}

// showAuditEntry shows what is known of the entries of a moment. Entries have no
// address of their own: one that counts moves on with what it counts.
func showAuditEntry(p *portal, w http.ResponseWriter, v *visit) error {
	q, at := v.URL.Query(), auditAt(v)
	moment, err := auditTime("time", q.Get("time"))
	if err != nil {
		return err
	}
	if moment.IsZero() {
		return fault.New(fault.NotFound, "the address says no time: open an entry from the audit log")
	}
	list, err := v.api.AuditPage(v.Context(), v.registry, controlclient.AuditFilter{After: moment, Before: moment.Add(100 * time.Nanosecond)}, "")
	if err != nil {
		return err
	}
	var b auditEntry
	for _, e := range list.Value {
		if q.Get("request") == "" || e.RequestID == q.Get("request") {
			b.Rows = append(b.Rows, newAuditRow(e, at))
		}
	}
	if len(b.Rows) == 0 {
		return fault.New(fault.NotFound, "there is no such entry any more: it is older than entries are kept, or it counts and has happened again since, and is further up in the audit log")
	}
	return p.renderAudit(w, v, http.StatusOK, "auditentry", page{Title: "Entry of the audit log", Crumbs: []crumb{{"Audit log", at}}, Body: &b}, &b.Pages)
}
