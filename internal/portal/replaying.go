package portal

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

// replayForm is a range of events that are to ring once more, as it was typed.
type replayForm struct {
	*endpoint
	Form editForm
}

// replayFields are the fields of a range, filled with what was typed.
func (e *endpoint) replayFields(typed func(string) string) []editGroup {
	actions := []editChoice{{"", "All actions", "", typed("action") == ""}}
	for _, a := range logActions {
		if a != "ping" {
			actions = append(actions, editChoice{a, a, "", typed("action") == a})
		}
	}
	only := typed("only")
	return []editGroup{{Fields: []editField{
		{Name: "from", Label: "Since", Kind: "text", Value: typed("from"), Placeholder: "2026-01-31T15:04", Help: "Events of this moment and later, in UTC. Empty: from the oldest that is kept."},
		{Name: "until", Label: "Until", Kind: "text", Value: typed("until"), Placeholder: "2026-01-31T16:04", Help: "Events before this moment, in UTC. Empty: up to now."},
		{Name: "only", Label: "Which", Kind: "select", Value: only, Choices: []editChoice{
			{"undelivered", "Those that were not delivered", "", only == "undelivered"}, {"refused", "Those that the receiver refused", "", only == "refused"},
			{"delivered", "Those that were delivered", "", only == "delivered"}, {"", "All of them", "", only == "" && typed("sent") != ""},
		}},
		{Name: "action", Label: "Action", Kind: "select", Value: typed("action"), Choices: actions},
		{Name: "repository", Label: "Repository", Kind: "text", Value: typed("repository"), Help: "A name, or the beginning of one and a *. Empty: all that the " + e.noun + " asks for."},
		{Name: "maxPerMinute", Label: "At most, per minute", Kind: "number", Value: typed("maxPerMinute"), Help: "Empty: as fast as the receiver takes them."},
	}}}
}

func showReplay(p *portal, w http.ResponseWriter, v *visit, e *endpoint) error {
	return p.replayPage(w, v, e, http.StatusOK, v.URL.Query().Get, "", nil)
}

func (p *portal) replayPage(w http.ResponseWriter, v *visit, e *endpoint, status int, typed func(string) string, problem string, wrong map[string]string) error {
	if !e.may("replays/write") {
		return fault.New(fault.Denied, "you may not have %s rung once more", e.Name)
	}
	f := editForm{Action: e.Path("replay"), Groups: e.replayFields(typed), Submit: "Replay", Cancel: e.Path(), Problem: problem}
	f.mark(wrong)
	return p.render(w, v.Request, v, status, "replay", page{Title: "Replay", Section: e.section, Crumbs: e.crumbs(true), Body: replayForm{e, f}})
}

// startReplay has a range ring once more.
func startReplay(p *portal, w http.ResponseWriter, v *visit, e *endpoint) error {
	typed := func(name string) string {
		if name == "sent" {
			return "yes"
		}
		return strings.TrimSpace(v.PostFormValue(name))
	}
	r := controlclient.ReplayRequest{Only: typed("only"), Repository: typed("repository")}
	if a := typed("action"); a != "" {
		r.Actions = []string{a}
	}
	wrong := map[string]string{}
	var err error
	if text := typed("from"); text != "" {
		if r.From, err = parseMoment(text); err != nil {
			wrong["from"] = sentence(err)
		}
	}
	if text := typed("until"); text != "" {
		if r.Until, err = parseMoment(text); err != nil {
			wrong["until"] = sentence(err)
		}
	}
	if text := typed("maxPerMinute"); text != "" {
		if r.MaxPerMinute, err = strconv.Atoi(text); err != nil {
			wrong["maxPerMinute"] = fmt.Sprintf("%.40q is no whole number", text)
		}
	}
	if len(wrong) > 0 {
		return p.replayPage(w, v, e, http.StatusBadRequest, typed, "", wrong)
	}
	_, err = v.api.StartReplay(v.Context(), e.ref(), r)
	if fault.Is(err, fault.Invalid) || fault.Is(err, fault.Conflict) || fault.Is(err, fault.NotFound) {
		// The API's sentence begins with the member that it is about.
		text := sentence(err)
		member, _, _ := strings.Cut(fault.As(err).Message, " ")
		for _, name := range []string{"from", "until", "only", "repository", "maxPerMinute"} {
			if member == name {
				return p.replayPage(w, v, e, http.StatusBadRequest, typed, "", map[string]string{name: text})
			}
		}
		return p.replayPage(w, v, e, http.StatusBadRequest, typed, text, nil)
	}
	if err != nil {
		return err
	}
	return back(w, v, e.Path(), "replay")
}

func cancelReplay(p *portal, w http.ResponseWriter, v *visit, e *endpoint) error {
	id, err := strconv.ParseInt(v.PathValue("replay"), 10, 64)
	if err != nil {
		return fault.New(fault.NotFound, "%.40q is no number of a replay", v.PathValue("replay"))
	}
	if _, err := v.api.CancelReplay(v.Context(), e.ref(), id); err != nil {
		return err
	}
	return back(w, v, e.Path(), "cancelled")
}
