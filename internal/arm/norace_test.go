//go:build !race

package arm_test

// raceEnabled says that the race detector watches.
const raceEnabled = false
