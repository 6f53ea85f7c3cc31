//go:build race

package app_test

// raceEnabled says that the race detector watches.
const raceEnabled = true
