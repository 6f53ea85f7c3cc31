package filter

import (
	"fmt"
	"iter"
)

// Set is filters that look at the same events. A condition that several of them have
// is looked at once for each event.
type Set struct {
	filters    []*Filter
	conditions [][]int // of each filter, numbers of those that are the same for all
	distinct   int
}

// NewSet returns a set of filters.
func NewSet(filters ...*Filter) *Set {
	s := &Set{filters: filters, conditions: make([][]int, len(filters))}
	numbers := map[string]int{}
	for i, f := range filters {
		s.conditions[i] = make([]int, len(f.conditions))
		for j, c := range f.conditions {
			same := fmt.Sprintf("%v %#v", f.arrays, c)
			n, ok := numbers[same]
			if !ok {
				n = len(numbers)
				numbers[same] = n
			}
			s.conditions[i][j] = n
		}
	}
	s.distinct = len(numbers)
	return s
}

// What is known of a condition and an event.
const (
	unknown = iota
	holds
	fails
)

// Matching yields the filters, by the order in which the set was made of them, that
// take an event.
func (s *Set) Matching(v *View) iter.Seq[int] {
	return func(yield func(int) bool) {
		var known []uint8 // made for the first condition that is looked at
		for i, f := range s.filters {
			if !f.matchHead(v) {
				continue
			}
			if known == nil && s.distinct > 0 {
				known = make([]uint8, s.distinct)
			}
			if s.all(i, v, known) && !yield(i) {
				return
			}
		}
	}
}

// all reports whether the conditions of a filter hold.
func (s *Set) all(i int, v *View, known []uint8) bool {
	f := s.filters[i]
	for j, n := range s.conditions[i] {
		if known[n] == unknown {
			known[n] = fails
			if c := &f.conditions[j]; c.holds(v.member(c.key), f.arrays) {
				known[n] = holds
			}
		}
		if known[n] == fails {
			return false
		}
	}
	return true
}
