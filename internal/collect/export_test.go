package collect

// What the tests of this package look at from outside.
const (
	BySchedule = bySchedule
	BySecond   = bySecond
)

var DueAfter = (*Store).dueAfter
