//go:build race

package auth

// raceEnabled says that the race detector watches.
const raceEnabled = true
