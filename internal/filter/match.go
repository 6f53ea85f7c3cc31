package filter

import (
	"slices"
	"strings"

	"github.com/dockbell/dockbell/internal/event"
)

// Filter is a Definition that is ready to match.
type Filter struct {
	types                uint32 // the bits of the types it takes
	beginsWith, endsWith string // folded, unless exact
	exact, arrays, whole bool
	conditions           []condition
}

// condition is a Condition that is ready to match.
type condition struct {
	key     event.Key
	rule    rule
	wants   kind
	numbers []float64
	ranges  [][2]float64
	texts   []string // folded
	yes     bool
}

// Compile makes a definition ready to match. It fails as Check does.
func Compile(d Definition) (*Filter, error) {
	if err := d.Check(); err != nil {
		return nil, err
	}
	f := &Filter{beginsWith: d.SubjectBeginsWith, endsWith: d.SubjectEndsWith, exact: d.SubjectCaseSensitive, arrays: d.Arrays}
	if !f.exact {
		f.beginsWith, f.endsWith = fold(f.beginsWith), fold(f.endsWith)
	}
	for _, t := range d.types() {
		f.types |= typeBit(t)
	}
	f.whole = f.ofSubjects() && f.types&subjectNeedsWhole != 0
	for _, c := range d.Conditions {
		compiled := c.compile()
		if compiled.key == 0 { // no event has it: that is known now
			if !compiled.rule.missing {
				return &Filter{}, nil
			}
			continue
		}
		f.conditions = append(f.conditions, compiled)
		f.whole = f.whole || needsWhole(compiled.key, f.types)
	}
	return f, nil
}

// types returns the names of the types it takes.
func (d *Definition) types() []string {
	if len(d.EventTypes) == 0 {
		return event.DefaultTypes
	}
	return d.EventTypes
}

func (c *Condition) compile() condition {
	r, _ := ruleOf(c.Operator) // Check knows it
	compiled := condition{key: event.ParseKey(c.Key), rule: r, numbers: slices.Clone(c.Numbers), ranges: slices.Clone(c.Ranges), yes: c.Bool}
	switch r.operand {
	case oneNumber, numbers, ranges:
		compiled.wants = number
	case oneBool:
		compiled.wants = boolean
	case texts:
		compiled.wants = text
	}
	for _, s := range c.Strings {
		compiled.texts = append(compiled.texts, fold(s))
	}
	return compiled
}

// ofSubjects reports whether f looks at subjects.
func (f *Filter) ofSubjects() bool { return f.beginsWith != "" || f.endsWith != "" }

// The members that events have which were read without their records (outbox.Heads),
// and the bits of the types whose subjects those lack.
var (
	inHeads = func() (all [event.Keys]bool) {
		for _, path := range strings.Fields(`id subject type time specversion dataversion metadataversion
			data data.id data.timestamp data.action data.location data.target data.target.repository data.target.tag data.target.digest`) {
			all[event.ParseKey(path)] = true
		}
		return all
	}()
	subjectNeedsWhole = typeBits[event.ChartPush] | typeBits[event.ChartDelete] | typeBits[event.WebhookFailing]
)

// needsWhole reports whether a member of events of the types is in their records
// alone.
func needsWhole(k event.Key, types uint32) bool {
	switch k {
	case event.ParseKey("subject"):
		return types&subjectNeedsWhole != 0
	case event.ParseKey("data.target"):
		return types&typeBits[event.WebhookFailing] != 0
	}
	return !inHeads[k]
}

// NeedsWhole reports whether f looks at more of an event than outbox.Heads returns.
func (f *Filter) NeedsWhole() bool { return f.whole }

// Match reports whether f takes an event. Several may look at one View, one after
// the other.
func (f *Filter) Match(v *View) bool {
	if !f.matchHead(v) {
		return false
	}
	for i := range f.conditions {
		c := &f.conditions[i]
		if !c.holds(v.member(c.key), f.arrays) {
			return false
		}
	}
	return true
}

// matchHead is Match without the conditions.
func (f *Filter) matchHead(v *View) bool {
	if f.types&v.types == 0 {
		return false
	}
	if !f.ofSubjects() {
		return true
	}
	subject, folded := v.subjects()
	if !f.exact {
		subject = folded
	}
	return strings.HasPrefix(subject, f.beginsWith) && strings.HasSuffix(subject, f.endsWith)
}

// holds reports whether c holds of a member; arrays is whether it looks into arrays.
func (c *condition) holds(v *value, arrays bool) bool {
	if c.rule.test == null {
		return (v.kind == missing) != c.rule.not
	}
	switch v.kind {
	case c.wants:
		return c.any(v) != c.rule.not
	case array:
		if !arrays {
			return false
		}
		for i := range v.elems {
			if elem := &v.elems[i]; elem.kind == c.wants && c.any(elem) {
				return !c.rule.not
			}
		}
		return c.rule.not
	}
	return c.rule.missing
}

// any reports whether the test of c holds of a value, which is of the kind that c
// wants, and one of c's operands.
func (c *condition) any(v *value) bool {
	switch c.wants {
	case number:
		for _, r := range c.ranges {
			if r[0] <= v.number && v.number <= r[1] {
				return true
			}
		}
		for _, n := range c.numbers {
			if compare(c.rule.test, v.number, n) {
				return true
			}
		}
	case text:
		for _, s := range c.texts {
			if compareText(c.rule.test, v.text, s) {
				return true
			}
		}
	case boolean:
		return v.yes == c.yes
	}
	return false
}

func compare(t test, v, n float64) bool {
	switch t {
	case less:
		return v < n
	case lessOrEqual:
		return v <= n
	case greater:
		return v > n
	case greaterOrEqual:
		return v >= n
	}
	return v == n
}

func compareText(t test, v, s string) bool {
	switch t {
	case contains:
		return strings.Contains(v, s)
	case begins:
		return strings.HasPrefix(v, s)
	case ends:
		return strings.HasSuffix(v, s)
	}
	return v == s
}
