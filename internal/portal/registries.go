package portal

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

func init() {
	addPages(
		route{"GET " + Root + "/{$}", showRegistries},
		route{"GET " + Root + "/registries/{registry}", showOverview},
	)
}

// maxGlances is how many registries the list of them says more of than their names:
// each costs a look at its usage and its webhooks.
const maxGlances = 100

// glance is a registry in the list of them.
type glance struct {
	controlclient.Registry
	Usage   []meter // of what matters most
	Trouble badge
}

// showRegistries lists the registries that the visitor may see. Who sees one alone is
// sent there.
func showRegistries(p *portal, w http.ResponseWriter, v *visit) error {
	list, err := v.api.Registries(v.Context())
	if err != nil {
		return err
	}
	if len(list) == 1 {
		http.Redirect(w, v.Request, pathIn(list[0].Name), http.StatusSeeOther)
		return nil
	}
	glances := make([]glance, len(list))
	for i, reg := range list {
		glances[i].Registry = reg
		if i >= maxGlances {
			continue
		}
		// A role may allow to see a registry and not this of it.
		if usages, err := v.api.Usages(v.Context(), reg.Name); err == nil {
			glances[i].Usage = meters(usages)
			glances[i].Usage = glances[i].Usage[:min(2, len(glances[i].Usage))]
		}
		if hooks, err := v.api.Webhooks(v.Context(), reg.Name); err == nil {
			glances[i].Trouble = troubleSummary(troubled(hooks), len(hooks))
		}
	}
	return p.render(w, v.Request, v, http.StatusOK, "registries", page{Title: "Registries", Body: glances})
}

// overview is what the first page of a registry shows.
type overview struct {
	controlclient.Registry
	Created  time.Time
	Policies []policy
	Usage    []meter

	SeesWebhooks bool
	Webhooks     int
	Trouble      []trouble

	SeesEvents bool
	Events     []feedRow

	// Holds says that it holds nothing, and Steps what the visitor can do first then.
	Holds string
	Steps []step
}

// step is something to do, and the commands for it.
type step struct {
	Text     string
	Commands []string
}

func showOverview(p *portal, w http.ResponseWriter, v *visit) error {
	reg, err := v.api.Registry(v.Context(), v.registry)
	if err != nil {
		return err
	}
	o := overview{Registry: reg, Policies: policiesOf(reg)}
	o.Created, _ = time.Parse(time.RFC3339, reg.Properties.CreationDate)
	usages, err := v.api.Usages(v.Context(), v.registry)
	if err != nil && !fault.Is(err, fault.Denied) {
		return err
	}
	o.Usage = meters(usages)
	hooks, err := v.api.Webhooks(v.Context(), v.registry)
	if err != nil && !fault.Is(err, fault.Denied) {
		return err
	}
	o.SeesWebhooks, o.Webhooks, o.Trouble = err == nil, len(hooks), troubled(hooks)
	feed, err := v.api.FeedBefore(v.Context(), v.registry, 0, 10, controlclient.FeedFilter{})
	if err != nil && !fault.Is(err, fault.Denied) {
		return err
	}
	o.SeesEvents, o.Events = err == nil, v.feedRows(feed.Entries)
	contents, err := p.Contents(v.Request, v.visitor, v.registry)
	if err != nil {
		return err
	}
	// Who may not see what is in it is not told what to do first.
	if repos, _, err := contents.Repositories(v.Context(), "", 1); err == nil && len(repos) == 0 {
		o.Holds, o.Steps = "It holds nothing yet", firstSteps(reg, v.may("push/write", reg.ID), len(hooks) == 0 && v.may("webhooks/write", reg.ID))
	}
	return p.render(w, v.Request, v, http.StatusOK, "overview", page{Title: reg.Name, Body: o})
}

// firstSteps are for a registry that holds nothing, and for who may push, or make a
// webhook.
func firstSteps(reg controlclient.Registry, push, webhook bool) []step {
	server := reg.Properties.LoginServer
	steps := []step{{"Log in with a client.", []string{"docker login " + server}}}
	if webhook {
		steps = append(steps, step{"Say who is rung when something is pushed.",
			[]string{"dockbell webhook create -r " + reg.Name + " -n deployhook --actions push delete --uri https://deploy.example.com/hook"}})
	}
	if push {
		steps = append(steps, step{"Push an image.",
			[]string{"docker pull hello-world", "docker tag hello-world " + server + "/hello-world:v1", "docker push " + server + "/hello-world:v1"}})
	}
	return steps
}

// policy is a rule of a registry in words.
type policy struct{ Name, Text string }

// policiesOf tells the rules of a registry.
func policiesOf(reg controlclient.Registry) []policy {
	const enabled = "enabled"
	p := reg.Properties
	quarantine, retention := "Off: what is pushed can be pulled at once.", "Off: manifests without a tag stay."
	if p.Policies.Quarantine.Status == enabled {
		quarantine = "On: what is pushed waits until somebody marks it as passed."
	}
	if p.Policies.Retention.Status == enabled {
		retention = fmt.Sprintf("On: manifests without a tag are deleted after %s.", days(p.Policies.Retention.Days))
	}
	deleted := "Off: what is deleted is gone."
	if p.Policies.SoftDelete.Status == enabled {
		deleted = fmt.Sprintf("On: what is deleted is kept for %s.", days(p.Policies.SoftDelete.Days))
	}
	anonymous := "Off: who pulls has to log in."
	if p.AnonymousPullEnabled {
		anonymous = "On: everyone may pull without logging in."
	}
	return []policy{{"Quarantine", quarantine}, {"Retention", retention}, {"Soft delete", deleted}, {"Anonymous pull", anonymous}}
}

