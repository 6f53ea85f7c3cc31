package cli

import (
	"math"
	"strconv"
	"strings"

	"github.com/dockbell/dockbell/internal/controlclient"
)

// operand is what an operator of a condition compares with.
type operand int

const (
	noOperand operand = iota
	oneNumber
	someNumbers
	someRanges
	oneBool
	someStrings
)

// operators are those of Event Grid's advanced filters.
var operators = []struct {
	name    string
	operand operand
}{
	{"NumberLessThan", oneNumber}, {"NumberLessThanOrEquals", oneNumber},
	{"NumberGreaterThan", oneNumber}, {"NumberGreaterThanOrEquals", oneNumber},
	{"NumberIn", someNumbers}, {"NumberNotIn", someNumbers},
	{"NumberInRange", someRanges}, {"NumberNotInRange", someRanges},
	{"BoolEquals", oneBool},
	{"StringIn", someStrings}, {"StringNotIn", someStrings},
	{"StringContains", someStrings}, {"StringNotContains", someStrings},
	{"StringBeginsWith", someStrings}, {"StringNotBeginsWith", someStrings},
	{"StringEndsWith", someStrings}, {"StringNotEndsWith", someStrings},
	{"IsNullOrUndefined", noOperand}, {"IsNotNull", noOperand},
}

// operatorNames are the names of operators.
func operatorNames() []string {
	names := make([]string, len(operators))
	for i, o := range operators {
		names[i] = o.name
	}
	return names
}

// parseCondition reads KEY OPERATOR VALUES. Operators and booleans are in any
// case.
func parseCondition(words []string) (controlclient.AdvancedFilter, error) {
	if len(words) < 2 {
		return controlclient.AdvancedFilter{}, Usage("write KEY OPERATOR VALUES, for example data.target.tag StringBeginsWith v1. v2.")
	}
	return condition(words[0], words[1], words[2:])
}

// condition makes a condition of its parts.
func condition(key, operator string, values []string) (f controlclient.AdvancedFilter, err error) {
	if key == "" {
		return f, Usage("the key is empty: name a member of the event, such as data.target.tag")
	}
	name, err := choose(operator, operatorNames())
	if err != nil {
		return f, Usage("operator %s", err)
	}
	f.Key, f.OperatorType = key, name
	kind := noOperand
	for _, o := range operators {
		if o.name == name {
			kind = o.operand
		}
	}
	switch {
	case kind == noOperand && len(values) > 0:
		return f, Usage("%s compares with nothing: leave out %q", name, clipped(values[0]))
	case kind != noOperand && len(values) == 0:
		return f, Usage("%s %s has no value to compare with", clipped(key), name)
	case (kind == oneNumber || kind == oneBool) && len(values) > 1:
		return f, Usage("%s compares with one value, and %q is a second", name, clipped(values[1]))
	}
	for _, text := range values {
		var value any = text
		switch kind {
		case oneNumber, someNumbers:
			value, err = finite(text)
		case oneBool:
			if !isTruth(text) {
				err = Usage("%q is not one of true, false", clipped(text))
			}
			value = strings.EqualFold(text, "true")
		case someRanges:
			value, err = parseRange(text)
		}
		if err != nil {
			return f, Usage("%s: %s", name, err)
		}
		f.Values = append(f.Values, value)
	}
	if kind == oneNumber || kind == oneBool {
		f.Value, f.Values = f.Values[0], nil
	}
	return f, nil
}

// finite reads a number.
func finite(text string) (float64, error) {
	n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || math.IsInf(n, 0) || math.IsNaN(n) {
		return 0, Usage("%q is no number", clipped(text))
	}
	return n, nil
}

// parseRange reads a range, whose ends are both in it: 1,10.
func parseRange(text string) (any, error) {
	low, high, ok := strings.Cut(text, ",")
	from, err := finite(low)
	to, err2 := finite(high)
	if !ok || err != nil || err2 != nil || from > to {
		return nil, Usage("%q is no range: write its ends like 1,10", clipped(text))
	}
	return []any{from, to}, nil
}

// conditionList is a list flag of one condition, which may be given more than
// once. "" alone makes an empty list.
type conditionList struct {
	conditions []controlclient.AdvancedFilter // nil while the flag was not given
}

// Set adds a condition.
func (l *conditionList) Set(s string) error {
	if s == "" {
		l.conditions = []controlclient.AdvancedFilter{}
		return nil
	}
	c, err := parseCondition(strings.Split(s, separator))
	l.conditions = append(l.conditions, c)
	return err
}

// String returns nothing, which is the default that help shows.
func (l *conditionList) String() string { return "" }

// Type returns the word for the value in help.
func (l *conditionList) Type() string { return listType }

// attributeList is a list flag of one delivery attribute, which may be given more
// than once. "" alone makes an empty list. No error repeats a value, which may be
// secret.
type attributeList struct {
	attributes []controlclient.DeliveryAttribute // nil while the flag was not given
}

// Set adds an attribute.
func (l *attributeList) Set(s string) error {
	if s == "" {
		l.attributes = []controlclient.DeliveryAttribute{}
		return nil
	}
	words := strings.Split(s, separator)
	if len(words) < 3 || words[0] == "" {
		return Usage("write NAME static VALUE true, NAME static VALUE false, or NAME dynamic MEMBER, for example X-Repository dynamic data.target.repository")
	}
	kind, err := choose(words[1], []string{"static", "dynamic"})
	if err != nil {
		return Usage("the second word: %s", err)
	}
	if kind == "dynamic" {
		if len(words) > 3 {
			return Usage("%s: a dynamic attribute has a name and a member of the event, and no more", clipped(words[0]))
		}
		l.attributes = append(l.attributes, dynamicAttribute(words[0], words[2]))
		return nil
	}
	secret := false
	if len(words) > 3 {
		if len(words) > 4 || !isTruth(words[3]) {
			return Usage("%s: behind the value there is true, if it is secret, or false; a value with blanks is put in quotes", clipped(words[0]))
		}
		secret = strings.EqualFold(words[3], "true")
	}
	l.attributes = append(l.attributes, staticAttribute(words[0], words[2], secret))
	return nil
}

// String returns nothing, which is the default that help shows.
func (l *attributeList) String() string { return "" }

// Type returns the word for the value in help.
func (l *attributeList) Type() string { return listType }

func staticAttribute(name, value string, secret bool) controlclient.DeliveryAttribute {
	return controlclient.DeliveryAttribute{Name: name, Type: "Static", Properties: controlclient.DeliveryAttributeProperties{Value: &value, IsSecret: &secret}}
}

func dynamicAttribute(name, field string) controlclient.DeliveryAttribute {
	return controlclient.DeliveryAttribute{Name: name, Type: "Dynamic", Properties: controlclient.DeliveryAttributeProperties{SourceField: field}}
}
