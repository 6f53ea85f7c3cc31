package portal

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/dockbell/dockbell/internal/controlclient"
)

var noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

// lastHour returns the figures of an hour, of which the points at some minutes are
// given.
func lastHour(points map[int]controlclient.Counts) controlclient.Statistics {
	s := controlclient.Statistics{Since: noon, Until: noon.Add(time.Hour), Step: controlclient.ByMinute}
	for minute := range 60 {
		c, ok := points[minute]
		if !ok {
			continue
		}
		s.Points = append(s.Points, controlclient.Point{At: noon.Add(time.Duration(minute) * time.Minute), Counts: c})
		s.Delivered += c.Delivered
		s.Refused += c.Refused
		s.Failed += c.Failed
		s.Interrupted += c.Interrupted
		s.P50, s.P95, s.P99 = max(s.P50, c.P50), max(s.P95, c.P95), max(s.P99, c.P99)
	}
	return s
}

func TestRoundUp(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]int64{0: 1, 1: 1, 2: 2, 3: 4, 5: 6, 7: 8, 9: 10, 10: 10, 11: 20, 41: 60, 99: 100, 101: 200, 999_999: 1_000_000} {
		if got := roundUp(n); got != want {
			t.Errorf("the axis for %d ends at %d, want %d", n, got, want)
		}
	}
}

// What was tried can be seen, stands on each other without a gap, and stays within
// the box.
func TestStack(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		counts  controlclient.Counts
		top     int64
		classes string
	}{
		{"nothing", controlclient.Counts{}, 10, ""},
		{"one", controlclient.Counts{Delivered: 1}, 1, "good"},
		{"all", controlclient.Counts{Delivered: 4, Refused: 3, Failed: 2, Interrupted: 1}, 10, "good rest wait bad"},
		{"one failure among a million", controlclient.Counts{Delivered: 999_999, Failed: 1}, 1_000_000, "good bad"},
		{"little of each beside much", controlclient.Counts{Delivered: 10_000, Refused: 1, Failed: 1, Interrupted: 1}, 10_000, "good rest wait bad"},
	} {
		bars := stack(test.counts, test.top, 59, 60, plotWidth, plotHeight)
		var classes []string
		lower := float64(plotHeight)
		for _, b := range bars {
			classes = append(classes, b.Class)
			if b.Height < 1.9 || b.Y < 0 || math.Abs(b.Y+b.Height-lower) > 0.2 || b.X < 0 || b.X+b.Width > plotWidth || b.Width <= 0 {
				t.Errorf("%s: %+v does not stand at %v", test.name, b, lower)
			}
			lower = b.Y
		}
		if got := strings.Join(classes, " "); got != test.classes {
			t.Errorf("%s: drawn are %q, want %q", test.name, got, test.classes)
		}
	}
	if b := stack(controlclient.Counts{Delivered: 5}, 10, 0, 10, plotWidth, plotHeight)[0]; b.Height != plotHeight/2 || b.Y != plotHeight/2 {
		t.Errorf("half of the axis is %+v", b)
	}
}

func TestDeliveriesChart(t *testing.T) {
	t.Parallel()
	empty := newDeliveriesChart(lastHour(nil))
	if empty.Empty != "Nothing was sent in the last 60 min." || empty.Columns != nil {
		t.Errorf("empty: %+v", empty)
	}
	one := newDeliveriesChart(lastHour(map[int]controlclient.Counts{59: {Delivered: 1}}))
	if len(one.Columns) != 1 || strings.Join(one.Y, " ") != "1 0" || one.Columns[0].Bars[0].Height != plotHeight {
		t.Errorf("one: %+v", one)
	}
	some := lastHour(map[int]controlclient.Counts{0: {Delivered: 1200, Failed: 3}, 30: {Refused: 2}})
	some.Points = append(some.Points, controlclient.Point{At: noon.Add(-time.Hour), Counts: controlclient.Counts{Delivered: 1}}) // of no step
	c := newDeliveriesChart(some)
	if len(c.Columns) != 2 || strings.Join(c.Y, " ") != "2\u202f000 1\u202f000 0" || c.Columns[0].Title != "14 Mar 12:00 UTC: 1\u202f200 delivered, 3 failed" ||
		c.Desc != "1\u202f200 delivered, 2 refused, 3 failed in the last 60 min, at most 1\u202f203 in one minute" || c.X[0] != "60 min ago" || c.X[1] != "30 min ago" {
		t.Errorf("%+v", c)
	}
}

func TestLatencyChart(t *testing.T) {
	t.Parallel()
	if c := newLatencyChart(lastHour(map[int]controlclient.Counts{3: {Failed: 7}})); c.Empty == "" || c.Lines != nil {
		t.Errorf("without an answer: %+v", c)
	}
	one := newLatencyChart(lastHour(map[int]controlclient.Counts{30: {Delivered: 1, P50: 10, P95: 10, P99: 10}}))
	if strings.Join(one.Y, " ") != "100 ms 10 ms" || one.Lines[0].Path != "M500 180H516.7" {
		t.Errorf("one: %v %+v", one.Y, one.Lines)
	}
	c := newLatencyChart(lastHour(map[int]controlclient.Counts{
		0: {Delivered: 1, P50: 1, P95: 10, P99: 1000}, 1: {Delivered: 1, P50: 1, P95: 10, P99: 100}, 3: {Failed: 1}, 4: {Delivered: 1, P50: 1, P95: 1, P99: 1},
	}))
	if strings.Join(c.Y, " ") != "1 s 100 ms 10 ms 1 ms" || c.Lines[2].Path != "M8.3 0L25 60M66.7 180H83.3" || len(c.Rows) != 3 {
		t.Errorf("%v %+v", c.Y, c.Lines)
	}
	for _, l := range newLatencyChart(lastHour(map[int]controlclient.Counts{0: {Delivered: 1, P50: 0.001, P95: 0.002, P99: 0.003}})).Lines {
		if strings.Contains(l.Path, "NaN") || strings.Contains(l.Path, "-") {
			t.Errorf("very fast: %s", l.Path)
		}
	}
}

