package portal

import (
	"net/http"
	"strconv"
	"time"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

func init() {
	at := Root + "/server/collections"
	addPages(
		route{"GET " + at, showCollections},
		route{"POST " + at, startCollection},
		route{"GET " + at + "/{collection}", showCollection},
		route{"POST " + at + "/{collection}/cancel", cancelCollection},
	)
	done["collection-cancelled"] = "The collection ends in a moment. What it has done is done."
}

// collections is what the list of garbage collections shows.
type collections struct {
	Pages               []entry
	List                []collectionRow
	NextAt              time.Time
	Running             bool
	MayStart, MayCancel bool
}

// collectionRow is a garbage collection in the list, or on its page.
type collectionRow struct {
	controlclient.Collection
	State   state
	Percent int
}

func newCollectionRow(c controlclient.Collection) collectionRow {
	row := collectionRow{Collection: c, Percent: int(c.Progress * 100)}
	switch c.State {
	case controlclient.CollectionRunning:
		row.State = state{"wait", "running, " + strconv.Itoa(row.Percent) + " %"}
	case controlclient.CollectionDone:
		row.State = state{"good", "done"}
	case controlclient.CollectionFailed:
		row.State = state{"bad", "failed"}
	default:
		row.State = state{"pause", c.State}
	}
	return row
}

// Runs reports whether it is not over.
func (c collectionRow) Runs() bool { return c.Collection.State == controlclient.CollectionRunning }

// inSubscription reports whether the visitor may do an action of the registry provider
// in the subscription that registries are in.
func (v *visit) inSubscription(list []controlclient.Registry, action string) bool {
	return v.visitor.May("Microsoft.ContainerRegistry/"+action, subscriptionOf(list))
}

func showCollections(p *portal, w http.ResponseWriter, v *visit) error {
	all, err := v.api.Collections(v.Context())
	if err != nil {
		return err
	}
	registries, err := v.api.Registries(v.Context())
	if err != nil {
		return err
	}
	b := collections{
		Pages: v.serverPages(registries), NextAt: all.NextAt,
		MayStart: v.inSubscription(registries, "garbageCollections/write"), MayCancel: v.inSubscription(registries, "garbageCollections/cancel/action"),
	}
	for _, c := range all.Newest {
		row := newCollectionRow(c)
		b.List, b.Running = append(b.List, row), b.Running || row.Runs()
	}
	return p.render(w, v.Request, v, http.StatusOK, "collections", page{Title: "Garbage collections", Section: "server", Body: b})
}

func startCollection(_ *portal, w http.ResponseWriter, v *visit) error {
	c, err := v.api.StartCollection(v.Context(), v.PostFormValue("dryRun") == "true")
	if err != nil {
		return err
	}
	return back(w, v, serverPath("collections", strconv.FormatInt(c.ID, 10)), "")
}

// collectionID returns which collection the path names.
func (v *visit) collectionID() (int64, error) {
	id, err := strconv.ParseInt(v.PathValue("collection"), 10, 64)
	if err != nil || id <= 0 {
		return 0, fault.New(fault.NotFound, "%.80q is no number of a garbage collection", v.PathValue("collection"))
	}
	return id, nil
}

// collectionPage is what the page of a garbage collection shows.
type collectionPage struct {
	collectionRow
	MayCancel bool
	At        string
}

func showCollection(p *portal, w http.ResponseWriter, v *visit) error {
	id, err := v.collectionID()
	if err != nil {
		return err
	}
	c, err := v.api.Collection(v.Context(), id)
	if err != nil {
		return err
	}
	registries, err := v.api.Registries(v.Context())
	if err != nil {
		return err
	}
	b := collectionPage{newCollectionRow(c), v.inSubscription(registries, "garbageCollections/cancel/action"), serverPath("collections", strconv.FormatInt(id, 10))}
	return p.render(w, v.Request, v, http.StatusOK, "collection", page{
		Title: "Garbage collection " + strconv.FormatInt(id, 10), Section: "server", Crumbs: []crumb{{"Garbage collections", serverPath("collections")}}, Body: b,
	})
}

func cancelCollection(_ *portal, w http.ResponseWriter, v *visit) error {
	id, err := v.collectionID()
	if err != nil {
		return err
	}
	if _, err := v.api.CancelCollection(v.Context(), id); err != nil {
		return err
	}
	return back(w, v, serverPath("collections", strconv.FormatInt(id, 10)), "collection-cancelled")
}
