package portal

import (
	"cmp"
	"net/http"
	"strings"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

func init() {
	at := inRegistry + "/replications"
	addPages(
		route{"GET " + at, showReplications},
		route{"POST " + at, createReplication},
		route{"POST " + at + "/{replication}/delete", deleteReplication},
	)
	done["replication-made"] = "The replication is made."
	done["replication-deleted"] = "The replication is deleted."
}

// replications is what the page of where a registry is shows.
type replications struct {
	Registry            controlclient.Registry
	List                []replicationRow
	Form                form
	Premium             bool
	MayWrite, MayDelete bool
}

// replicationRow is a registry in one location.
type replicationRow struct {
	Name, Location, Message string
	State                   state
	Home                    bool
}

func newReplicationRow(r controlclient.Replication, home string) replicationRow {
	row := replicationRow{Name: r.Name, Location: r.Location, Home: r.Location == home, Message: r.Properties.Status.Message}
	switch status := r.Properties.Status.DisplayStatus; strings.ToLower(status) {
	case "ready":
		row.State = state{"good", "ready"}
	case "pending":
		row.State = state{"wait", "waiting for a node"}
	default:
		row.State = state{"wait", strings.ToLower(status)}
	}
	return row
}

func showReplications(p *portal, w http.ResponseWriter, v *visit) error {
	return p.renderReplications(w, v, http.StatusOK, form{})
}

func (p *portal) renderReplications(w http.ResponseWriter, v *visit, status int, f form) error {
	reg, err := v.api.Registry(v.Context(), v.registry)
	if err != nil {
		return err
	}
	list, err := v.api.Replications(v.Context(), v.registry)
	if err != nil {
		return err
	}
	b := replications{
		Registry: reg, Form: f, Premium: strings.EqualFold(reg.SKU.Name, "Premium"),
		MayWrite: v.may("replications/write", reg.ID), MayDelete: v.may("replications/delete", reg.ID),
	}
	for _, r := range list {
		b.List = append(b.List, newReplicationRow(r, reg.Location))
	}
	return p.render(w, v.Request, v, status, "replications", page{Title: "Replications", Section: "replications", Body: b})
}

// createReplication makes a replication; one that is there already is not replaced.
func createReplication(p *portal, w http.ResponseWriter, v *visit) error {
	location := strings.TrimSpace(v.PostFormValue("location"))
	name := cmp.Or(strings.TrimSpace(v.PostFormValue("name")), strings.ToLower(strings.ReplaceAll(location, " ", "")))
	err := free("replication", name, "5 to 50 letters and digits, for example westeurope", func() error {
		_, err := v.api.Replication(v.Context(), v.registry, name)
		return err
	})
	if location == "" {
		err = fault.New(fault.Invalid, "the replication has no location: give one, for example westeurope").WithCode("LocationRequired")
	}
	if err == nil {
		_, err = v.api.PutReplication(v.Context(), v.registry, name, controlclient.ReplicationWrite{Location: location})
	}
	if err == nil {
		return back(w, v, v.path("replications"), "replication-made")
	}
	f := form{Typed: map[string]string{"location": location, "name": v.PostFormValue("name")}}
	status, err := f.refused(err, func(cause *fault.Error) string {
		switch {
		case cause.Code == badName:
			return "name"
		case strings.Contains(cause.Code, "Location"):
			return "location"
		}
		return ""
	})
	if err != nil {
		return err
	}
	return p.renderReplications(w, v, status, f)
}

func deleteReplication(_ *portal, w http.ResponseWriter, v *visit) error {
	if _, err := v.api.DeleteReplication(v.Context(), v.registry, v.PathValue("replication")); err != nil {
		return err
	}
	return back(w, v, v.path("replications"), "replication-deleted")
}
