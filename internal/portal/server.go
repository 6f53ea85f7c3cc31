package portal

import (
	"net/http"
	"strings"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

func init() {
	addPages(route{"GET " + Root + "/server", showServer})
}

// giveRoles is the action of whoever manages service principals.
const giveRoles = "Microsoft.Authorization/roleAssignments/write"

// serverMenu are the pages about the whole server, and the action that whoever opens
// one must be allowed: in the subscription, or as somewhere says in any registry.
var serverMenu = []struct {
	text, page, action string
	somewhere          bool
}{
	{"Service principals", "principals", giveRoles, true},
	{"Garbage collections", "collections", "Microsoft.ContainerRegistry/garbageCollections/read", false},
	{"Signing keys", "keys", "Microsoft.ContainerRegistry/signingKeys/read", false},
	{"Audit log", "audit", "Microsoft.ContainerRegistry/auditLog/query/action", false},
}

// serverPages returns the pages about the whole server that the visitor may open. list
// are the registries that they may see.
func (v *visit) serverPages(list []controlclient.Registry) (open []entry) {
	for _, m := range serverMenu {
		may := v.visitor.May(m.action, subscriptionOf(list))
		for i := 0; m.somewhere && !may && i < len(list); i++ {
			may = v.visitor.May(m.action, list[i].ID)
		}
		if may {
			to := serverPath(m.page)
			open = append(open, entry{m.text, to, strings.HasPrefix(v.URL.Path+"/", to+"/")})
		}
	}
	return open
}

// subscriptionOf returns the id of the subscription that registries are in: a server
// has one. Of none it is /, which is for whoever may everything.
func subscriptionOf(list []controlclient.Registry) string {
	if len(list) == 0 {
		return "/"
	}
	parts := strings.SplitN(list[0].ID, "/", 4) // /subscriptions/ID/…
	return strings.Join(parts[:min(3, len(parts))], "/")
}

// serverPath returns the address of a page about the whole server.
func serverPath(segments ...string) string {
	return Root + "/server/" + strings.Join(segments, "/")
}

// showServer leads to the first page that the visitor may open.
func showServer(p *portal, w http.ResponseWriter, v *visit) error {
	list, err := v.api.Registries(v.Context())
	if err != nil {
		return err
	}
	open := v.serverPages(list)
	if len(open) == 0 {
		return fault.New(fault.Denied, "%.80s may see nothing of the whole server: ask for a role in its subscription", v.visitor.Name())
	}
	http.Redirect(w, v.Request, open[0].Link, http.StatusSeeOther)
	return nil
}
