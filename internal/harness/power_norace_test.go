//go:build !race

package harness_test

// raceEnabled says that the race detector watches.
const raceEnabled = false
