package filter

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/dockbell/dockbell/internal/event"
)

// What is read of a filter. Members are read one by one, so that an error can name
// the one.
type (
	readDefinition struct {
		SubjectBeginsWith json.RawMessage `json:"subjectBeginsWith"`
		SubjectEndsWith   json.RawMessage `json:"subjectEndsWith"`
		EventTypes        json.RawMessage `json:"includedEventTypes"`
		CaseSensitive     json.RawMessage `json:"isSubjectCaseSensitive"`
		Arrays            json.RawMessage `json:"enableAdvancedFilteringOnArrays"`
		Conditions        json.RawMessage `json:"advancedFilters"`
	}
	readCondition struct {
		Operator json.RawMessage `json:"operatorType"`
		Key      json.RawMessage `json:"key"`
		Value    json.RawMessage `json:"value"`
		Values   json.RawMessage `json:"values"`
	}
)

// UnmarshalJSON reads a filter as Event Grid does: what is null is as if it were not
// there, operators and names of members may be in any case, "All" means the default
// set, and whether an operand is in value or values does not matter. What is of a
// wrong type fails with fault.Invalid (InvalidRequest). All else is for Check.
func (d *Definition) UnmarshalJSON(data []byte) error {
	if isNull(data) {
		return nil
	}
	var in readDefinition
	if json.Unmarshal(data, &in) != nil {
		return invalid(`the filter is not an object: give members as in {"subjectBeginsWith": "team/"}, or none`)
	}
	var out Definition
	for _, m := range []struct {
		name string
		raw  json.RawMessage
		into any
		want string
	}{
		{"subjectBeginsWith", in.SubjectBeginsWith, &out.SubjectBeginsWith, "a string"},
		{"subjectEndsWith", in.SubjectEndsWith, &out.SubjectEndsWith, "a string"},
		{"isSubjectCaseSensitive", in.CaseSensitive, &out.SubjectCaseSensitive, "true or false"},
		{"enableAdvancedFilteringOnArrays", in.Arrays, &out.Arrays, "true or false"},
	} {
		if !isNull(m.raw) && json.Unmarshal(m.raw, m.into) != nil {
			return invalid("%s of the filter is %s: give %s", m.name, clip(string(m.raw)), m.want)
		}
	}
	types, ok := list[string](in.EventTypes)
	if !ok {
		return invalid("includedEventTypes of the filter is %s: give a list of strings", clip(string(in.EventTypes)))
	}
	if !slices.ContainsFunc(types, func(t string) bool { return strings.EqualFold(t, "All") }) && !slices.Equal(types, event.DefaultTypes) {
		out.EventTypes = types
	}
	var conditions []readCondition
	if !isNull(in.Conditions) && json.Unmarshal(in.Conditions, &conditions) != nil {
		return invalid(`advancedFilters of the filter is %s: give a list of objects such as {"operatorType": "StringIn", "key": "data.target.tag", "values": ["v1"]}`, clip(string(in.Conditions)))
	}
	for i, c := range conditions {
		read, err := c.read()
		if err != nil {
			return invalid("%s: %w", read.name(i), err)
		}
		out.Conditions = append(out.Conditions, read)
	}
	*d = out
	return nil
}

// read returns a condition, and what is wrong with it, to be read after its name.
func (in readCondition) read() (c Condition, err error) {
	var operator string
	if !isNull(in.Operator) && json.Unmarshal(in.Operator, &operator) != nil || !isNull(in.Key) && json.Unmarshal(in.Key, &c.Key) != nil {
		return c, errors.New("operatorType and key have to be strings")
	}
	c.Operator = Operator(operator)
	var r rule
	for _, known := range rules {
		if strings.EqualFold(operator, string(known.Operator)) {
			r, c.Operator = known, known.Operator
		}
	}
	if r.Operator == "" {
		return c, nil // Check says what there is
	}
	raw := in.Values
	if isNull(raw) {
		raw = in.Value
	}
	ok, yes := true, []bool(nil)
	switch r.operand {
	case noOperand:
		ok = isNull(raw)
	case oneNumber, numbers:
		c.Numbers, ok = list[float64](raw)
	case texts:
		c.Strings, ok = list[string](raw)
	case ranges:
		c.Ranges, ok = readRanges(raw)
	case oneBool:
		yes, ok = list[bool](raw)
		if ok = ok && len(yes) == 1; ok {
			c.Bool = yes[0]
		}
	}
	if !ok {
		return c, errWanted(r.operand)
	}
	return c, nil
}

// list reads a list, or one value as a list of one. Null is an empty list; null
// within a list is an error.
func list[T any](raw json.RawMessage) ([]T, bool) {
	if isNull(raw) {
		return nil, true
	}
	var one T
	if json.Unmarshal(raw, &one) == nil {
		return []T{one}, true
	}
	var many []*T
	if json.Unmarshal(raw, &many) != nil {
		return nil, false
	}
	var all []T
	for _, v := range many {
		if v == nil {
			return nil, false
		}
		all = append(all, *v)
	}
	return all, true
}

// readRanges reads a list of pairs.
func readRanges(raw json.RawMessage) ([][2]float64, bool) {
	pairs, ok := list[[]*float64](raw)
	if isNull(raw) {
		return nil, true
	}
	var all [][2]float64
	for _, p := range pairs {
		if len(p) != 2 || p[0] == nil || p[1] == nil {
			return nil, false
		}
		all = append(all, [2]float64{*p[0], *p[1]})
	}
	return all, ok
}

// isNull reports whether a member is not there, or null.
func isNull(raw json.RawMessage) bool {
	return len(raw) == 0 || bytes.Equal(raw, []byte("null"))
}

// What is written of a filter, as Event Grid answers.
type (
	writtenDefinition struct {
		SubjectBeginsWith string             `json:"subjectBeginsWith"`
		SubjectEndsWith   string             `json:"subjectEndsWith"`
		EventTypes        []string           `json:"includedEventTypes"`
		CaseSensitive     bool               `json:"isSubjectCaseSensitive,omitempty"`
		Arrays            *bool              `json:"enableAdvancedFilteringOnArrays"`
		Conditions        []writtenCondition `json:"advancedFilters"`
	}
	writtenCondition struct {
		Operator Operator `json:"operatorType"`
		Key      string   `json:"key"`
		Value    any      `json:"value,omitempty"`
		Values   any      `json:"values,omitempty"`
	}
)

// MarshalJSON writes a filter as Event Grid answers: with the default set for
// EventTypes that are empty.
func (d Definition) MarshalJSON() ([]byte, error) {
	out := writtenDefinition{d.SubjectBeginsWith, d.SubjectEndsWith, d.types(), d.SubjectCaseSensitive, nil, []writtenCondition{}}
	if d.Arrays {
		out.Arrays = &d.Arrays
	}
	for i := range d.Conditions {
		c := &d.Conditions[i]
		w := writtenCondition{Operator: c.Operator, Key: c.Key}
		switch r, _ := ruleOf(c.Operator); {
		case r.operand == oneBool:
			w.Value = c.Bool
		case r.operand == oneNumber && len(c.Numbers) == 1:
			w.Value = c.Numbers[0]
		case len(c.Numbers) > 0:
			w.Values = c.Numbers
		case len(c.Ranges) > 0:
			w.Values = c.Ranges
		case len(c.Strings) > 0:
			w.Values = c.Strings
		}
		out.Conditions = append(out.Conditions, w)
	}
	return json.Marshal(out)
}
