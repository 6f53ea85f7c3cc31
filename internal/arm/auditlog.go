package arm

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/audit"
	"github.com/dockbell/dockbell/internal/fault"
)

// auditPerPage is how many entries of the audit log an answer holds at the most.
const auditPerPage = 100

// auditBody is an entry of the audit log.
type auditBody struct {
	Time          string `json:"time"`
	Actor         string `json:"actor"`
	ActorKind     string `json:"actorKind"`
	Client        string `json:"client"`
	Action        string `json:"action"`
	ResourceID    string `json:"resourceId"`
	Registry      string `json:"registry,omitempty"` // name; of one that is deleted, none
	Outcome       string `json:"outcome"`
	RequestID     string `json:"requestId,omitempty"`
	CorrelationID string `json:"correlationId,omitempty"`
	Detail        string `json:"detail,omitempty"`
	Count         int64  `json:"count"`
}

func (a *api) auditToWire(e audit.Entry) auditBody {
	return auditBody{
		Time: wireTime(e.Time), Actor: e.Actor, ActorKind: string(e.ActorKind), Client: e.Client, Action: e.Action, ResourceID: e.Resource,
		Registry: a.Tenants.ByID(e.Registry).Name, Outcome: string(e.Outcome), RequestID: e.Request, CorrelationID: e.Correlation,
		Detail: e.Detail, Count: e.Count,
	}
}

// parseAuditFilter reads which entries a request asks for.
func parseAuditFilter(query url.Values) (f audit.Filter, err error) {
	for name, into := range map[string]*time.Time{"after": &f.After, "before": &f.Before} {
		if text := query.Get(name); text != "" {
			if *into, err = time.Parse(time.RFC3339, text); err != nil || into.Year() < 1970 || into.Year() > 2200 {
				return f, fault.New(fault.Invalid, "%s %q is no time: write it like 2026-11-20T15:04:05Z", name, clip(text))
			}
		}
	}
	if text := query.Get("outcome"); text != "" {
		if f.Outcome, err = audit.ParseOutcome(text); err != nil {
			return f, err
		}
	}
	f.Actor, f.Resource, f.Action = query.Get("actor"), query.Get("resource"), query.Get("action")
	const microsoft = "microsoft."
	if f.Action != "" && (len(f.Action) < len(microsoft) || !strings.EqualFold(f.Action[:len(microsoft)], microsoft)) {
		f.Action = provider + "/" + f.Action
	}
	return f, nil
}

// getAuditLog shows who did what, newest first, in pages: in a registry, or in all
// of the server.
func getAuditLog(a *api, c call) (answer, error) {
	query := c.URL.Query()
	f, err := parseAuditFilter(query)
	if err != nil {
		return answer{}, err
	}
	f.Registry = c.registry.ID
	page, next, err := a.Audit.Entries(c.Context(), f, query.Get(skipToken), auditPerPage)
	if fault.Is(err, fault.Invalid) {
		return answer{}, badSkipToken(query.Get(skipToken))
	}
	if err != nil {
		return answer{}, err
	}
	list := listBody[auditBody]{Value: make([]auditBody, len(page))}
	for i, e := range page {
		list.Value[i] = a.auditToWire(e)
	}
	if next != "" {
		list.NextLink = nextLink(c.Request, next)
	}
	return answer{http.StatusOK, list}, nil
}
