package portal

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/controlclient"
)

// Charts are drawn into a box of this size that the page stretches to the width it
// has. What is written stands beside it, in letters of the page.
const (
	plotWidth  = 1000
	plotHeight = 180
)

// plot is what every chart has around what it shows.
type plot struct {
	ID    string // of its parts' elements: no other chart of a page has it
	Title string // what it shows
	Desc  string // the same in a sentence, for who does not see it
	Grid  []float64
	Y     []string // what the lines of the grid stand for, from top to bottom
	X     []string // what moments the left end, the middle and the right end are
	Empty string   // why there is nothing to see; empty if there is
}

// deliveriesChart is attempts by what they came to. It is drawn by the part
// deliveries-chart.
type deliveriesChart struct {
	plot
	Columns []column
	Legend  []legend
	Rows    []controlclient.Point // newest first
}

// column is what is drawn of one step.
type column struct {
	Title string
	Bars  []bar
}

// bar is a rectangle. Its class says what it stands for.
type bar struct {
	X, Y, Width, Height float64
	Class               string
}

// legend says what a class stands for.
type legend struct{ Class, Text string }

// latencyChart is how long answers took. It is drawn by the part latency-chart.
type latencyChart struct {
	plot
	Lines []line
	Rows  []controlclient.Point // newest first, of steps with an answer
}

// line is a line in the words of SVG, with a class and what it stands for.
type line struct{ Class, Text, Path string }

// backlogChart is what waits for each endpoint. It is drawn by the part
// backlog-chart: a table whose rows have bars.
type backlogChart struct {
	ID, Title string
	Rows      []backlogRow // most first
	Idle      int          // endpoints that nothing waits for
}

// backlogRow is an endpoint that something waits for.
type backlogRow struct {
	Name, Kind, Link string
	Waiting, Behind  int64
	Bar              bar // in a box of 100 by 8
}

// Most is how many may wait, if all that was not looked at does.
func (r backlogRow) Most() int64 { return r.Waiting + r.Behind }

// spark is a chart of a size to stand in a row of a list. It is drawn by the part
// spark.
type spark struct {
	Title string
	Bars  []bar
}

const (
	sparkWidth  = 96
	sparkHeight = 20
)

// outcomes are what attempts come to, in the order in which they stand on each other.
var outcomes = []struct {
	word, class string
	of          func(controlclient.Counts) int64
}{
	{"delivered", "good", func(c controlclient.Counts) int64 { return c.Delivered }},
	{"refused", "rest", func(c controlclient.Counts) int64 { return c.Refused }},
	{"interrupted", "wait", func(c controlclient.Counts) int64 { return c.Interrupted }},
	{"failed", "bad", func(c controlclient.Counts) int64 { return c.Failed }},
}

// outcomeWords writes how many attempts came to what.
func outcomeWords(c controlclient.Counts) string {
	var words []string
	for _, o := range outcomes {
		if n := o.of(c); n > 0 {
			words = append(words, count(n)+" "+o.word)
		}
	}
	if words == nil {
		return "nothing was sent"
	}
	return strings.Join(words, ", ")
}

// newDeliveriesChart draws attempts by what they came to.
func newDeliveriesChart(s controlclient.Statistics) deliveriesChart {
	c := deliveriesChart{plot: newPlot("deliveries", s), Rows: newestFirst(s.Points)}
	c.Title = "Deliveries per " + stepWord(s.Step)
	for _, o := range outcomes {
		c.Legend = append(c.Legend, legend{o.class, count(o.of(s.Counts)) + " " + o.word})
	}
	var most int64
	for _, p := range s.Points {
		most = max(most, p.Attempts())
	}
	c.Desc = fmt.Sprintf("%s %s, at most %s in one %s", outcomeWords(s.Counts), rangeWords(s), count(most), stepWord(s.Step))
	if most == 0 {
		c.Empty = "Nothing was sent " + rangeWords(s) + "."
		return c
	}
	top := roundUp(most)
	c.Y, c.Grid = []string{count(top), "0"}, []float64{0, plotHeight}
	if top > 1 {
		c.Y, c.Grid = []string{count(top), count(top / 2), "0"}, []float64{0, plotHeight / 2, plotHeight}
	}
	n := steps(s)
	for _, p := range s.Points {
		i := stepOf(s, p.At)
		if i < 0 || i >= n {
			continue
		}
		c.Columns = append(c.Columns, column{
			Title: p.At.UTC().Format("2 Jan 15:04") + " UTC: " + outcomeWords(p.Counts),
			Bars:  stack(p.Counts, top, i, n, plotWidth, plotHeight),
		})
	}
	return c
}

