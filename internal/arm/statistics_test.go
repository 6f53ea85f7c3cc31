package arm_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/delivery"
)

// figures are those of an engine for two endpoints, one of which is owed something.
func figures() map[int64]delivery.Statistics {
	point := func(at time.Time, outcome delivery.Outcome, n int, took time.Duration) delivery.Point {
		p := delivery.Point{At: at}
		for range n {
			p.Count(outcome, took > 0, took)
		}
		return p
	}
	at := moment.Truncate(time.Hour)
	return map[int64]delivery.Statistics{
		1: {Points: []delivery.Point{point(at, delivery.Delivered, 90, 3*time.Millisecond), point(at.Add(time.Hour), delivery.Refused, 2, time.Second)}},
		2: {Waiting: 3, Behind: 40, Points: []delivery.Point{point(at.Add(-time.Hour), delivery.Failed, 4, 0), point(at, delivery.Delivered, 10, 5*time.Second)}},
	}
}

func TestStatistics(t *testing.T) {
	t.Parallel()
	p := newHook(t)
	if w := p.do("PUT", registry+grid+"/eventSubscriptions/on-push"+version, subscribe); w.Code != http.StatusCreated {
		t.Fatal(w.Body)
	}
	p.engine.statistics = figures()
	tr := &transcript{plane: p}
	for _, target := range []string{
		hook + "/statistics",
		hook + "/statistics?step=minute",
		"/api/v1/registries/contoso/eventSubscriptions/on-push/statistics?step=Hour",
		"/api/v1/registries/contoso/statistics",
		hook + "/statistics?step=day",
		hook + "/statistics?since=yesterday",
		hook + "/statistics?since=2200-01-01T00:00:00Z",
		hook + "/statistics?since=2020-01-01T00:00:00Z",
		hook + "/statistics?step=minute&since=2020-01-01T00:00:00Z",
		"/api/v1/registries/contoso/statistics?step=second",
	} {
		tr.exchange("GET", target, "")
	}
	p.engine.statistics = nil // nothing was sent
	tr.exchange("GET", "/api/v1/registries/contoso/statistics", "")
	tr.exchange("POST", "/api/v1/registries/contoso/statistics", "")
	golden(t, "statistics.txt", tr.String())
}

// TestStatisticsSpan looks at what the engine is asked for.
func TestStatisticsSpan(t *testing.T) {
	t.Parallel()
	p := newHook(t)
	now := time.Now()
	for _, x := range []struct {
		query string
		step  delivery.Step
		since time.Time
	}{
		{"", delivery.ByHour, now.Add(-23 * time.Hour)},
		{"?step=minute", delivery.ByMinute, now.Add(-59 * time.Minute)},
		{"?since=" + now.Add(-30*24*time.Hour).UTC().Format(time.RFC3339), delivery.ByHour, now.Add(-30 * 24 * time.Hour)},
		{"?step=MINUTE&since=" + now.Add(-30*time.Minute).UTC().Format(time.RFC3339), delivery.ByMinute, now.Add(-30 * time.Minute)},
	} {
		for _, at := range []string{hook, "/api/v1/registries/contoso"} {
			if w := p.do("GET", at+"/statistics"+x.query, ""); w.Code != http.StatusOK {
				t.Fatalf("%s: %d %s", x.query, w.Code, w.Body)
			}
			if off := p.engine.since.Sub(x.since).Abs(); p.engine.step != x.step || off > time.Minute {
				t.Errorf("%s: asks for %v since %v, want %v since %v", x.query, p.engine.step, p.engine.since, x.step, x.since)
			}
		}
	}
}

// TestStatisticsOfWhatOneMayRead has people ask who may read the figures of a
// registry, and only some of its endpoints: the others are neither named nor counted.
func TestStatisticsOfWhatOneMayRead(t *testing.T) {
	t.Parallel()
	p := newHook(t)
	if w := p.do("PUT", registry+grid+"/eventSubscriptions/on-push"+version, subscribe); w.Code != http.StatusCreated {
		t.Fatal(w.Body)
	}
	p.engine.statistics = figures()
	for _, x := range []struct {
		hidden, names string
		delivered     int64
	}{
		{"none", "DeployHook on-push", 100},
		{"/eventSubscriptions/", "DeployHook", 90},
		{"/webhooks/", "on-push", 10},
	} {
		w := p.as(func(action, _ string) bool { return !strings.Contains(action, x.hidden) }, "GET", "/api/v1/registries/contoso/statistics", "")
		var got struct {
			Delivered int64
			Value     []struct{ Name string }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		var names []string
		for _, s := range got.Value {
			names = append(names, s.Name)
		}
		if strings.Join(names, " ") != x.names || got.Delivered != x.delivered {
			t.Errorf("without %s: %d of %v, want %d of %s", x.hidden, got.Delivered, names, x.delivered, x.names)
		}
	}
}
