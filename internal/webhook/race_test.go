//go:build race

package webhook

// raceEnabled says that the race detector watches.
const raceEnabled = true
