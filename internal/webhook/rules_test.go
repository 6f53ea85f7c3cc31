package webhook

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// TestScopes has every form of the grammar against every kind of event. The
// events' columns say what is in the scope.
func TestScopes(t *testing.T) {
	t.Parallel()
	type target struct{ repository, tag string }
	events := []struct {
		what   string
		target target
	}{
		{"push of latest", target{"team/web", "latest"}},
		{"push of v1.2", target{"team/web", "v1.2"}},
		{"push of v1", target{"team/web", "v1"}},
		{"push by digest, delete", target{"team/web", ""}},
		{"push to a sibling", target{"team/website", "v1"}},
		{"push elsewhere", target{"other", "latest"}},
		{"chart", target{"repo", "webshop-1.4.0.tgz"}},
		{"chart deleted without a tag", target{"repo", ""}},
	}
	for scopeText, want := range map[string]string{ // one letter per event: y is in the scope
		"":                       "yyyyyyyy",
		"team/web":               "y.......",
		"team/web:latest":        "y.......",
		"team/web:v1":            "..y.....",
		"team/web:V1":            "........",
		"team/web:*":             "yyyy....",
		"team/web:v1*":           ".yy.....",
		"team/web:v*":            ".yy.....",
		"team/web*:*":            "yyyyy...",
		"team/web*:v1":           "..y.y...",
		"team/web*:v1*":          ".yy.y...",
		"team/*:*":               "yyyyy...",
		"team/*:latest":          "y.......",
		"te*:*":                  "yyyyy...",
		"*:latest":               "y....y..",
		"*:v*":                   ".yy.y...",
		"team/website:*":         "....y...",
		"team/w:*":               "........",
		"team:*":                 "........",
		"other":                  ".....y..",
		"repo:*":                 "......yy",
		"repo:webshop-*":         "......y.",
		"repo:webshop-1.4.0.tgz": "......y.",
		"repo":                   "........",
	} {
		s, err := parseScope(scopeText)
		if err != nil {
			t.Errorf("%q: %v", scopeText, err)
			continue
		}
		for i, e := range events {
			if got := s.matches(event.Target{Repository: e.target.repository, Tag: e.target.tag}); got != (want[i] == 'y') {
				t.Errorf("%q matches %s: %v", scopeText, e.what, got)
			}
		}
	}
}

// TestWhoIsOwed has what else decides: action, location, registry, status.
func TestWhoIsOwed(t *testing.T) { onEach(t, testWhoIsOwed) }

func testWhoIsOwed(t *testing.T, w *world) {
	ids := map[int64]string{}
	put := func(reg Registry, name string, change func(*Definition)) {
		ids[w.put(reg, name, change).ID] = name
	}
	put(contoso, "every", func(d *Definition) {
		d.Actions = []string{"push", "DELETE", "quarantine", "chart_push", "Chart_Delete"}
	})
	put(contoso, "pushes", nil)
	put(contoso, "deletes", func(d *Definition) { d.Actions = []string{"delete", "Delete"} })
	put(contoso, "charts", func(d *Definition) { d.Actions, d.Scope = []string{"chart_push", "chart_delete"}, "repo:*" })
	put(contoso, "scoped", func(d *Definition) { d.Scope = "web:v1" })
	put(contoso, "west1", func(d *Definition) { d.Location = "West Europe" })
	put(contoso, "sleeping", func(d *Definition) { d.Status = "disabled" })
	put(fabrika, "elsewhere", nil)
	for _, tt := range []struct {
		action          event.Action
		registry        int64
		location        string
		repository, tag string
		wanted          string
	}{
		{event.Push, 1, "eastus", "web", "v1", "every pushes scoped"},
		{event.Push, 1, "eastus", "web", "", "every pushes"},
		{event.Push, 1, "westeurope", "web", "v1", "west1"},
		{event.Push, 1, "northeurope", "web", "v1", ""},
		{event.Push, 2, "eastus", "web", "v1", "elsewhere"},
		{event.Push, 3, "eastus", "web", "v1", ""},
		{event.Delete, 1, "eastus", "web", "", "every deletes"},
		{event.Delete, 2, "eastus", "web", "", ""},
		{event.Quarantine, 1, "eastus", "web", "v1", "every"},
		{event.ChartPush, 1, "eastus", "repo", "shop-1.0.0.tgz", "every charts"},
		{event.ChartDelete, 1, "eastus", "repo", "shop-1.0.0.tgz", "every charts"},
		{event.Ping, 1, "eastus", "web", "v1", ""}, // owed to nobody
	} {
		e := happened(tt.action, tt.repository, tt.tag)
		e.Registry.ID, e.Registry.Location, e.Pos = tt.registry, tt.location, 1
		for how, owed := range map[string][]int64{"in force": w.InForce()(e), "from the database": w.matchAt(e)} {
			var names []string
			for _, id := range owed {
				names = append(names, ids[id])
			}
			if got := strings.Join(names, " "); got != tt.wanted {
				t.Errorf("%s of %s:%s in %d/%s, %s: owed to %q, want %q", tt.action, tt.repository, tt.tag, tt.registry, tt.location, how, got, tt.wanted)
			}
		}
	}
}

