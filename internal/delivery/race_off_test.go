//go:build !race

package delivery

// seeds is how many crash histories run.
const seeds = 8
