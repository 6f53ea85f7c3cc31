package portal

import (
	"net/http"
	"time"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

func init() { addPages(route{"GET " + Root + "/registries/{registry}/figures", showFigures}) }

// chartSpans are the spans of time that charts show.
var chartSpans = []struct {
	word, text string
	step       string
	length     time.Duration // without the step that runs
}{
	{"1h", "Last hour", controlclient.ByMinute, 59 * time.Minute},
	{"24h", "24 hours", controlclient.ByHour, 23 * time.Hour},
	{"7d", "7 days", controlclient.ByHour, (7*24 - 1) * time.Hour},
}

// rangeOf returns which of chartSpans the query of an address names: a day, if none.
func rangeOf(r *http.Request) int {
	for i, x := range chartSpans {
		if x.word == r.URL.Query().Get("span") {
			return i
		}
	}
	return 1
}

// spanOf returns what is asked for of one of chartSpans.
func spanOf(i int) controlclient.StatisticsSpan {
	return controlclient.StatisticsSpan{Step: chartSpans[i].step, Since: time.Now().Add(-chartSpans[i].length)}
}

// charts is how deliveries went, to an endpoint or in a registry. The part charts
// draws all of it.
type charts struct {
	Ranges     []entry // links to the same page with another range
	Deliveries deliveriesChart
	Latency    latencyChart
}

// newCharts draws figures. path is the address of the page without its query.
func newCharts(path string, chosen int, s controlclient.Statistics) charts {
	c := charts{Deliveries: newDeliveriesChart(s), Latency: newLatencyChart(s)}
	for i, r := range chartSpans {
		c.Ranges = append(c.Ranges, entry{r.text, path + "?span=" + r.word, i == chosen})
	}
	return c
}

// chartsOf draws the figures of one endpoint, of the range that the address names.
func (v *visit) chartsOf(e controlclient.Endpoint) (charts, error) {
	chosen := rangeOf(v.Request)
	s, err := v.api.EndpointStatistics(v.Context(), e, spanOf(chosen))
	if err != nil {
		return charts{}, err
	}
	return newCharts(v.URL.EscapedPath(), chosen, s), nil
}

// lastDay is how deliveries to an endpoint went in the last day, at a glance.
type lastDay struct {
	Spark     spark
	Delivered int64
}

// lastDays returns those of a registry's endpoints of a kind, by name; none for who
// may not see them.
func (v *visit) lastDays(kind controlclient.EndpointKind) (map[string]lastDay, error) {
	all, err := v.api.Statistics(v.Context(), v.registry, controlclient.StatisticsSpan{})
	if fault.Is(err, fault.Denied) || fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	days := map[string]lastDay{}
	for _, s := range all.Each {
		if s.Kind == kind {
			days[s.Name] = lastDay{newSpark(all, s), s.Delivered}
		}
	}
	return days, nil
}

// figures is what the page of that name shows.
type figures struct {
	Charts    charts
	Total     controlclient.Series
	Backlog   backlogChart
	Endpoints []figuresRow
}

// figuresRow is an endpoint of a registry.
type figuresRow struct {
	controlclient.Series
	Kind, Link string
	Spark      spark
}

func showFigures(p *portal, w http.ResponseWriter, v *visit) error {
	chosen := rangeOf(v.Request)
	all, err := v.api.Statistics(v.Context(), v.registry, spanOf(chosen))
	if err != nil {
		return err
	}
	f := figures{Charts: newCharts(v.path("figures"), chosen, all), Total: all.Series, Backlog: newBacklogChart(v.registry, all.Each)}
	for _, s := range all.Each {
		f.Endpoints = append(f.Endpoints, figuresRow{s, kindWord(s.Kind), endpointPath(v.registry, s), newSpark(all, s)})
	}
	return p.render(w, v.Request, v, http.StatusOK, "figures", page{
		Title: "Figures", Section: "figures", Crumbs: []crumb{{v.registry, v.path()}}, Body: f,
	})
}
