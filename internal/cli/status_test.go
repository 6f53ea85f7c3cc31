package cli_test

import (
	"strings"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/collect"
	"github.com/dockbell/dockbell/internal/delivery"
)

// TestStatus shows a server on which all is well, and one on which much is wrong.
func TestStatus(t *testing.T) {
	t.Parallel()
	srv := newServer(t, "fabrikam")
	sh := srv.shell(t)
	lines := []string{"status", "status -r contoso -o json --query troubles", "status --check -o none", "status -o yaml --query '{server: server.version, of: registries[].[name, last24Hours.delivered]}'"}
	sh.terminal, sh.env["NO_COLOR"] = true, "1"
	sh.env["DOCKBELL_REGISTRY"] = ""
	again := func(s string) string { return strings.ReplaceAll(s, srv.URL, "http://server") }
	got := again(transcript(sh, lines...))

	now := time.Now()
	for i, name := range []string{"alivehook", "catchhook", "deadhook", "failhook", "pausedhook", "lettershook"} {
		sh.run(split("webhook create -r contoso -n " + name + " --uri https://hooks.example.net/acr --actions push -o none")...)
		srv.setHealth(int64(i+1), []delivery.Health{
			{State: delivery.Live, LastAttempt: now, LastSuccess: now, LastStatus: 200},
			{State: delivery.CatchingUp, LastAttempt: now, LastStatus: 200, Waiting: 12, Behind: 300, Oldest: now.Add(-5 * time.Hour)},
			{State: delivery.Live},
			{State: delivery.Failing, FailStreak: 7, FirstFail: now.Add(-130 * time.Minute), LastAttempt: now, LastStatus: 503, Waiting: 1, Behind: 9, Oldest: now.Add(-131 * time.Minute),
				NextAttempt: now.Add(150*time.Second + 500*time.Millisecond), DeadLetters: 3},
			{State: delivery.Paused, PausedAt: now.Add(-time.Hour), Waiting: 2, Oldest: now.Add(-45 * time.Minute)},
			{State: delivery.Live, LastStatus: 200, DeadLetters: 31},
		}[i])
	}
	sh.run(split("webhook update -r contoso -n deadhook --status disabled -o none")...)
	sh.run(split("webhook create -r contoso -n askinghook --uri https://hooks.example.net/ce --actions push --format cloudevents -o none")...)
	point := delivery.Point{At: now.Truncate(time.Hour)}
	for i := range 100 {
		point.Count([]delivery.Outcome{delivery.Delivered, delivery.Delivered, delivery.Failed, delivery.Refused}[i%4], true, time.Duration(i)*time.Millisecond)
	}
	srv.statistics = map[int64]delivery.Statistics{1: {Points: []delivery.Point{point}}}
	srv.collections.all = []collect.Collection{{ID: 1, State: collect.Failed, StartedAt: now.Add(-3 * time.Hour), EndedAt: now.Add(-150 * time.Minute), Problem: "the server's disk is full"}}
	srv.collections.all[0].Bytes = 5 << 20
	got += again(transcript(sh, lines...))
	sh.terminal = false
	got += again(transcript(sh, "status --check --query 'troubles[].[name,state,next]' -o tsv", "status -r nosuch", "status now"))
	golden(t, "status.txt", got)
}

// TestStatusOfTheUnready: a server that is not ready has answered, and is the first
// trouble.
func TestStatusOfTheUnready(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	srv.unready = true
	sh := srv.shell(t)
	got := sh.run("status", "-o", "table")
	if got.code != 0 || !strings.Contains(got.out, "not ready: the database does not answer") || !strings.Contains(got.out, "look at the server's log") {
		t.Errorf("%+v", got)
	}
	if got := sh.run("status", "--check", "-o", "none"); got.code != 1 || got.err != "error: 1 thing is wrong: dockbell status names it\n" {
		t.Errorf("%+v", got)
	}
	srv.Close()
	if got := sh.run("status"); got.code != 1 || got.out != "" {
		t.Errorf("without a server: %+v", got)
	}
}
