package harness_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/harness"
)

// BenchmarkFilters measures what event subscriptions cost those who push and whom
// they do not want to hear of: p50 and p99 of manifest pushes by one client to the
// real program with 500 subscriptions of 25 conditions each, beside one without any.
// The two are pushed to in turns, in one run.
func BenchmarkFilters(b *testing.B) {
	for _, where := range []string{"first", "last"} {
		b.Run(where+"ConditionFails", func(b *testing.B) {
			none, many := newTarget(b), newTarget(b)
			for i := range 500 {
				body, err := json.Marshal(map[string]any{"properties": map[string]any{
					"destination": map[string]any{"endpointType": "Kafka", "properties": map[string]any{"servers": []string{"127.0.0.1:9"}, "topic": "none"}},
					"filter":      map[string]any{"advancedFilters": conditions(i, where)},
				}})
				if err != nil {
					b.Fatal(err)
				}
				many.s.Must(http.StatusCreated, "PUT", fmt.Sprintf("/api/v1/registries/dockbell/eventSubscriptions/sub-%d", i), http.Header{"Content-Type": {"application/json"}}, body)
			}
			for range 10 { // turns
				none.push(b, 200)
				many.push(b, 200)
			}
			slices.Sort(none.took)
			slices.Sort(many.took)
			for _, q := range []struct {
				name string
				part float64
			}{{"p50", 0.5}, {"p99", 0.99}} {
				with, without := quantile(many.took, q.part), quantile(none.took, q.part)
				b.Logf("push %s %s with, %s without", q.name, with, without)
				b.ReportMetric(float64(with)/float64(without), q.name+"/without")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// conditions are 25, of which one does not hold for what is pushed: the first or the
// last.
func conditions(of int, where string) (all []any) {
	for i := range 24 {
		all = append(all, map[string]any{"operatorType": "StringContains", "key": "data.target.mediaType", "values": []string{"manifest.v1"}})
		if i%2 == 1 {
			all[i] = map[string]any{"operatorType": "NumberGreaterThan", "key": "data.target.size", "value": i}
		}
	}
	never := map[string]any{"operatorType": "StringBeginsWith", "key": "data.target.repository", "values": []string{fmt.Sprintf("other-%d/", of)}}
	if where == "first" {
		return slices.Insert(all, 0, any(never))
	}
	return append(all, never)
}

// target is a server that is pushed to.
type target struct {
	s    *harness.Server
	n    int
	took []time.Duration
}

func newTarget(b *testing.B) *target {
	s := harness.Start(b, b.TempDir())
	if err := s.PushBlob(context.Background(), "app", []byte("{}")); err != nil {
		b.Fatal(err)
	}
	return &target{s: s}
}

func (p *target) push(b *testing.B, n int) {
	for range n {
		p.n++
		at := time.Now()
		tag := fmt.Sprint("t", p.n)
		status, answer, err := p.s.Do(context.Background(), "PUT", "/v2/app/manifests/"+tag, harness.ManifestType, harness.Manifest(tag))
		if err != nil || status != http.StatusCreated {
			b.Fatalf("push: %d %s, %v", status, answer, err)
		}
		p.took = append(p.took, time.Since(at))
	}
}
