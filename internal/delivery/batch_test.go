package delivery

import (
	"slices"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/ring"
)

// What goes with the first attempt of a queue: nothing that would overtake its like,
// and nothing that goes alone.
func TestCompanions(t *testing.T) {
	type entry struct {
		key    string
		size   int // the multiple by which it is larger than that
		ping   bool
		fed    bool
		crash  int
		replay int64
	}
	for name, test := range map[string]struct {
		limit  ring.Batch // in multiples of the smallest event
		active string
		unpark bool
		queue  []entry // the first is the one that is sent
		want   []int
	}{
		"one alone":                          {ring.Batch{Events: 1}, "", false, []entry{{key: "a"}, {key: "b"}}, nil},
		"all":                                {ring.Batch{Events: 5000}, "", false, []entry{{key: "a"}, {key: "a"}, {key: "b"}}, []int{0, 1, 2}},
		"so many":                            {ring.Batch{Events: 2}, "", false, []entry{{key: "a"}, {key: "b"}, {key: "c"}}, []int{0, 1}},
		"one that is large goes alone":       {ring.Batch{Events: 9, Bytes: 4}, "", false, []entry{{key: "a", size: 20}, {key: "b"}}, []int{0}},
		"up to the bytes":                    {ring.Batch{Events: 9, Bytes: 3}, "", false, []entry{{key: "a"}, {key: "b"}, {key: "c"}, {key: "d"}}, []int{0, 1, 2}},
		"a small one does not overtake":      {ring.Batch{Events: 9, Bytes: 4}, "", false, []entry{{key: "a"}, {key: "b", size: 3}, {key: "b"}}, []int{0}},
		"what waits for one on its way":      {ring.Batch{Events: 9}, "b", false, []entry{{key: "a"}, {key: "b"}, {key: "c"}, {key: "b"}}, []int{0, 2}},
		"while it is not on record as live":  {ring.Batch{Events: 9}, "", true, []entry{{key: "a", fed: true}, {key: "b", fed: true}, {key: "c"}}, []int{0, 1}},
		"a ping takes nothing with it":       {ring.Batch{Events: 9}, "", false, []entry{{key: "a", ping: true}, {key: "b"}}, []int{0}},
		"nor what crashed the server before": {ring.Batch{Events: 9}, "", false, []entry{{key: "a"}, {key: "b", crash: crashLoop - 1}}, []int{0}},
		"each replay by itself":              {ring.Batch{Events: 9}, "", false, []entry{{key: "a", replay: 1}, {key: "b", replay: 2}}, []int{0}},
	} {
		t.Run(name, func(t *testing.T) {
			ep := newEndpoint(1)
			ep.terms.Batch, ep.unparking = test.limit, test.unpark
			smallest := event.EncodedSize(&event.Event{Action: event.Push})
			ep.terms.Batch.Bytes *= smallest
			ep.active[test.active]++
			var jobs []*job
			for _, e := range test.queue {
				ev := &event.Event{Action: event.Push, Target: event.Target{Repository: strings.Repeat("x", e.size*smallest)}}
				if e.ping {
					ev.Action = event.Ping
				}
				jobs = append(jobs, &job{ep: ep, key: e.key, fed: e.fed, crashes: e.crash, replay: e.replay,
					entry: outbox.Entry{Event: ev, ACRBody: make([]byte, e.size*smallest)}})
			}
			ep.queue = slices.Clone(jobs[1:])
			var got []int
			for _, j := range ep.companions(jobs[0]) {
				got = append(got, slices.Index(jobs, j))
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("%v go together, want %v", got, test.want)
			}
			var left []int
			for _, j := range ep.queue {
				left = append(left, slices.Index(jobs, j))
			}
			for i := 1; i < len(jobs); i++ {
				if slices.Contains(got, i) == slices.Contains(left, i) {
					t.Errorf("%v go together and %v are left: number %d is in both or none", got, left, i)
				}
			}
			if !slices.IsSorted(left) {
				t.Errorf("%v are left, want them in order", left)
			}
		})
	}
}