func TestBacklogChart(t *testing.T) {
	t.Parallel()
	c := newBacklogChart("contoso", []controlclient.Series{
		{Kind: controlclient.OfWebhook, Name: "idle"}, {Kind: controlclient.OfWebhook, Name: "some", Waiting: 5},
		{Kind: controlclient.OfEventSubscription, Name: "much", Waiting: 100, Behind: 900},
	})
	if c.Idle != 1 || len(c.Rows) != 2 || c.Rows[0].Name != "much" || c.Rows[0].Bar.Width != 100 || c.Rows[1].Bar.Width != 1 ||
		c.Rows[0].Link != "/portal/registries/contoso/subscriptions/much" || c.Rows[0].Most() != 1000 {
		t.Errorf("%+v", c)
	}
	if c := newBacklogChart("contoso", nil); c.Rows != nil {
		t.Errorf("of nothing: %+v", c)
	}
}

func TestSparks(t *testing.T) {
	t.Parallel()
	all := lastHour(map[int]controlclient.Counts{10: {Delivered: 3, Failed: 1}})
	all.Each = []controlclient.Series{
		{Kind: controlclient.OfWebhook, Name: "a", Counts: all.Counts, Points: all.Points},
		{Kind: controlclient.OfEventSubscription, Name: "a"},
	}
	a, b := newSpark(all, all.Each[0]), newSpark(all, all.Each[1])
	if len(a.Bars) != 2 || a.Title != "3 delivered, 1 failed in the last 60 min" || len(b.Bars) != 0 || b.Title != "nothing was sent in the last 60 min" {
		t.Errorf("%+v, %+v", a, b)
	}
}

func TestSpanWords(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0 min", time.Hour + 20*time.Second: "60 min", 24*time.Hour + time.Minute: "24 h", 12 * time.Hour: "12 h",
		7*24*time.Hour + 30*time.Minute: "7 d", 84 * time.Hour: "3.5 d",
	} {
		if got := spanWord(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
	for ms, want := range map[float64]string{0.1: "0.1 ms", 1: "1 ms", 3.533: "3.5 ms", 10.2: "10 ms", 999: "999 ms", 1000: "1 s", 7450: "7.5 s", 10000: "10 s"} {
		if got := msWord(ms); got != want {
			t.Errorf("%v ms is %q, want %q", ms, got, want)
		}
	}
}

// The parts draw what is empty and what is hostile: names are text, and no element
// has a style of its own.
func TestChartParts(t *testing.T) {
	t.Parallel()
	const hostile = `"><script>alert(1)</script>`
	full := lastHour(map[int]controlclient.Counts{0: {Delivered: 5, Refused: 1, Failed: 1, Interrupted: 1, P50: 2, P95: 20, P99: 30}})
	full.Each = []controlclient.Series{{Kind: controlclient.OfWebhook, Name: hostile, Waiting: 4, Counts: full.Counts, Points: full.Points}}
	for name, s := range map[string]controlclient.Statistics{"empty": lastHour(nil), "full": full} {
		for part, data := range map[string]any{
			"deliveries-chart": newDeliveriesChart(s),
			"latency-chart":    newLatencyChart(s),
			"backlog-chart":    newBacklogChart("contoso", s.Each),
			"spark":            newSpark(s, controlclient.Series{Counts: s.Counts, Points: s.Points, Name: hostile}),
			"charts":           newCharts("/portal/"+hostile, 0, s),
		} {
			var b bytes.Buffer
			if err := templates["figures"].ExecuteTemplate(&b, part, data); err != nil {
				t.Fatalf("%s %s: %v", name, part, err)
			}
			tree, err := html.Parse(&b)
			if err != nil {
				t.Fatal(err)
			}
			ids := map[string]bool{}
			rects, rows := 0, 0
			for n := range tree.Descendants() {
				if n.Type != html.ElementNode {
					continue
				}
				if n.Data == "script" || slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == "style" || strings.HasPrefix(a.Key, "on") }) {
					t.Errorf("%s %s has a %s with %v", name, part, n.Data, n.Attr)
				}
				for _, a := range n.Attr {
					if a.Key == "id" && ids[a.Val] {
						t.Errorf("%s %s has two elements %s", name, part, a.Val)
					}
					ids[a.Val] = ids[a.Val] || a.Key == "id"
				}
				switch n.Data {
				case "rect":
					rects++
				case "tr":
					rows++
				}
			}
			if (rects > 0) != (name == "full" && part != "latency-chart") {
				t.Errorf("%s %s draws %d bars", name, part, rects)
			}
			if (rows > 0) != (name == "full" && part != "spark") {
				t.Errorf("%s %s has %d rows of a table", name, part, rows)
			}
		}
	}
}
