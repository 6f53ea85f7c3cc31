package portal

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

func init() {
	at := inRegistry + "/access"
	addPages(
		route{"GET " + at + "/new-scope-map", showNewMap},
		route{"POST " + at + "/new-scope-map", createMap},
		route{"GET " + at + "/scope-maps/{map}", showMap},
		route{"POST " + at + "/scope-maps/{map}", changeMap},
		route{"POST " + at + "/scope-maps/{map}/delete", deleteMap},
	)
	done["map-made"] = "The scope map is made. Tokens can have it."
	done["map-changed"] = "The scope map is changed; it counts for its tokens from their next request on."
	done["map-deleted"] = "The scope map is deleted."
}

// mapRow is a scope map in the list, or on its page.
type mapRow struct {
	Name, Description string
	BuiltIn           bool
	Lines             []mapLine
	Created           time.Time
}

// mapLine is what a scope map allows in a repository, or in those of a pattern.
type mapLine struct{ Repository, May string }

func newMapRow(m controlclient.ScopeMap) mapRow {
	row := mapRow{Name: m.Name, Description: m.Properties.Description, BuiltIn: m.Properties.Type == "SystemDefined", Lines: mapLines(m.Properties.Actions)}
	row.Created, _ = time.Parse(time.RFC3339, m.Properties.CreationDate)
	return row
}

// mapVerbs are what the actions of scope maps let one do, in the order in which they
// are told.
var mapVerbs = []struct{ action, verb string }{
	{"content/read", "pull"}, {"content/write", "push"}, {"content/delete", "delete"}, {"metadata/read", "read metadata"}, {"metadata/write", "change metadata"},
}

// mapLines tells what actions allow, with one line for each repository. What it does
// not know is told as it is.
func mapLines(actions []string) (lines []mapLine) {
	var names []string
	verbs := map[string][]int{}
	for _, a := range actions {
		name, verb := splitAction(a)
		if verb < 0 {
			lines = append(lines, mapLine{May: a})
			continue
		}
		if verbs[name] == nil {
			names = append(names, name)
		}
		verbs[name] = append(verbs[name], verb)
	}
	for _, name := range names {
		var may []string
		all := verbs[name]
		slices.Sort(all)
		for _, v := range slices.Compact(all) {
			may = append(may, mapVerbs[v].verb)
		}
		lines = append(lines, mapLine{name, strings.Join(may, ", ")})
	}
	return lines
}

// splitAction returns the repository of an action and which of mapVerbs it is, -1 for
// none.
func splitAction(action string) (name string, verb int) {
	rest, ok := strings.CutPrefix(action, "repositories/")
	if !ok {
		return "", -1
	}
	for i, v := range mapVerbs {
		if name, ok := strings.CutSuffix(rest, "/"+v.action); ok {
			return name, i
		}
	}
	return "", -1
}

// mapPage is what the page of a scope map, or of one that is to be made, shows.
type mapPage struct {
	mapRow
	form
	New                 bool
	Tokens              []string // that have it
	MayWrite, MayDelete bool
}

func showNewMap(p *portal, w http.ResponseWriter, v *visit) error {
	return p.renderNewMap(w, v, http.StatusOK, form{})
}

func (p *portal) renderNewMap(w http.ResponseWriter, v *visit, status int, f form) error {
	if err := v.mustMay("scopeMaps/write", "make scope maps"); err != nil {
		return err
	}
	return p.render(w, v.Request, v, status, "scopemap", page{Title: "New scope map", Section: "access", Crumbs: v.accessCrumbs(), Body: mapPage{form: f, New: true, MayWrite: true}})
}

// typedMap returns what the form says.
func typedMap(v *visit) (f form, write controlclient.ScopeMapWrite) {
	f.Typed = map[string]string{"name": strings.TrimSpace(v.PostFormValue("name")), "description": v.PostFormValue("description"), "actions": v.PostFormValue("actions")}
	description := f.Typed["description"]
	write = controlclient.ScopeMapWrite{Description: &description, Actions: []string{}}
	for line := range strings.Lines(f.Typed["actions"]) {
		if line = strings.TrimSpace(line); line != "" {
			write.Actions = append(write.Actions, line)
		}
	}
	return f, write
}

// fieldOfMap tells which field of the form a fault is about.
func fieldOfMap(cause *fault.Error) string {
	switch {
	case cause.Code == badName || cause.Code == "SystemDefinedScopeMap":
		return "name"
	case strings.HasPrefix(cause.Message, "the description"):
		return "description"
	case cause.Code == "InvalidParameter":
		return "actions"
	}
	return ""
}

// createMap makes a scope map; one that is there already is not replaced.
func createMap(p *portal, w http.ResponseWriter, v *visit) error {
	f, write := typedMap(v)
	name := f.Typed["name"]
	err := free("scope map", name, "5 to 50 letters, digits, dashes and underscores, for example team-pull", func() error {
		_, err := v.api.ScopeMap(v.Context(), v.registry, name)
		return err
	})
	if err == nil {
		_, err = v.api.PutScopeMap(v.Context(), v.registry, name, write)
	}
	if err == nil {
		return back(w, v, v.path("access", "scope-maps", name), "map-made")
	}
	status, err := f.refused(err, fieldOfMap)
	if err != nil {
		return err
	}
	return p.renderNewMap(w, v, status, f)
}

func showMap(p *portal, w http.ResponseWriter, v *visit) error {
	return p.renderMap(w, v, http.StatusOK, form{})
}

func (p *portal) renderMap(w http.ResponseWriter, v *visit, status int, f form) error {
	reg, err := v.api.Registry(v.Context(), v.registry)
	if err != nil {
		return err
	}
	m, err := v.api.ScopeMap(v.Context(), v.registry, v.PathValue("map"))
	if err != nil {
		return err
	}
	tokens, err := v.api.Tokens(v.Context(), v.registry)
	if err != nil {
		return err
	}
	b := mapPage{mapRow: newMapRow(m), form: f}
	b.MayWrite, b.MayDelete = !b.BuiltIn && v.may("scopeMaps/write", reg.ID), !b.BuiltIn && v.may("scopeMaps/delete", reg.ID)
	if f.Typed == nil {
		b.Typed = map[string]string{"description": m.Properties.Description, "actions": strings.Join(m.Properties.Actions, "\n")}
	}
	for _, t := range tokens {
		if strings.EqualFold(t.Properties.ScopeMapID, m.ID) {
			b.Tokens = append(b.Tokens, t.Name)
		}
	}
	return p.render(w, v.Request, v, status, "scopemap", page{Title: m.Name, Section: "access", Crumbs: v.accessCrumbs(), Body: b})
}

func changeMap(p *portal, w http.ResponseWriter, v *visit) error {
	f, write := typedMap(v)
	_, err := v.api.PatchScopeMap(v.Context(), v.registry, v.PathValue("map"), write)
	if err == nil {
		return back(w, v, v.path("access", "scope-maps", v.PathValue("map")), "map-changed")
	}
	status, err := f.refused(err, fieldOfMap)
	if err != nil {
		return err
	}
	return p.renderMap(w, v, status, f)
}

func deleteMap(_ *portal, w http.ResponseWriter, v *visit) error {
	if _, err := v.api.DeleteScopeMap(v.Context(), v.registry, v.PathValue("map")); err != nil {
		return err
	}
	return back(w, v, v.path("access"), "map-deleted")
}
