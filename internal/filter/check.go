package filter

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
)

// Event Grid's limits.
const (
	maxConditions = 25
	maxValues     = 25  // of all conditions together; a range is one
	maxText       = 512 // characters of a value
)

// Check fails with fault.Invalid (InvalidRequest) for what breaks a rule.
func (d Definition) Check() error {
	for _, name := range d.EventTypes {
		if err := checkType(name); err != nil {
			return err
		}
	}
	if n := len(d.Conditions); n > maxConditions {
		return invalid("the filter has %d advanced filters: it may have %d", n, maxConditions)
	}
	values := 0
	for i := range d.Conditions {
		c := &d.Conditions[i]
		if err := c.check(); err != nil {
			return invalid("%s: %w", c.name(i), err)
		}
		values += c.values()
	}
	if values > maxValues {
		return invalid("the advanced filters have %d values together: they may have %d, where a range counts as one", values, maxValues)
	}
	return nil
}

func checkType(name string) error {
	if typeBit(name) != 0 {
		return nil
	}
	for _, t := range event.Types { // perhaps in another case, or without what is in front
		if last := t[strings.LastIndexByte(t, '.')+1:]; strings.EqualFold(name[strings.LastIndexByte(name, '.')+1:], last) {
			return invalid("event type %q is none of a registry: use %s", clip(name), t)
		}
	}
	last := len(event.Types) - 1
	return invalid("event type %q is none of a registry: use %s or %s", clip(name), strings.Join(event.Types[:last], ", "), event.Types[last])
}

// name says which condition it is that is wrong.
func (c *Condition) name(i int) string {
	name := fmt.Sprintf("advanced filter %d", i+1)
	switch operator, key := clip(string(c.Operator)), clip(c.Key); {
	case operator != "" && key != "":
		return name + " (" + operator + " of " + key + ")"
	case operator+key != "":
		return name + " (" + operator + key + ")"
	}
	return name
}

// check returns what is wrong with a condition, to be read after its name.
func (c *Condition) check() error {
	r, ok := ruleOf(c.Operator)
	switch {
	case c.Operator == "":
		return fmt.Errorf("it has no operatorType: use %s", operatorsText())
	case !ok:
		return fmt.Errorf("operatorType %q is not known: use %s", clip(string(c.Operator)), operatorsText())
	case c.Key == "":
		return errors.New("it has no key: name a member of events, for example data.target.tag")
	case strings.HasPrefix(c.Key, ".") || strings.HasSuffix(c.Key, ".") || strings.Contains(c.Key, ".."):
		return fmt.Errorf("key %q has an empty part: write names with one full stop between them, for example data.target.tag", clip(c.Key))
	case utf8.RuneCountInString(c.Key) > maxText:
		return fmt.Errorf("its key has %d characters: it may have %d", utf8.RuneCountInString(c.Key), maxText)
	}
	return c.checkOperand(r.operand)
}

// checkOperand checks that the operand is there which is wanted, alone, and within
// the limits.
func (c *Condition) checkOperand(wanted operand) error {
	has := map[operand]int{numbers: len(c.Numbers), ranges: len(c.Ranges), texts: len(c.Strings)}
	if c.Bool {
		has[oneBool] = 1
	}
	list := wanted // the operand's list
	if wanted == oneNumber {
		list = numbers
	}
	for other, n := range has {
		if n > 0 && other != list {
			return errWanted(wanted)
		}
	}
	switch {
	case wanted == noOperand, wanted == oneBool:
		return nil
	case has[list] == 0, wanted == oneNumber && len(c.Numbers) > 1:
		return errWanted(wanted)
	}
	for _, n := range c.Numbers {
		if !finite(n) {
			return fmt.Errorf("%v is no number to compare with: use a finite one", n)
		}
	}
	for _, r := range c.Ranges {
		low, high := r[0], r[1]
		switch {
		case !finite(low), !finite(high):
			return fmt.Errorf("[%v, %v] is no range to compare with: use finite numbers", low, high)
		case low > high:
			return fmt.Errorf("range [%[1]s, %[2]s] has no number in it: give the lower end first, [%[2]s, %[1]s]", format(low), format(high))
		}
	}
	for _, s := range c.Strings {
		if n := utf8.RuneCountInString(s); n > maxText {
			return fmt.Errorf("value %q has %d characters: it may have %d", clip(s), n, maxText)
		}
	}
	return nil
}

// errWanted says what an operator compares with.
func errWanted(o operand) error {
	return fmt.Errorf("its operand is not right: %s", [...]string{
		noOperand: `leave out "value" and "values"`,
		oneNumber: `give one number, as in "value": 4096`,
		numbers:   `give numbers, as in "values": [1, 2]`,
		ranges:    `give ranges of numbers, as in "values": [[1, 100], [200, 300]]`,
		oneBool:   `give "value": true or "value": false`,
		texts:     `give strings, as in "values": ["v1.", "v2."]`,
	}[o])
}

// values returns how many of Event Grid's limit a condition takes.
func (c *Condition) values() int {
	if c.Operator == BoolEquals {
		return 1
	}
	return len(c.Numbers) + len(c.Ranges) + len(c.Strings)
}

func finite(n float64) bool { return !math.IsNaN(n) && !math.IsInf(n, 0) }

func format(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }

func operatorsText() string {
	var b strings.Builder
	for i, r := range rules {
		switch {
		case i == len(rules)-1:
			b.WriteString(" or ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(string(r.Operator))
	}
	return b.String()
}

func invalid(format string, args ...any) error {
	return fault.New(fault.Invalid, "%s", fmt.Errorf(format, args...).Error()).WithCode("InvalidRequest")
}

// clip returns what of a text is shown to people.
func clip(s string) string {
	const most = 100
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
