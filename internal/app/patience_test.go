package app

import (
	"testing"
	"time"
)

func TestPatience(t *testing.T) {
	t.Parallel()
	type wait struct {
		waited time.Duration
		moved  int64
	}
	for _, tt := range []struct {
		name  string
		waits []wait
		want  time.Duration
	}{
		{"nothing yet", nil, time.Minute},
		{"a stall", []wait{{time.Minute, 0}}, 0},
		{"stalls add up", []wait{{30 * time.Second, 1}, {20 * time.Second, 1}}, 10*time.Second + 2*(time.Second/1024)},
		{"nothing is saved", []wait{{0, 1 << 30}, {time.Minute, 0}}, 0},
		{"as slow as may be", []wait{{50 * time.Second, 50 << 10}, {50 * time.Second, 50 << 10}, {50 * time.Second, 50 << 10}}, time.Minute},
		{"half of that", []wait{{40 * time.Second, 20 << 10}, {40 * time.Second, 20 << 10}}, 20 * time.Second},
		{"a burst makes good", []wait{{59 * time.Second, 1 << 20}}, time.Minute},
		{"more than can be counted in a wait", []wait{{time.Second, 8 << 30}}, time.Minute},
	} {
		p := newPatience(time.Minute, 1<<10)
		for _, w := range tt.waits {
			p.spend(w.waited, w.moved)
		}
		if p.left != tt.want {
			t.Errorf("%s: %v left, want %v", tt.name, p.left, tt.want)
		}
	}
}
