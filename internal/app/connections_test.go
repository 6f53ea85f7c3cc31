package app

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
)

func TestGate(t *testing.T) {
	t.Parallel()
	var told bytes.Buffer
	proxy := netip.MustParseAddr("10.0.0.1")
	g := &gate{most: 6, perAddress: 2, exempt: func(a netip.Addr) bool { return a == proxy }, log: slog.New(slog.NewTextHandler(&told, nil))}
	addr := netip.MustParseAddr
	for i, step := range []struct {
		from  string
		leave bool
		in    bool
	}{
		{"192.0.2.1", false, true},
		{"::ffff:192.0.2.1", false, true}, // the same, as a socket for both families names it
		{"192.0.2.1", false, false},
		{"192.0.2.2", false, true},
		{"192.0.2.1", true, true},
		{"192.0.2.1", false, true},
		{"192.0.2.1", true, true},
		{"2001:db8::1", false, true},
		{"2001:db8::ffff:1", false, true},
		{"2001:db8::2", false, false}, // a network of 64 bits is one client
		{"2001:db8:0:1::2", false, true},
		{"192.0.2.1", false, true},
		{"192.0.2.9", false, false}, // six in all
		{"10.0.0.1", false, false},  // also for a proxy
		{"2001:db8::2", true, true},
		{"2001:db8::2", true, true},
		{"192.0.2.2", true, true},
		{"10.0.0.1", false, true},
		{"10.0.0.1", false, true},
		{"10.0.0.1", false, true},
	} {
		if step.leave {
			g.leave(addr(step.from))
		} else if in := g.enter(addr(step.from)); in != step.in {
			t.Errorf("step %d: %s is let in: %t", i, step.from, in)
		}
	}
	if g.open != 6 || len(g.from) != 3 {
		t.Errorf("%d are open, from %v", g.open, g.from)
	}
	for _, from := range []string{"192.0.2.1", "192.0.2.1", "2001:db8:0:1::", "10.0.0.1", "10.0.0.1", "10.0.0.1"} {
		g.leave(addr(from))
	}
	if g.open != 0 || len(g.from) != 0 {
		t.Errorf("when all have left %d are open, from %v", g.open, g.from)
	}
	if n := strings.Count(told.String(), "\n"); n != 1 || !strings.Contains(told.String(), "--max-connections-per-address") || !strings.Contains(told.String(), "192.0.2.1/32") {
		t.Errorf("the log is told %d times:\n%s", n, &told)
	}
}

func TestRoomFor(t *testing.T) {
	t.Parallel()
	for files, want := range map[uint64]int{256: 192, 1024: 768, 1 << 20: 786432, 1<<64 - 1: 1 << 20} {
		if got := roomFor(files); got != want {
			t.Errorf("%d files: room for %d connections, want %d", files, got, want)
		}
	}
}
