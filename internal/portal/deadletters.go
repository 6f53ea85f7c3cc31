package portal

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

// deadLetters is what the page of that name shows.
type deadLetters struct {
	*endpoint
	Letters []controlclient.DeadLetter
	Older   string
}

// Story returns the address of the story of a dead letter's event; empty for one
// that is not kept any more, or for a range.
func (d deadLetters) Story(l controlclient.DeadLetter) string {
	if l.EventID == "" || l.Count > 1 {
		return ""
	}
	happened := ""
	if !l.EventTime.IsZero() {
		happened = l.EventTime.Format(time.RFC3339Nano)
	}
	return d.storyLink(l.EventID, happened)
}

func init() {
	done["purged"] = "The dead letters are forgotten."
}

func showDeadLetters(p *portal, w http.ResponseWriter, v *visit, e *endpoint) error {
	list, err := v.api.DeadLetterPage(v.Context(), e.ref(), v.URL.Query().Get("after"))
	if err != nil {
		return err
	}
	d := deadLetters{endpoint: e, Letters: list.Value}
	if list.Next != "" {
		d.Older = at(e.Path("dead-letters"), url.Values{"after": {list.Next}})
	}
	return p.render(w, v.Request, v, http.StatusOK, "deadletters", page{Title: "Dead letters", Section: e.section, Crumbs: e.crumbs(true), Body: d})
}

// letterIDs returns the dead letters that a form is about: one, or all.
func letterIDs(text string) (controlclient.DeadLetterIDs, error) {
	if text == "" {
		return nil, nil
	}
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return nil, fault.New(fault.Invalid, "%.40q is no number of a dead letter", text)
	}
	return controlclient.DeadLetterIDs{id}, nil
}

// replayDeadLetters rings them once more: one, or all.
func replayDeadLetters(p *portal, w http.ResponseWriter, v *visit, e *endpoint) error {
	ids, err := letterIDs(v.PostFormValue("id"))
	if err != nil {
		return err
	}
	if _, err := v.api.StartReplay(v.Context(), e.ref(), controlclient.ReplayRequest{DeadLetters: &ids}); err != nil {
		return err
	}
	return back(w, v, e.Path(), "replay")
}

// askPurge asks before dead letters are forgotten.
func askPurge(p *portal, w http.ResponseWriter, v *visit, e *endpoint) error {
	if !e.may("deadLetters/purge/action") {
		return fault.New(fault.Denied, "you may not forget dead letters of %s", e.Name)
	}
	id := v.URL.Query().Get("id")
	if _, err := letterIDs(id); err != nil {
		return err
	}
	c := confirmation{Action: e.Path("dead-letters", "purge"), Name: "id", Value: id, Back: e.Path("dead-letters")}
	if id == "" {
		c.Button = "Forget all dead letters"
		n := int64(0)
		if e.Health != nil {
			n = e.Health.DeadLetters
		}
		c.Says = []string{counted(n, "event was given up for ", "events were given up for ") + e.Name + ". Forgotten, they cannot be rung again as dead letters; the log of their attempts stays."}
	} else {
		c.Button = "Forget dead letter " + id
		c.Says = []string{"Forgotten, dead letter " + id + " of " + e.Name + " cannot be rung again as one; the log of its attempts stays."}
	}
	return p.render(w, v.Request, v, http.StatusOK, "confirm", page{Title: c.Button, Section: e.section, Crumbs: append(e.crumbs(true), crumb{"Dead letters", c.Back}), Body: c})
}

func purgeDeadLetters(p *portal, w http.ResponseWriter, v *visit, e *endpoint) error {
	ids, err := letterIDs(v.PostFormValue("id"))
	if err != nil {
		return err
	}
	if _, err := v.api.PurgeDeadLetters(v.Context(), e.ref(), ids); err != nil {
		return err
	}
	return back(w, v, e.Path("dead-letters"), "purged")
}
