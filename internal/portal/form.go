package portal

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
)

// editForm is what people fill in. What they typed is in it again when something of it
// was wrong.
type editForm struct {
	Action  string // where it goes
	Check   string // where a script asks what is wrong; empty: nowhere
	Problem string // what is wrong with it as a whole
	Groups  []editGroup
	Submit  string
	Cancel  string // address
}

// editGroup is fields that belong together.
type editGroup struct {
	Title  string // empty: they stand by themselves
	Folded bool   // few people need them
	Fields []editField
}

// editField is one of a form.
type editField struct {
	Name, Label, Help string
	Kind              string // text, number, password, area, select, checks or check
	Value             string
	Choices           []editChoice
	Placeholder       string
	Wrong             string // what is wrong with it
	Required          bool
}

// editChoice is one of a select or of checks.
type editChoice struct {
	Value, Text string
	Group       string // a heading, where it is not the one of the choice before
	Chosen      bool
}

// mark puts what is wrong beside the fields, and opens the groups that hold them.
func (f *editForm) mark(wrong map[string]string) {
	for i := range f.Groups {
		g := &f.Groups[i]
		for j := range g.Fields {
			if text := wrong[g.Fields[j].Name]; text != "" {
				g.Fields[j].Wrong, g.Folded = text, false
			}
		}
	}
}

// typedForm is a form as it was sent, or filled with what there is.
type typedForm struct {
	url.Values
	wrong map[string]string // by field: what is no number, or no line of its kind
}

// typed reads the form that was sent.
func (v *visit) typed() (*typedForm, error) {
	if err := v.ParseForm(); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the form cannot be read: it may have %d bytes", maxForm)
	}
	return &typedForm{v.PostForm, map[string]string{}}, nil
}

func (t *typedForm) text(name string) string { return strings.TrimSpace(t.Get(name)) }

// list reads a field of lines.
func (t *typedForm) list(name string) []string {
	all := []string{}
	for line := range strings.Lines(t.Get(name)) {
		if line = strings.TrimSpace(line); line != "" {
			all = append(all, line)
		}
	}
	return all
}

// lines reads a field of lines, each a name and a value.
func (t *typedForm) lines(name, separator, example string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(t.Get(name)) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		key, value, ok := strings.Cut(line, separator)
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		switch _, twice := all[key]; {
		case !ok || key == "":
			// The line is not repeated: it may be a secret.
			t.wrong[name] = "There is a line without a name and a " + separator + ": write " + example
		case twice:
			t.wrong[name] = fmt.Sprintf("%.80s is given twice: give it once", key)
		}
		all[key] = value
	}
	return all
}

// number reads a field that is a whole number, or empty.
func (t *typedForm) number(name string) *int {
	text := strings.TrimSpace(t.Get(name))
	if text == "" {
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.wrong[name] = fmt.Sprintf("%.40q is no whole number", text)
		return nil
	}
	return &n
}

func (t *typedForm) chosen(name, value string) bool { return slices.Contains(t.Values[name], value) }

// pick makes choices of pairs of a value and its text.
func (t *typedForm) pick(name string, pairs ...string) (all []editChoice) {
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, editChoice{Value: pairs[i], Text: pairs[i+1], Chosen: t.chosen(name, pairs[i])})
	}
	return all
}

// field, count, area and choose make fields that hold what was typed.
func (t *typedForm) field(name, label, help, placeholder string) editField {
	return editField{Name: name, Label: label, Kind: "text", Value: t.Get(name), Help: help, Placeholder: placeholder}
}

func (t *typedForm) count(name, label, help string) editField {
	return editField{Name: name, Label: label, Kind: "number", Value: t.Get(name), Help: help}
}

func (t *typedForm) area(name, label, help, placeholder string) editField {
	return editField{Name: name, Label: label, Kind: "area", Value: t.Get(name), Help: help, Placeholder: placeholder}
}

func (t *typedForm) choose(name, label string, pairs ...string) editField {
	return editField{Name: name, Label: label, Kind: "select", Choices: t.pick(name, pairs...)}
}
