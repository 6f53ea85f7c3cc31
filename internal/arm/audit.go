package arm

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/dockbell/dockbell/internal/audit"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/tenant"
)

// reads are the actions that change nothing and show no secret though they do not
// end in /read: a role that may read, and no more, is not to have them, or Azure
// calls them so. Listeners report with the second what came of each delivery, which
// is in the log of attempts.
var reads = []string{aWebhook + listEventsVerb, aEventSubscription + listEventsVerb, aListener + "/listen/action", queryAuditLog, queryServerLog}

// audited reports whether a call of the route, whatever comes of it, is put on
// record.
func (rt route) audited() bool {
	return rt.action != "" && !strings.HasSuffix(rt.action, "/read") && !slices.Contains(reads, rt.action)
}

// note adds keys and values to what is on record of the call. They are of what
// there is, such as the number of a replay, and never a secret: of an address that
// is rung at most the host.
func (c call) note(pairs ...any) {
	for i := 0; i < len(pairs); i += 2 {
		*c.notes = append(*c.notes, fmt.Sprintf("%v=%v", pairs[i], pairs[i+1]))
	}
}

// record puts a call on record, before its answer goes out: who asked for what and
// what came of it, in our words alone. Of an error it has status and code, for its
// message may repeat the body. A change whose entry cannot be written is done all
// the same, and 500 would be a lie about it. So it goes out, as does a secret: the
// server's log has the entry then, and an operator on a full disk his credentials.
//
// Whoever is not known is counted, not written at once: they can ask as often as
// they like.
func (a *api) record(h http.Header, c call, ans answer, failed error) {
	if c.route.run == nil { // it did not come to that
		c.route, _, _ = findRoute(http.Header{}, c.Method, c.place)
	}
	if !c.route.audited() || failed == nil && c.isDryRun() {
		return
	}
	e := audit.Entry{
		Client: audit.Host(c.RemoteAddr), Action: c.route.action, Outcome: audit.Succeeded,
		Request: h.Get(headerRequestID), Correlation: h.Get(headerCorrelationID),
	}
	e.Registry, e.Resource = a.about(c)
	notes := *c.notes
	if failed != nil {
		f := fault.As(failed)
		status, code := statusAndCode(f)
		if _, wait := retryAfter(failed); wait {
			status, code = http.StatusTooManyRequests, "TooManyRequests"
		}
		e.Outcome = audit.Failed
		if f.Kind == fault.Denied || f.Kind == fault.Unauthenticated || status == http.StatusTooManyRequests {
			e.Outcome = audit.Refused
		}
		notes = append([]string{fmt.Sprintf("%d %s", status, code)}, notes...)
	} else if ans.status == http.StatusNoContent && c.Method == http.MethodDelete {
		notes = append(notes, "there was none")
	}
	e.Detail = strings.Join(notes, " ")
	if c.caller == nil {
		e.ActorKind = audit.Anonymous
		a.Audit.Count(e)
		return
	}
	e.Actor, e.ActorKind = c.user, audit.ActorKind(c.caller.Kind())
	a.Audit.Record(c.Context(), e)
}

// about returns the registry that a call is about, 0 for none, and the id of the
// resource. A registry that the caller may not have is one all the same: who looks
// after it is to see who tried.
func (a *api) about(c call) (registry int64, resource string) {
	p := c.place
	switch p.level {
	case ofServer:
		resource = "/"
	case ofSubscription:
		resource = a.subscriptionID()
	case ofGroup:
		registry = c.registry.ID // of a system topic
		resource = tenant.GroupID(a.Tenants.Subscription(), p.group)
	case ofRegistry:
		r := c.registry
		if r.ID == 0 {
			if found, err := a.Tenants.ByName(p.registry); err == nil && (p.group == "" || strings.EqualFold(p.group, found.ResourceGroup)) {
				r = found // made just now, or refused
			}
		}
		registry, resource = r.ID, p.sent
		if r.ID != 0 {
			resource = r.ResourceID()
		}
	}
	// The path goes on to the last name in it; what follows is the action.
	last := 0
	for i, segment := range c.route.path {
		if segment == "*" {
			last = i + 1
		}
	}
	if last > 0 {
		resource = strings.TrimSuffix(resource, "/") + "/" + strings.Join(p.rest[:min(last, len(p.rest))], "/")
	}
	return registry, resource
}
