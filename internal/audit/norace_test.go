//go:build !race

package audit_test

// raceEnabled says that the race detector watches.
const raceEnabled = false
