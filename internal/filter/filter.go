// Package filter decides which events an event subscription wants, as Event Grid
// does: by type, subject, and conditions on any member.
//
// It owns the limits of a filter, its wire form and the meaning of each operator.
// Who has a filter, and which was in force when, is for package subscription.
// Invariant: whether a filter takes an event follows from the two alone.
package filter

// Definition is a filter as its owner wrote it. All parts have to hold. Its JSON is
// Event Grid's, the member "filter" of an event subscription.
type Definition struct {
	EventTypes           []string // exact names; nil means the default set: Event Grid's four types
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
