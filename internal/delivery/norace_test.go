//go:build !race

package delivery

// raceEnabled says that the race detector watches.
const raceEnabled = false