// stack draws the attempts of step i of n on each other, in a box where top reaches
// the upper end. What is there can be seen, however small it is beside the rest.
func stack(c controlclient.Counts, top int64, i, n int, width, height float64) []bar {
	slot := width / float64(n)
	gap := min(slot*0.15, 4)
	least := height / 90
	var bars []bar
	sum, tallest := 0.0, 0
	for _, o := range outcomes {
		v := o.of(c)
		if v <= 0 {
			continue
		}
		b := bar{X: tenth(float64(i)*slot + gap/2), Width: tenth(slot - gap), Height: max(least, float64(v)/float64(top)*height), Class: o.class}
		sum += b.Height
		bars = append(bars, b)
		if b.Height > bars[tallest].Height {
			tallest = len(bars) - 1
		}
	}
	if sum > height {
		bars[tallest].Height -= sum - height
	}
	y := height
	for k := range bars {
		y -= bars[k].Height
		bars[k].Y, bars[k].Height = tenth(max(y, 0)), tenth(bars[k].Height)
	}
	return bars
}

// newLatencyChart draws how long answers took, on an axis of powers of ten.
func newLatencyChart(s controlclient.Statistics) latencyChart {
	c := latencyChart{plot: newPlot("latency", s)}
	c.Title = "Time to answer"
	least, most := math.Inf(1), 0.0
	for _, p := range newestFirst(s.Points) {
		if p.P99 > 0 {
			c.Rows = append(c.Rows, p)
			least, most = min(least, p.P50), max(most, p.P99)
		}
	}
	if c.Rows == nil {
		c.Empty = "No receiver answered " + rangeWords(s) + "."
		return c
	}
	c.Desc = fmt.Sprintf("Half of the answers %s came within %s, 95 of 100 within %s, 99 of 100 within %s",
		rangeWords(s), msWord(s.P50), msWord(s.P95), msWord(s.P99))
	low, high := math.Floor(math.Log10(max(least, 0.1))), math.Ceil(math.Log10(max(most, 0.1)))
	high = max(high, low+1)
	for e := high; e >= low; e-- {
		c.Y = append(c.Y, msWord(math.Pow(10, e)))
		c.Grid = append(c.Grid, tenth((high-e)/(high-low)*plotHeight))
	}
	height := func(ms float64) float64 {
		at := (math.Log10(max(ms, 0.1)) - low) / (high - low)
		return tenth(plotHeight * (1 - min(max(at, 0), 1)))
	}
	n := steps(s)
	for _, l := range []struct {
		class, text string
		of          func(controlclient.Counts) float64
		all         float64
	}{
		{"line", "half within", func(c controlclient.Counts) float64 { return c.P50 }, s.P50},
		{"line second", "95 of 100 within", func(c controlclient.Counts) float64 { return c.P95 }, s.P95},
		{"line third", "99 of 100 within", func(c controlclient.Counts) float64 { return c.P99 }, s.P99},
	} {
		heights := map[int]float64{}
		for _, p := range c.Rows {
			if i := stepOf(s, p.At); i >= 0 && i < n {
				heights[i] = height(l.of(p.Counts))
			}
		}
		c.Lines = append(c.Lines, line{l.class, l.text + " " + msWord(l.all), linePath(heights, n)})
	}
	return c
}

// linePath draws a line through the middles of steps. Where there is nothing it has a
// gap, and a step without neighbours is a dash as wide as the step.
func linePath(heights map[int]float64, n int) string {
	slot := float64(plotWidth) / float64(n)
	var b strings.Builder
	for i := range n {
		y, there := heights[i]
		if !there {
			continue
		}
		_, before := heights[i-1]
		_, after := heights[i+1]
		middle := tenth((float64(i) + 0.5) * slot)
		switch {
		case before:
			fmt.Fprintf(&b, "L%v %v", middle, y)
		case after:
			fmt.Fprintf(&b, "M%v %v", middle, y)
		default:
			fmt.Fprintf(&b, "M%v %vH%v", tenth(float64(i)*slot), y, tenth(float64(i+1)*slot))
		}
	}
	return b.String()
}

