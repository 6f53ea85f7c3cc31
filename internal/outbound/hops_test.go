package outbound

import (
	"net/http"
	"strings"
	"testing"
)

func TestLoop(t *testing.T) {
	t.Parallel()
	eight := "1, 2, 3, 4, 5, 6, 7, 8"
	for _, tt := range []struct {
		hops string
		want bool
	}{
		{"", false},
		{"a", true},
		{"b", false},
		{"b, a", true},
		{"a,b", true},
		{"b ,\ta , c", true},
		{"aa, ab", false},
		{"A", false}, // ids are no names: case matters
		{eight, false},
		{eight + ", 9", true},
		{" , ,, b", false},
		{strings.Repeat(",", 1025), true},
		{"b" + strings.Repeat("b", 1024), true},
	} {
		if got := Loop(tt.hops, "a"); got != tt.want {
			t.Errorf("Loop(%.40q) = %v", tt.hops, got)
		}
	}
}

// TestHopsAreSent: checklist point 6. Each server adds itself, so that a circle
// of them ends at whichever sees itself first.
func TestHopsAreSent(t *testing.T) {
	t.Parallel()
	got := make(chan []string, 1)
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) { got <- r.Header[HopsHeader] })
	for _, tt := range []struct{ id, hops, want string }{
		{"b", "", "b"},
		{"b", "a", "a, b"},
		{"b", " x, a ", "x, a, b"},
		{"", "", ""},
		{"", "a", ""},
	} {
		c := New(Options{Policy: loopback, ID: tt.id})
		res := c.Post(t.Context(), Request{URL: s.URL, Hops: tt.hops, Timeout: patience})
		want(t, res, None, "")
		if hops := strings.Join(<-got, "|"); hops != tt.want || res.Sent.Header[HopsHeader] != tt.want {
			t.Errorf("id %q, hops %q: sent %q, kept %q, want %q", tt.id, tt.hops, hops, res.Sent.Header[HopsHeader], tt.want)
		}
		c.Close()
	}
}

// FuzzLoop has servers pass a request on, each adding itself: whatever it began
// with, it never gets far.
func FuzzLoop(f *testing.F) {
	for _, s := range []string{"", "a, b", "a,a,a", ",,,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, hops string) {
		for n := 0; ; n++ {
			if Loop(hops, "me") {
				return
			}
			if hops = appendHop(hops, "other"); n > MaxHops {
				t.Fatalf("%q came through %d servers", hops, n)
			}
			if !Loop(hops, "other") {
				t.Fatalf("the server that sent %q does not know it", hops)
			}
		}
	})
}
