package portal

import (
	"net/http"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

// family is a kind of what a registry owes events to. What such an endpoint was sent,
// and is sent once more, looks alike for all of them.
type family struct {
	kind    controlclient.EndpointKind
	section string // of the menu, and of paths
	title   string // of its list
	noun    string // of one
	action  string // what the actions on one begin with
	command string // of the command line

	// get returns one as its page shows it.
	get func(v *visit, registry controlclient.Registry, name string) (*endpoint, error)
}

// endpoint is one of a family, as its pages show it.
type endpoint struct {
	*family
	Name     string
	registry controlclient.Registry
	Health   *controlclient.Health
	Verdict  verdict
	Settings []setting
	Consent  *controlclient.Consent // nil: it is not asked for
	Why      string                 // why the server disabled it, or its receiver has not agreed
	Actions  []string               // that it asks for
	Listener bool
	Unagreed bool   // its receiver has to agree, and can be asked once more
	Format   string // in which it is told of events; empty: as the log has them

	may func(action string) bool
}

// setting is a line of what an endpoint is.
type setting struct {
	Term  string
	Value []string
	Code  bool // what a program reads
}

// ref is what the API calls it.
func (e *endpoint) ref() controlclient.Endpoint {
	return controlclient.Endpoint{Kind: e.kind, Registry: e.registry.Name, Name: e.Name}
}

// Path returns the address of one of its pages.
func (e *endpoint) Path(below ...string) string {
	return pathIn(e.registry.Name, append([]string{e.section, e.Name}, below...)...)
}

// May reports whether the visitor may do an action with it, such as pause/action.
func (e *endpoint) May(action string) bool { return e.may(action) }

// Noun is what it is called.
func (e *endpoint) Noun() string { return e.noun }

// Webhook reports whether it is one, which can be pinged.
func (e *endpoint) Webhook() bool { return e.kind == controlclient.OfWebhook }

// Can reports whether there is any button for the visitor.
func (e *endpoint) Can() bool {
	for _, action := range []string{"write", "ping/action", "pause/action", "resume/action", "replays/write", "delete"} {
		if e.may(action) {
			return true
		}
	}
	return false
}

// crumbs are the places above a page of the endpoint.
func (e *endpoint) crumbs(own bool) []crumb {
	c := []crumb{{e.title, pathIn(e.registry.Name, e.section)}}
	if own {
		c = append(c, crumb{e.Name, e.Path()})
	}
	return c
}

// find returns the endpoint that the path names.
func (f *family) find(v *visit) (*endpoint, error) {
	reg, err := v.api.Registry(v.Context(), v.registry)
	if err != nil {
		return nil, err
	}
	e, err := f.get(v, reg, v.PathValue("endpoint"))
	if err != nil {
		return nil, err
	}
	e.family, e.registry = f, reg
	e.may = func(action string) bool { return v.visitor.May(f.action+"/"+action, reg.ID) }
	return e, nil
}

// addFamily adds the pages that all families have.
func addFamily(f *family) {
	base := Root + "/registries/{registry}/" + f.section + "/{endpoint}"
	at := func(pattern, below string, serve func(*portal, http.ResponseWriter, *visit, *endpoint) error) route {
		return route{pattern + " " + base + below, func(p *portal, w http.ResponseWriter, v *visit) error {
			e, err := f.find(v)
			if err != nil {
				return err
			}
			return serve(p, w, v, e)
		}}
	}
	addPages(
		at("GET", "", showEndpoint),
		at("GET", "/tail", tailLog),
		at("POST", "/pause", pauseEndpoint),
		at("POST", "/resume", resumeEndpoint),
		at("GET", "/replay", showReplay),
		at("POST", "/replay", startReplay),
		at("POST", "/replays/{replay}/cancel", cancelReplay),
		at("GET", "/deliveries/{event}", showStory),
		at("GET", "/deliveries/{event}/tail", tailStory),
		at("POST", "/deliveries/{event}/redeliver", redeliver),
		at("GET", "/dead-letters", showDeadLetters),
		at("POST", "/dead-letters/replay", replayDeadLetters),
		at("GET", "/dead-letters/purge", askPurge),
		at("POST", "/dead-letters/purge", purgeDeadLetters),
		at("GET", "/delete", askDelete),
	)
}

func init() {
	done["paused"] = "Paused: what happens from now on waits until it is resumed."
	done["resumed"] = "Resumed: what waited is sent first."
	done["replay"] = "The replay runs. Its progress is below."
	done["cancelled"] = "The replay is cancelled: what it had not sent is not sent."
}

// endpointPage is what the page of an endpoint shows.
type endpointPage struct {
	*endpoint
	Log     deliveryLog
	Replays []controlclient.Replay
	Charts  *charts // nil: the visitor may not see them
}

func showEndpoint(p *portal, w http.ResponseWriter, v *visit, e *endpoint) error {
	pg := endpointPage{endpoint: e}
	drawn, err := v.chartsOf(e.ref())
	switch {
	case err == nil:
		pg.Charts = &drawn
	case !fault.Is(err, fault.Denied) && !fault.Is(err, fault.NotFound):
		return err
	}
	if e.may("listEvents/action") {
		if pg.Log, err = v.deliveryLog(e); err != nil {
			return err
		}
	}
	if e.may("replays/read") {
		replays, err := v.api.ReplayPage(v.Context(), e.ref(), "")
		if err != nil {
			return err
		}
		pg.Replays = replays.Value[:min(len(replays.Value), 5)]
	}
	return p.render(w, v.Request, v, http.StatusOK, "endpoint", page{Title: e.Name, Section: e.section, Crumbs: e.crumbs(false), Body: pg})
}

func pauseEndpoint(p *portal, w http.ResponseWriter, v *visit, e *endpoint) error {
	if err := v.api.Pause(v.Context(), e.ref()); err != nil {
		return err
	}
	return back(w, v, e.Path(), "paused")
}

func resumeEndpoint(p *portal, w http.ResponseWriter, v *visit, e *endpoint) error {
	if err := v.api.Resume(v.Context(), e.ref()); err != nil {
		return err
	}
	return back(w, v, e.Path(), "resumed")
}

// confirmation is a page that asks before something is lost.
type confirmation struct {
	Says         []string
	Action       string // where the form goes
	Name, Value  string // of a field of the form
	Button, Back string
}

func askDelete(p *portal, w http.ResponseWriter, v *visit, e *endpoint) error {
	if !e.may("delete") {
		return fault.New(fault.Denied, "you may not delete %s", e.Name)
	}
	c := confirmation{Action: e.Path("delete"), Button: "Delete " + e.Name, Back: e.Path()}
	c.Says = append(c.Says, "The "+e.noun+" "+e.Name+" is deleted with its address, its secrets and its delivery log. It cannot be brought back.")
	if h := e.Health; h != nil {
		if n := h.Waiting; n > 0 {
			c.Says = append(c.Says, counted(n, "waiting delivery is", "waiting deliveries are")+" dropped.")
		}
		if n := h.Behind; n > 0 {
			c.Says = append(c.Says, counted(n, "event that it did not get yet goes", "events that it did not get yet go")+" to nobody.")
		}
		if n := h.DeadLetters; n > 0 {
			c.Says = append(c.Says, counted(n, "dead letter is", "dead letters are")+" forgotten.")
		}
	}
	return p.render(w, v.Request, v, http.StatusOK, "confirm", page{Title: "Delete " + e.Name, Section: e.section, Crumbs: e.crumbs(true), Body: c})
}

// counted writes a number with what it counts.
func counted(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}