// newBacklogChart shows what waits for each endpoint of a registry.
func newBacklogChart(registry string, all []controlclient.Series) backlogChart {
	c := backlogChart{ID: "backlog", Title: "What waits now"}
	for _, s := range all {
		if s.Waiting+s.Behind == 0 {
			c.Idle++
			continue
		}
		c.Rows = append(c.Rows, backlogRow{Name: s.Name, Kind: kindWord(s.Kind), Link: endpointPath(registry, s), Waiting: s.Waiting, Behind: s.Behind})
	}
	slices.SortStableFunc(c.Rows, func(a, b backlogRow) int { return cmp.Compare(b.Most(), a.Most()) })
	for i, r := range c.Rows {
		most := c.Rows[0].Most()
		c.Rows[i].Bar = bar{Width: tenth(max(1, 100*float64(r.Most())/float64(most))), Height: 8, Class: "wait"}
	}
	return c
}

// newSpark draws how deliveries to an endpoint went, of which all has the span.
func newSpark(all controlclient.Statistics, s controlclient.Series) spark {
	c := spark{Title: outcomeWords(s.Counts) + " " + rangeWords(all)}
	var most int64
	for _, p := range s.Points {
		most = max(most, p.Attempts())
	}
	n := steps(all)
	for _, p := range s.Points {
		if i := stepOf(all, p.At); i >= 0 && i < n {
			c.Bars = append(c.Bars, stack(p.Counts, most, i, n, sparkWidth, sparkHeight)...)
		}
	}
	return c
}

// newPlot is what charts of the same span have alike.
func newPlot(id string, s controlclient.Statistics) plot {
	span := shownSpan(s)
	return plot{ID: id, X: []string{agoWord(span), agoWord(span / 2), "now"}}
}

// stepLength returns how long a step is.
func stepLength(s controlclient.Statistics) time.Duration {
	if s.Step == controlclient.ByMinute {
		return time.Minute
	}
	return time.Hour
}

func stepWord(step string) string {
	if step == controlclient.ByMinute {
		return "minute"
	}
	return "hour"
}

// steps returns how many steps there are, of which the last may not be over.
func steps(s controlclient.Statistics) int {
	return max(1, int(math.Ceil(float64(s.Until.Sub(s.Since))/float64(stepLength(s)))))
}

// stepOf returns which step begins at a moment.
func stepOf(s controlclient.Statistics, at time.Time) int {
	return int(math.Floor(float64(at.Sub(s.Since)) / float64(stepLength(s))))
}

// rangeWords says of which time figures are.
func rangeWords(s controlclient.Statistics) string {
	return "in the last " + spanWord(shownSpan(s))
}

// shownSpan returns how long the time is that figures are of, the whole of the last
// step included.
func shownSpan(s controlclient.Statistics) time.Duration {
	return time.Duration(steps(s)) * stepLength(s)
}

// spanWord writes about how long a span is, which a chart need not know to the minute.
func spanWord(d time.Duration) string {
	switch {
	case d < 2*time.Hour:
		return strconv.Itoa(int(math.Round(d.Minutes()))) + " min"
	case d < 48*time.Hour:
		return strconv.Itoa(int(math.Round(d.Hours()))) + " h"
	}
	return strconv.FormatFloat(math.Round(d.Hours()/12)/2, 'f', -1, 64) + " d"
}

func agoWord(d time.Duration) string { return spanWord(d) + " ago" }

// msWord writes a number of milliseconds.
func msWord(ms float64) string {
	switch {
	case ms >= 1000:
		return strconv.FormatFloat(math.Round(ms/100)/10, 'f', -1, 64) + " s"
	case ms >= 10:
		return strconv.FormatFloat(math.Round(ms), 'f', -1, 64) + " ms"
	}
	return strconv.FormatFloat(math.Round(ms*10)/10, 'f', -1, 64) + " ms"
}

// kindWord names a kind of endpoint.
func kindWord(k controlclient.EndpointKind) string {
	if k == controlclient.OfEventSubscription {
		return "subscription"
	}
	return "webhook"
}

// endpointPath returns the address of an endpoint's page.
func endpointPath(registry string, s controlclient.Series) string {
	section := "webhooks"
	if s.Kind == controlclient.OfEventSubscription {
		section = "subscriptions"
	}
	return pathIn(registry, section, s.Name)
}

func newestFirst(points []controlclient.Point) []controlclient.Point {
	all := slices.Clone(points)
	slices.Reverse(all)
	return all
}

// roundUp returns a number from n on that looks well at the end of an axis, and so
// does its half.
func roundUp(n int64) int64 {
	for unit := int64(1); ; unit *= 10 {
		for _, top := range []int64{1, 2, 4, 6, 8, 10} {
			if n <= top*unit {
				return top * unit
			}
		}
	}
}

// tenth rounds what is drawn.
func tenth(x float64) float64 { return math.Round(x*10) / 10 }
