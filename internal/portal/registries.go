package portal

import (
	"net/http"

	"github.com/dockbell/dockbell/internal/controlclient"
)

func init() {
	addPages(
		route{"GET " + Root + "/{$}", showRegistries},
		route{"GET " + Root + "/registries/{registry}", showOverview},
	)
}

// showRegistries lists the registries that the visitor may see. Who sees one alone is
// sent there.
func showRegistries(p *portal, w http.ResponseWriter, v *visit) error {
	list, err := v.api.Registries(v.Context())
	if err != nil {
		return err
	}
	if len(list) == 1 {
		http.Redirect(w, v.Request, pathIn(list[0].Name), http.StatusSeeOther)
		return nil
	}
	return p.render(w, v.Request, v, http.StatusOK, "registries", page{Title: "Registries", Body: list})
}

// overview is what the first page of a registry shows.
type overview struct {
	controlclient.Registry
	Usages   []controlclient.Usage
	Webhooks []controlclient.Webhook
}

func showOverview(p *portal, w http.ResponseWriter, v *visit) error {
	reg, err := v.api.Registry(v.Context(), v.registry)
	if err != nil {
		return err
	}
	o := overview{Registry: reg}
	if o.Usages, err = v.api.Usages(v.Context(), v.registry); err != nil {
		return err
	}
	if o.Webhooks, err = v.api.Webhooks(v.Context(), v.registry); err != nil {
		return err
	}
	return p.render(w, v.Request, v, http.StatusOK, "overview", page{Title: reg.Name, Body: o})
}