// TestRulesByPosition changes a webhook between events. Whom an event is owed to
// is decided when it commits, and is the same from the database.
func TestRulesByPosition(t *testing.T) { onEach(t, testRulesByPosition) }

func testRulesByPosition(t *testing.T, w *world) {
	old := w.InForce()
	before := w.happen(event.Push, "web", "v1")
	hook := w.put(contoso, "deployhook", nil)
	first := w.happen(event.Push, "web", "v1")
	disabled, enabled := "disabled", "enabled"
	w.patch(contoso, "deployhook", Change{Status: &disabled})
	asleep := w.happen(event.Push, "web", "v1")
	w.patch(contoso, "deployhook", Change{Status: &enabled})
	scope := "api:*"
	w.patch(contoso, "deployhook", Change{Scope: &scope}) // at the same position
	outside := w.happen(event.Push, "web", "v1")
	inside := w.happen(event.Push, "api", "")
	w.patch(contoso, "deployhook", Change{Actions: []string{"delete"}})
	notAsked := w.happen(event.Push, "api", "v1")
	deleted := w.happen(event.Delete, "api", "")
	w.patch(contoso, "deployhook", Change{Tags: map[string]string{"a": "b"}})
	again := w.happen(event.Delete, "api", "")

	yes, no := []int64{hook.ID}, []int64(nil)
	check := func(e *event.Event, want []int64) {
		t.Helper()
		if then := w.rang[e.Pos-1].owed; !gocmp.Equal(then, want) {
			t.Errorf("event %d was owed to %v when it committed, want %v", e.Pos, then, want)
		}
		if at := w.matchAt(e); !gocmp.Equal(at, want) {
			t.Errorf("event %d is owed to %v by the database, want %v", e.Pos, at, want)
		}
		if was := w.history(hook.RegistryID, hook.ID)(e); was != (want != nil) {
			t.Errorf("event %d was owed to the webhook: %v, want %v", e.Pos, was, want)
		}
	}
	all := func() {
		check(before, no)
		check(first, yes)
		check(asleep, no)
		check(outside, no)
		check(inside, yes)
		check(notAsked, no)
		check(deleted, yes)
		check(again, yes)
	}
	all()
	w.open(w.DB) // as after a crash
	all()
	if owed := old(first); owed != nil {
		t.Errorf("rules taken before the webhook was made know it: %v", owed)
	}

	// Rules that no kept event needs go with the next change.
	forget := func(before int64) {
		if err := w.DB.Write(t.Context(), sqldb.Bulk, func(tx *sqldb.Tx) error {
			_, err := tx.Exec("DELETE FROM event WHERE pos < $1", before)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	kept := w.count("SELECT count(*) FROM webhook_rule")
	w.patch(contoso, "deployhook", Change{Tags: map[string]string{}})
	if n := w.count("SELECT count(*) FROM webhook_rule"); n != kept {
		t.Errorf("%d rules while all events are kept, want %d", n, kept)
	}
	forget(first.Pos) // the rule of which is the one before that of its own position
	w.patch(contoso, "deployhook", Change{})
	check(first, yes)
	forget(outside.Pos)
	w.patch(contoso, "deployhook", Change{})
	for _, e := range []*event.Event{outside, notAsked} {
		check(e, no)
	}
	for _, e := range []*event.Event{inside, deleted, again} {
		check(e, yes)
	}
	if n := w.count("SELECT count(*) FROM webhook_rule WHERE from_pos < $1", asleep.Pos); n != 0 {
		t.Errorf("%d rules kept that no event needs", n)
	}
	forget(again.Pos)
	w.patch(contoso, "deployhook", Change{})
	if n := w.count("SELECT count(*) FROM webhook_rule"); n != 1 {
		t.Errorf("%d rules kept, want the one in force", n)
	}
	check(w.happen(event.Delete, "api", ""), yes)
}

// TestConcurrentChanges changes webhooks while events happen. Each event finds
// the same endpoints by the rules at its commit as by those in the database.
func TestConcurrentChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	var running sync.WaitGroup
	for worker := range 3 {
		running.Go(func() {
			name := fmt.Sprintf("hook%d", worker)
			random := rand.New(rand.NewPCG(1, uint64(worker)))
			for range 30 {
				def := definition()
				def.Scope = []string{"", "web:*", "web:v1", "api*:*"}[random.IntN(4)]
				def.Status = []string{"enabled", "disabled"}[random.IntN(2)]
				def.Actions = []string{"push", "delete"}[:1+random.IntN(2)]
				if _, _, err := w.Put(ctx, contoso, name, def, ada); err != nil {
					t.Error(err)
				}
			}
		})
		running.Go(func() {
			random := rand.New(rand.NewPCG(2, uint64(worker)))
			for range 60 {
				e := happened([]event.Action{event.Push, event.Delete}[random.IntN(2)], []string{"web", "api", "other"}[random.IntN(3)], []string{"", "v1"}[random.IntN(2)])
				if err := w.DB.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error { return w.Outbox.Append(tx, outbox.Prepare(e)) }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	if len(w.rang) != 180 {
		t.Fatalf("%d events, want 180", len(w.rang))
	}
	owed := 0
	histories := map[int64]func(*event.Event) bool{}
	list, err := w.List(ctx, contoso)
	if err != nil {
		t.Fatal(err)
	}
	for _, hook := range list {
		histories[hook.ID] = w.history(contoso.ID, hook.ID)
	}
	for _, r := range w.rang {
		owed += len(r.owed)
		for id, was := range histories {
			if got := was(r.entry.Event); got != slices.Contains(r.owed, id) {
				t.Errorf("event %d: owed to %v at its commit, to %d by its history: %v", r.entry.Event.Pos, r.owed, id, got)
			}
		}
		if at := w.matchAt(r.entry.Event); !gocmp.Equal(at, r.owed) {
			t.Errorf("event %d: owed to %v at its commit, %v by the database", r.entry.Event.Pos, r.owed, at)
		}
	}
	if owed == 0 {
		t.Error("no event was owed to anybody: nothing was shown")
	}
}

// oracle matches a scope in another way than the code does: as a regular
// expression made of its text. It takes only valid scopes.
func oracle(scope string, target event.Target) bool {
	if scope == "" {
		return true
	}
	repository, tag, ok := strings.Cut(scope, ":")
	if !ok {
		tag = "latest"
	}
	full := func(pattern string) string { return strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `.*`) }
	if tag == "*" {
		return regexp.MustCompile(`\A(?s:` + full(repository) + `)\z`).MatchString(target.Repository)
	}
	return target.Tag != "" && regexp.MustCompile(`\A(?s:`+full(repository)+":"+full(tag)+`)\z`).MatchString(target.Repository+":"+target.Tag)
}

// FuzzScope holds parser, matcher and index to the oracle.
func FuzzScope(f *testing.F) {
	for _, s := range []string{"", "web", "web:*", "web:v1", "web:v1*", "we*:*", "we*:v*", "*:latest", "*", "*:*", "team/*", "a:b:c", "web:", ":x", "WEB:*", "a b:*", "we**:*"} {
		f.Add(s, "web", "v1", "web:v*")
		f.Add(s, "team/web", "", "team/*:*")
	}
	f.Fuzz(func(t *testing.T, text, repository, tag, other string) {
		if strings.Contains(repository, ":") || strings.Contains(tag, ":") {
			t.Skip() // no name of either kind, and the oracle would take it apart elsewhere
		}
		target := event.Target{Repository: repository, Tag: tag}
		s, err := parseScope(text)
		if err != nil {
			return
		}
		if strings.ContainsAny(text, " \n\"") || strings.Count(text, "*") > 2 || strings.Count(text, ":") > 1 {
			t.Fatalf("%q is taken for a scope", text)
		}
		want := oracle(text, target)
		if got := s.matches(target); got != want {
			t.Fatalf("scope %q, %+v: %v, want %v", text, target, got, want)
		}
		hooks := map[int64]*hook{1: {id: 1, rule: rule{enabled: true, scope: s, actions: []event.Action{event.Push}}}}
		if o, err := parseScope(other); err == nil {
			hooks[2] = &hook{id: 2, rule: rule{enabled: true, scope: o, actions: []event.Action{event.Push}}}
		}
		var owed []int64
		for id, h := range hooks {
			if h.rule.scope.matches(target) {
				owed = append(owed, id)
			}
		}
		slices.Sort(owed)
		all := newRules(map[int64]map[int64]*hook{0: hooks}, nil)
		if got := all.owedTo(&event.Event{Action: event.Push, Target: target}); !slices.Equal(got, owed) {
			t.Fatalf("scopes %q and %q, %+v: index finds %v, one by one %v", text, other, target, got, owed)
		}
	})
}

// TestIndexAgreesWithRules compares the index with the rules one by one, over
// many webhooks of random scopes.
func TestIndexAgreesWithRules(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	hooks := map[int64]*hook{}
	for id := range int64(400) {
		text := pick("", pick("a", "ab", "abc", "a/b", "b")+pick("", ":*", ":v", ":v1", ":v*", ":v1*"), pick("", "a", "ab", "a/", "b")+"*:"+pick("v1", "v*", "latest"))
		r, err := newRule(Status(pick("enabled", "enabled", "disabled")), text, []string{pick("push", "delete", "quarantine")})
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		hooks[id+1] = &hook{id: id + 1, location: pick("eastus", "westeurope"), rule: r}
	}
	all := newRules(map[int64]map[int64]*hook{contoso.ID: hooks}, nil)
	for range 500 {
		e := happened(event.Action(pick("push", "delete", "chart_push")), pick("a", "ab", "abc", "a/b", "b", "bc"), pick("", "v", "v1", "v10", "latest"))
		e.Registry.Location = pick("eastus", "westeurope")
		var want []int64
		for id, h := range hooks {
			if h.location == e.Registry.Location && h.rule.enabled && h.rule.wants(e, id) {
				want = append(want, id)
			}
		}
		slices.Sort(want)
		if got := all.owedTo(e); !slices.Equal(got, want) {
			t.Fatalf("%s %s:%s in %s: index %v, one by one %v", e.Action, e.Target.Repository, e.Target.Tag, e.Registry.Location, got, want)
		}
	}
}

// BenchmarkNoMatch is what a push pays for webhooks that are not about it.
func BenchmarkNoMatch(b *testing.B) {
	for _, n := range []int{0, 500} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			hooks := map[int64]*hook{}
			for id := range int64(n) {
				text := fmt.Sprintf("team/app-%d:*", id)
				if id%2 == 0 {
					text = fmt.Sprintf("other/%s%d*:v*", strings.Repeat("x", int(id%40)), id)
				}
				r, err := newRule(Enabled, text, []string{"push"})
				if err != nil {
					b.Fatal(err)
				}
				hooks[id+1] = &hook{id: id + 1, location: "eastus", rule: r}
			}
			all := newRules(map[int64]map[int64]*hook{contoso.ID: hooks}, nil)
			e := happened(event.Push, "team/web-frontend", "v1")
			b.ReportAllocs()
			for b.Loop() {
				if all.owedTo(e) != nil {
					b.Fatal("it matches")
				}
			}
		})
	}
}

// TestDropAll removes the webhooks of one registry, more than go at once, and
// leaves another's.
func TestDropAll(t *testing.T) { onEach(t, testDropAll) }

func testDropAll(t *testing.T, w *world) {
	for i := range 2*dropAtOnce + 1 {
		w.put(contoso, fmt.Sprintf("hook%d", i), nil)
	}
	w.put(fabrika, "keepme", nil)
	listener, err := w.Listen(t.Context(), contoso, Definition{Location: "westeurope"}, ada)
	if err != nil {
		t.Fatal(err)
	}
	names := func(registry int64, location string) (n int) {
		err := w.DB.Read(t.Context(), func(tx *sqldb.Tx) error {
			found, err := w.NamesIn(tx, registry, location)
			n = len(found)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if all, there := names(contoso.ID, ""), names(contoso.ID, "westeurope"); all != 2*dropAtOnce+1 || there != 0 {
		t.Errorf("%d webhooks, %d in westeurope beside the listener", all, there)
	}
	dropped, err := w.DropAll(t.Context(), contoso.ID)
	if err != nil || len(dropped) != 1 || dropped[0].Name != listener.Name {
		t.Errorf("listeners %v, %v", dropped, err)
	}
	e := &event.Event{Action: event.Push, Registry: sourceOf(contoso.ID), Target: event.Target{Repository: "team/web", Tag: "v1"}}
	if owed := w.InForce()(e); len(owed) != 0 || names(contoso.ID, "") != 0 {
		t.Errorf("after it: %v is owed a push, %d are there", owed, names(contoso.ID, ""))
	}
	if names(fabrika.ID, "eastus") != 1 {
		t.Error("the other registry's webhook is gone")
	}
}
