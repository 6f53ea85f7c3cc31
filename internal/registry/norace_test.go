//go:build !race

package registry_test

// raceEnabled says that the race detector watches.
const raceEnabled = false
