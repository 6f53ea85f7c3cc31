//go:build race

package delivery

// seeds is how many crash histories run: SQLite is many times slower under the
// race detector.
const seeds = 2
