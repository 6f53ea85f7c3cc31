//go:build race

package harness_test

// raceEnabled says that the race detector watches, under which SQLite takes
// eight times as long.
const raceEnabled = true