func days(n int) string {
	if n == 1 {
		return "1 day"
	}
	return fmt.Sprintf("%d days", n)
}

// meter is how much there is of something, and of how much there may be.
type meter struct {
	Name        string
	Used, Limit string // Limit is empty where there is none
	Percent     int    // of Limit, at most 100
	State       string // class of the drawing: good, wait or bad
}

// usageNames are what people call what a registry may have, those that matter first.
// Those without a name are of things that this server does not have.
var usageNames = []struct{ wire, name string }{
	{"Size", "Storage"}, {"Webhooks", "Webhooks"}, {"Tokens", "Repository tokens"}, {"ScopeMaps", "Scope maps"}, {"Geo-replications", "Replications"},
	{"IPRules", ""}, {"VNetRules", ""}, {"PrivateEndpointConnections", ""},
}

// meters puts usages into the order of usageNames; others come last.
func meters(usages []controlclient.Usage) (all []meter) {
	place := func(u controlclient.Usage) int {
		for i, n := range usageNames {
			if n.wire == u.Name {
				return i
			}
		}
		return len(usageNames)
	}
	sorted := slices.Clone(usages)
	slices.SortStableFunc(sorted, func(a, b controlclient.Usage) int { return cmp.Compare(place(a), place(b)) })
	for _, u := range sorted {
		name := u.Name
		if i := place(u); i < len(usageNames) {
			if name = usageNames[i].name; name == "" {
				continue
			}
		}
		write := func(n int64) string { return count(n) }
		if u.Unit == "Bytes" {
			write = size
		}
		m := meter{Name: name, Used: write(u.CurrentValue)}
		if u.Limit > 0 {
			m.Limit, m.Percent, m.State = write(u.Limit), int(min(100, 100*float64(u.CurrentValue)/float64(u.Limit))), "good"
			switch {
			case u.CurrentValue >= u.Limit:
				m.State = "bad"
			case m.Percent >= 80:
				m.State = "wait"
			}
		}
		all = append(all, m)
	}
	return all
}

// trouble is a webhook that somebody should look at.
type trouble struct {
	Name string
	Mark badge
	Text string
}

// troubled returns the webhooks in trouble, the worst first.
func troubled(hooks []controlclient.Webhook) (all []trouble) {
	for _, w := range hooks {
		if b, text := troubleOf(w); text != "" {
			all = append(all, trouble{w.Name, b, text})
		}
	}
	rank := map[string]int{"bad": 0, "wait": 1, "pause": 2}
	slices.SortStableFunc(all, func(a, b trouble) int { return cmp.Compare(rank[a.Mark.Class], rank[b.Mark.Class]) })
	return all
}

// troubleOf says what is the matter with a webhook; no text means nothing. One that a
// person has disabled is in no trouble.
func troubleOf(w controlclient.Webhook) (badge, string) {
	h := w.Health
	if h == nil {
		return badge{}, ""
	}
	waiting := countOf(h.Waiting+h.Behind, "event") + " waiting"
	switch {
	case h.Waiting+h.Behind == 0:
		waiting = "nothing waits"
	case h.Behind > 0:
		waiting = "up to " + waiting // of those behind, some may be others'
	}
	switch {
	case w.Properties.DisabledReason != "":
		return badge{"bad", "disabled"}, w.Properties.DisabledReason
	case h.State == "failing" || h.State == "ok" && h.ConsecutiveFailures > 0:
		text := fmt.Sprintf("%s failed in a row; %s", countOf(int64(h.ConsecutiveFailures), "attempt"), waiting)
		if h.LastStatus != 0 {
			text += fmt.Sprintf("; last answer %d", h.LastStatus)
		} else if h.LastError != "" {
			text += "; no answer: " + h.LastError
		}
		return badge{"bad", "failing"}, text
	case h.State == "awaitingConsent":
		return badge{"wait", "awaits consent"}, "its address has not agreed to be rung; " + waiting
	case h.State == "catchingUp":
		return badge{"wait", "catching up"}, waiting
	case h.State == "paused":
		return badge{"pause", "paused"}, waiting
	case h.DeadLetters > 0:
		return badge{"bad", "gave up"}, countOf(h.DeadLetters, "event") + " among the dead letters"
	}
	return badge{}, ""
}

// countOf writes a number of things.
func countOf(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return count(n) + " " + thing + "s"
}

// troubleSummary says in a few words how a registry's webhooks fare.
func troubleSummary(list []trouble, of int) badge {
	switch {
	case of == 0:
		return badge{"", "no webhooks"}
	case len(list) == 0:
		return badge{"good", countOf(int64(of), "webhook") + " well"}
	}
	return badge{list[0].Mark.Class, fmt.Sprintf("%d of %d in trouble", len(list), of)}
}
