// Package filter decides which events an event subscription wants, as Event Grid
// does: by type, subject, and conditions on any member.
//
// It owns the limits of a filter, its wire form and the meaning of each operator.
// Who has a filter, and which was in force when, is for package subscription; what
// members an event has is for package event.
// Invariant: whether a filter takes an event follows from the two alone.
package filter

// Definition is a filter as its owner wrote it. All parts have to hold. Its JSON is
// Event Grid's, the member "filter" of an event subscription.
type Definition struct {
	EventTypes           []string // exact names, of event.Types; empty means event.DefaultTypes
	SubjectBeginsWith    string   // empty takes every subject
	SubjectEndsWith      string   // likewise
	SubjectCaseSensitive bool     // of the two above alone
	Arrays               bool     // conditions look into arrays
	Conditions           []Condition
}

// Condition is an advanced filter. Which of its operands is there follows from the
// operator.
type Condition struct {
	Operator Operator
	Key      string // of a member, such as data.target.tag, in any case
	Numbers  []float64
	Ranges   [][2]float64 // both ends included
	Strings  []string
	Bool     bool
}

// Operator is an operatorType of Event Grid.
type Operator string

// The operators. Where several values are given, one that holds is enough; of those
// with Not in their names, none may hold.
const (
	NumberLessThan            Operator = "NumberLessThan"
	NumberLessThanOrEquals    Operator = "NumberLessThanOrEquals"
	NumberGreaterThan         Operator = "NumberGreaterThan"
	NumberGreaterThanOrEquals Operator = "NumberGreaterThanOrEquals"
	NumberIn                  Operator = "NumberIn"
	NumberNotIn               Operator = "NumberNotIn"
	NumberInRange             Operator = "NumberInRange"
	NumberNotInRange          Operator = "NumberNotInRange"
	BoolEquals                Operator = "BoolEquals"
	StringIn                  Operator = "StringIn"
	StringNotIn               Operator = "StringNotIn"
	StringContains            Operator = "StringContains"
	StringNotContains         Operator = "StringNotContains"
	StringBeginsWith          Operator = "StringBeginsWith"
	StringNotBeginsWith       Operator = "StringNotBeginsWith"
	StringEndsWith            Operator = "StringEndsWith"
	StringNotEndsWith         Operator = "StringNotEndsWith"
	IsNullOrUndefined         Operator = "IsNullOrUndefined"
	IsNotNull                 Operator = "IsNotNull"
)

// operand is what an operator compares with.
type operand uint8

const (
	noOperand operand = iota
	oneNumber
	numbers
	ranges
	oneBool
	texts
)

// test is how a member is compared with one value.
type test uint8

const (
	null test = iota // is it missing
	less
	lessOrEqual
	greater
	greaterOrEqual
	equal
	within
	contains
	begins
	ends
)

// rule is what an operator means.
type rule struct {
	Operator
	operand operand
	test    test
	not     bool // holds if the test does of no value

	// missing is whether it holds of a member that is missing, is null, or is of a
	// type that the operator does not compare.
	missing bool
}

var rules = [...]rule{
	{NumberLessThan, oneNumber, less, false, false},
	{NumberLessThanOrEquals, oneNumber, lessOrEqual, false, false},
	{NumberGreaterThan, oneNumber, greater, false, false},
	{NumberGreaterThanOrEquals, oneNumber, greaterOrEqual, false, false},
	{NumberIn, numbers, equal, false, false},
	{NumberNotIn, numbers, equal, true, true},
	{NumberInRange, ranges, within, false, false},
	{NumberNotInRange, ranges, within, true, true},
	{BoolEquals, oneBool, equal, false, false},
	{StringIn, texts, equal, false, false},
	{StringNotIn, texts, equal, true, true},
	{StringContains, texts, contains, false, false},
	{StringNotContains, texts, contains, true, false},
	{StringBeginsWith, texts, begins, false, false},
	{StringNotBeginsWith, texts, begins, true, false},
	{StringEndsWith, texts, ends, false, false},
	{StringNotEndsWith, texts, ends, true, false},
	{IsNullOrUndefined, noOperand, null, false, true},
	{IsNotNull, noOperand, null, true, false},
}

// ruleOf returns the rule of an operator, and false for what is none.
func ruleOf(o Operator) (rule, bool) {
	for _, r := range rules {
		if r.Operator == o {
			return r, true
		}
	}
	return rule{}, false
}
