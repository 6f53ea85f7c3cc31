package identityserver

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/dockbell/dockbell/internal/audit"
	"github.com/dockbell/dockbell/internal/auth"
	"github.com/dockbell/dockbell/internal/fault"
)

// change is an operation that is put on record: it answers with a status and a
// body, nil for none, and adds to the entry what it is about.
type change func(s *server, w http.ResponseWriter, r *http.Request, who auth.Principal, name string, e *audit.Entry) (status int, body any, err error)

// changing returns the endpoint of a change. Its entry, in ARM's words with that
// verb, is written before it is answered, as package arm does it.
func changing(verb string, do change) endpoint {
	return func(s *server, w http.ResponseWriter, r *http.Request, name string) error {
		e := audit.Entry{
			Client: audit.Host(r.RemoteAddr), Action: "Microsoft.ContainerRegistry/servicePrincipals/" + verb,
			Resource: strings.TrimSuffix(Root+"/"+name, "/"), Outcome: audit.Succeeded,
			Request: w.Header().Get("X-Ms-Request-Id"), Correlation: w.Header().Get("X-Ms-Correlation-Request-Id"),
		}
		var status int
		var body any
		who, err := s.caller(r)
		known := err == nil
		if known {
			status, body, err = do(s, w, r, who, name, &e)
		}
		if err != nil {
			f := fault.As(err)
			e.Outcome = audit.Failed
			if !known || f.Kind == fault.Denied {
				e.Outcome = audit.Refused
			}
			e.Detail = strings.TrimSpace(fmt.Sprintf("%d %s", kinds[f.Kind].status, e.Detail)) // no message: it may repeat the body
		}
		if known {
			e.Actor, e.ActorKind = who.Name(), audit.ActorKind(who.Kind())
			s.Audit.Record(r.Context(), e)
		} else {
			e.ActorKind = audit.Anonymous
			s.Audit.Count(e)
		}
		switch {
		case err != nil:
			return err
		case body == nil:
			w.WriteHeader(status)
		default:
			writeJSON(w, status, body)
		}
		return nil
	}
}

// about has an entry tell of a service principal.
func about(e *audit.Entry, p auth.ServicePrincipal) {
	e.Resource = Root + "/" + p.AppID
	e.Detail = "name=" + p.DisplayName
	for _, as := range p.Assignments {
		e.Detail += " role=" + as.Role + " in " + as.Scope
	}
}
