package filter

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/dockbell/dockbell/internal/event"
)

const acme = "/subscriptions/1111/resourceGroups/build/providers/Microsoft.ContainerRegistry/registries/acme"

// happened returns an event of an action, with all that a record may hold.
func happened(action event.Action) *event.Event {
	e := &event.Event{
		ID: "0C5a", At: time.Date(2025, 3, 4, 9, 10, 11, 412_345_678, time.UTC), Action: action,
		Registry: event.Registry{ID: 1, Name: "acme", LoginServer: "acme.example", ResourceID: acme, Location: "westus", Scheme: "https", Node: event.Node{Addr: "10.0.0.5:5000", ID: "6c1d"}},
		Target: event.Target{
			MediaType: "application/vnd.oci.image.manifest.v1+json", Size: 1471, Digest: "sha256:9f86", Repository: "team/api", Tag: "V1.4.2",
		},
		Request: event.Request{ID: "a2a1", Host: "registry.acme.example", Method: "PUT", UserAgent: "Containers/5.29", Addr: "192.0.2.7"},
		Actor:   "Zoë",
	}
	switch action {
	case event.ChartPush, event.ChartDelete:
		e.Target = event.Target{MediaType: "application/vnd.acr.helm.chart", Size: 20480, Digest: "sha256:6030", Repository: "charts", Tag: "web-2.1.0.tgz", Name: "web", Version: "2.1.0"}
	case event.TagMoved:
		e.Target.PreviousDigest = "sha256:77aa"
	case event.ReferrerAttached:
		e.Target.Tag, e.Target.SubjectDigest = "", "sha256:77aa"
	case event.Ping:
		e.Target, e.Request = event.Target{}, event.Request{}
	case event.WebhookFailing:
		e.Target, e.Request = event.Target{}, event.Request{}
		e.Webhook = &event.Webhook{Endpoint: 7, Name: "deployhook", Condition: "failing", Since: e.At, LastStatus: 503}
	}
	return e
}

// head returns what outbox.Heads does of an event.
func head(e *event.Event) *event.Event {
	return &event.Event{
		ID: e.ID, At: e.At, Action: e.Action, Registry: event.Registry{ID: e.Registry.ID, Location: e.Registry.Location},
		Target: event.Target{Repository: e.Target.Repository, Tag: e.Target.Tag, Digest: e.Target.Digest},
	}
}

func mustCompile(t testing.TB, d Definition) *Filter {
	t.Helper()
	f, err := Compile(d)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestOperators: each operator, on a member that makes it hold, one that does not,
// one that is missing, one that is null, one of another type, and on arrays.
func TestOperators(t *testing.T) {
	t.Parallel()
	five, some, v1 := []float64{5}, []float64{1, 5}, []string{"v1.", "Ä"}
	pairs := [][2]float64{{1, 2}, {5, 9}}
	for _, test := range []struct {
		c          Condition
		yes, no    []string // JSON of members
		missing    bool     // what it says of one that is missing, null, or of another type
		yesIn, noI []string // arrays
	}{
		{Condition{Operator: NumberLessThan, Numbers: five}, []string{"4", "4.9", "-1"}, []string{"5", "5.1"}, false, []string{"[9,4]", `["x",null,4]`}, []string{"[]", "[5,6]", `["4"]`}},
		{Condition{Operator: NumberLessThanOrEquals, Numbers: five}, []string{"5", "4"}, []string{"5.1", "6"}, false, []string{"[9,5]"}, []string{"[]", "[6]"}},
		{Condition{Operator: NumberGreaterThan, Numbers: five}, []string{"6", "5.1"}, []string{"5", "4"}, false, []string{"[1,6]"}, []string{"[]", "[5]"}},
		{Condition{Operator: NumberGreaterThanOrEquals, Numbers: five}, []string{"5", "6"}, []string{"4"}, false, []string{"[1,5]"}, []string{"[]", "[4]"}},
		{Condition{Operator: NumberIn, Numbers: some}, []string{"5", "1", "5.0"}, []string{"2", "0"}, false, []string{"[2,5]"}, []string{"[]", "[2]", `["5"]`}},
		{Condition{Operator: NumberNotIn, Numbers: some}, []string{"2", "0"}, []string{"1", "5"}, true, []string{"[]", "[2]", `["5",true]`}, []string{"[2,5]"}},
		{Condition{Operator: NumberInRange, Ranges: pairs}, []string{"1", "2", "5", "9", "7.5"}, []string{"0", "3", "10"}, false, []string{"[3,6]"}, []string{"[]", "[3]"}},
		{Condition{Operator: NumberNotInRange, Ranges: pairs}, []string{"0", "3", "10"}, []string{"1", "2", "7"}, true, []string{"[]", "[3]"}, []string{"[3,6]"}},
		{Condition{Operator: BoolEquals, Bool: true}, []string{"true"}, []string{"false"}, false, []string{"[false,true]"}, []string{"[]", "[false]", "[1]"}},
		{Condition{Operator: BoolEquals}, []string{"false"}, []string{"true"}, false, []string{"[true,false]"}, []string{"[]", "[true]", "[null]"}},
		{Condition{Operator: StringIn, Strings: v1}, []string{`"v1."`, `"V1."`, `"ä"`}, []string{`"v1"`, `"v1.2"`, `""`}, false, []string{`["x","V1."]`}, []string{"[]", `["x"]`, "[1]"}},
		{Condition{Operator: StringNotIn, Strings: v1}, []string{`"v1"`, `""`}, []string{`"V1."`, `"ä"`}, true, []string{"[]", `["x"]`}, []string{`["x","Ä"]`}},
		{Condition{Operator: StringContains, Strings: v1}, []string{`"xv1.x"`, `"Käse"`}, []string{`"v1"`, `""`}, false, []string{`["x","-V1.-"]`}, []string{"[]", `["x"]`}},
		{Condition{Operator: StringNotContains, Strings: v1}, []string{`"v1"`, `""`}, []string{`"xV1.x"`, `"KÄSE"`}, false, []string{"[]", `["x"]`}, []string{`["x","-V1.-"]`}},
		{Condition{Operator: StringBeginsWith, Strings: v1}, []string{`"V1.4"`, `"äh"`}, []string{`"xv1."`, `""`}, false, []string{`["x","v1.2"]`}, []string{"[]", `["x"]`}},
		{Condition{Operator: StringNotBeginsWith, Strings: v1}, []string{`"xv1."`, `""`}, []string{`"V1.4"`}, false, []string{"[]", `["x"]`}, []string{`["x","v1.2"]`}},
		{Condition{Operator: StringEndsWith, Strings: v1}, []string{`"xV1."`, `"JÄ"`}, []string{`"v1.x"`, `""`}, false, []string{`["x","xv1."]`}, []string{"[]", `["x"]`}},
		{Condition{Operator: StringNotEndsWith, Strings: v1}, []string{`"v1.x"`, `""`}, []string{`"xV1."`}, false, []string{"[]", `["x"]`}, []string{`["x","xv1."]`}},
	} {
		t.Run(fmt.Sprint(test.c.Operator, test.c.Bool), func(t *testing.T) {
			test.c.Key = "data.x"
			c := test.c.compile()
			check := func(arrays, want bool, members ...string) {
				t.Helper()
				for _, member := range members {
					v := read(t, member)
					if got := c.holds(&v, arrays); got != want {
						t.Errorf("of %s with arrays %v it says %v", member, arrays, got)
					}
				}
			}
			for _, arrays := range []bool{false, true} {
				check(arrays, true, test.yes...)
				check(arrays, false, test.no...)
				check(arrays, test.missing, "null", "{}")
				if c.wants != text {
					check(arrays, test.missing, `"5"`, `"true"`)
				}
				if c.wants != number {
					check(arrays, test.missing, "5", "1")
				}
				if c.wants != boolean {
					check(arrays, test.missing, "true", "false")
				}
				gone := value{}
				if got := c.holds(&gone, arrays); got != test.missing {
					t.Errorf("of what is missing it says %v", got)
				}
			}
			check(true, true, test.yesIn...)
			check(true, false, test.noI...)
			check(false, false, append(test.yesIn, test.noI...)...)
		})
	}
	for _, test := range []struct {
		operator Operator
		null     bool // what it says of null
	}{{IsNullOrUndefined, true}, {IsNotNull, false}} {
		c := (&Condition{Operator: test.operator, Key: "data.x"}).compile()
		for member, isNull := range map[string]bool{"null": true, "0": false, `""`: false, "false": false, "{}": false, "[]": false, "[null]": false} {
			for _, arrays := range []bool{false, true} {
				v := read(t, member)
				if got := c.holds(&v, arrays); got != (isNull == test.null) {
					t.Errorf("%s of %s: %v", test.operator, member, got)
				}
			}
		}
	}
}

// read returns a member from its JSON.
func read(t *testing.T, text string) value {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return valueOf(v)
}

// TestMatch: types, subjects, and keys in both schemas' spellings.
func TestMatch(t *testing.T) {
	t.Parallel()
	in := func(key string, values ...string) Definition {
		return Definition{Conditions: []Condition{{Operator: StringIn, Key: key, Strings: values}}}
	}
	for _, test := range []struct {
		name  string
		d     Definition
		on    event.Action
		want  bool
		whole bool
	}{
		{"everything", Definition{}, event.Push, true, false},
		{"everything: charts", Definition{}, event.ChartDelete, true, false},
		{"everything is not ours", Definition{}, event.Pull, false, false},
		{"a ping is nobody's", Definition{EventTypes: event.Types}, event.Ping, false, false},
		{"what has no action", Definition{EventTypes: event.Types}, "", false, false},
		{"the type", Definition{EventTypes: []string{"Microsoft.ContainerRegistry.ImagePushed"}}, event.Push, true, false},
		{"another type", Definition{EventTypes: []string{"Microsoft.ContainerRegistry.ImagePushed"}}, event.Delete, false, false},
		{"ours", Definition{EventTypes: []string{"Dockbell.Registry.ImagePulled"}}, event.Pull, true, false},
		{"ours: a webhook", Definition{EventTypes: []string{"Dockbell.Registry.WebhookFailing"}, SubjectBeginsWith: "deploy"}, event.WebhookFailing, true, true},
		{"prefix", Definition{SubjectBeginsWith: "Team/"}, event.Push, true, true},
		{"prefix of images", Definition{SubjectBeginsWith: "Team/", EventTypes: event.DefaultTypes[:2]}, event.Push, true, false},
		{"prefix with case", Definition{SubjectBeginsWith: "Team/", SubjectCaseSensitive: true}, event.Push, false, true},
		{"prefix and suffix overlap", Definition{SubjectBeginsWith: "team/api:v1.4", SubjectEndsWith: "API:v1.4.2"}, event.Push, true, true},
		{"suffix", Definition{SubjectEndsWith: ":v1.4.2"}, event.Push, true, true},
		{"suffix with case", Definition{SubjectEndsWith: ":v1.4.2", SubjectCaseSensitive: true}, event.Push, false, true},
		{"a delete has no tag", Definition{SubjectBeginsWith: "team/api:"}, event.Delete, false, true},
		{"a chart has its name", Definition{SubjectBeginsWith: "web:"}, event.ChartPush, true, true},
		{"id", in("Id", "0c5A"), event.Push, true, false},
		{"source", in("SOURCE", strings.ToUpper(acme)), event.Push, true, true},
		{"topic", in("topic", acme), event.Push, true, true},
		{"subject", in("Subject", "TEAM/API"), event.Delete, true, true},
		{"event type", in("EventType", "microsoft.containerregistry.imagepushed"), event.Push, true, false},
		{"type", in("type", "Microsoft.ContainerRegistry.ImageDeleted"), event.Push, false, false},
		{"versions", in("dataVersion", "2.0"), event.Push, true, false},
		{"specversion", in("specversion", "1.0"), event.Push, true, false},
		{"time", in("eventTime", "2025-03-04T09:10:11.4123456Z"), event.Push, true, false},
		{"tag", in("data.target.tag", "v1.4.2"), event.Push, true, false},
		{"tag of a delete", in("data.target.tag", "v1.4.2"), event.Delete, false, false},
		{"request", in("data.request.userAgent", "containers/5.29"), event.Push, true, true},
		{"actor", in("data.actor.NAME", "ZOË"), event.Push, true, true},
		{"URL", in("data.target.url", "https://acme.example/v2/team/api/manifests/sha256:9f86"), event.Push, true, true},
		{"no such key", in("data.target.flavour", "x"), event.Push, false, false},
		{"no such key, not in", Definition{Conditions: []Condition{{Operator: StringNotIn, Key: "flavour", Strings: []string{"x"}}}}, event.Push, true, false},
		{"size", Definition{Conditions: []Condition{{Operator: NumberInRange, Key: "data.target.size", Ranges: [][2]float64{{1, 1471}}}}}, event.Push, true, true},
		{"size is no text", in("data.target.size", "1471"), event.Push, false, true},
		{"charts have no request", Definition{Conditions: []Condition{{Operator: IsNullOrUndefined, Key: "data.request"}}}, event.ChartPush, true, true},
		{"all have to hold", Definition{Conditions: []Condition{
			{Operator: StringBeginsWith, Key: "data.target.tag", Strings: []string{"v1.", "v2."}},
			{Operator: StringNotIn, Key: "data.target.repository", Strings: []string{"team/api"}},
		}}, event.Push, false, false},
	} {
		f := mustCompile(t, test.d)
		e := happened(test.on)
		if got := f.Match(NewView(e)); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
		if got := f.NeedsWhole(); got != test.whole {
			t.Errorf("%s: needs the whole event: %v", test.name, got)
		}
		if !f.NeedsWhole() && f.Match(NewView(head(e))) != test.want {
			t.Errorf("%s: of the head, it says %v", test.name, !test.want)
		}
	}
}

// holdsSlowly is what a definition means, told as plainly as can be, of an event's
// JSON.
func holdsSlowly(t testing.TB, d Definition, e *event.Event) bool {
	var grid []map[string]any
	var cloud map[string]any
	if json.Unmarshal(event.EventGrid(e), &grid) != nil || json.Unmarshal(event.CloudEvent(e), &cloud) != nil {
		t.Fatal("an event is no JSON")
	}
	types := d.EventTypes
	if len(types) == 0 {
		types = event.DefaultTypes
	}
	subject := grid[0]["subject"].(string)
	prefix, suffix := hasPrefix, hasSuffix
	if d.SubjectCaseSensitive {
		prefix, suffix = strings.HasPrefix, strings.HasSuffix
	}
	if !slices.Contains(event.Types, event.EventGridType(e.Action)) || !slices.Contains(types, event.EventGridType(e.Action)) || !prefix(subject, d.SubjectBeginsWith) || !suffix(subject, d.SubjectEndsWith) {
		return false
	}
	for _, c := range d.Conditions {
		member := find(grid[0], strings.Split(c.Key, "."))
		if member == nil {
			member = find(cloud, strings.Split(c.Key, "."))
		}
		if !conditionSlowly(c, member) {
			return false
		}
	}
	return true
}

func find(in any, path []string) any {
	if len(path) == 0 {
		return in
	}
	members, _ := in.(map[string]any)
	for name, member := range members {
		if strings.ToLower(name) == strings.ToLower(path[0]) {
			return find(member, path[1:])
		}
	}
	return nil
}

func conditionSlowly(c Condition, member any) bool {
	n, isNumber := member.(float64)
	s, isString := member.(string)
	b, isBool := member.(bool)
	anyNumber := func(holds func(float64) bool) bool { return isNumber && slices.ContainsFunc(c.Numbers, holds) }
	anyRange := func() bool {
		return isNumber && slices.ContainsFunc(c.Ranges, func(r [2]float64) bool { return n >= r[0] && n <= r[1] })
	}
	anyString := func(holds func(s, part string) bool) bool {
		return isString && slices.ContainsFunc(c.Strings, func(part string) bool { return holds(s, part) })
	}
	switch c.Operator {
	case NumberLessThan:
		return anyNumber(func(x float64) bool { return n < x })
	case NumberLessThanOrEquals:
		return anyNumber(func(x float64) bool { return n <= x })
	case NumberGreaterThan:
		return anyNumber(func(x float64) bool { return n > x })
	case NumberGreaterThanOrEquals:
		return anyNumber(func(x float64) bool { return n >= x })
	case NumberIn:
		return anyNumber(func(x float64) bool { return n == x })
	case NumberNotIn:
		return !anyNumber(func(x float64) bool { return n == x })
	case NumberInRange:
		return anyRange()
	case NumberNotInRange:
		return !anyRange()
	case BoolEquals:
		return isBool && b == c.Bool
	case StringIn:
		return anyString(strings.EqualFold)
	case StringNotIn:
		return !anyString(strings.EqualFold)
	case StringContains:
		return anyString(containsText)
	case StringNotContains:
		return isString && !anyString(containsText)
	case StringBeginsWith:
		return anyString(hasPrefix)
	case StringNotBeginsWith:
		return isString && !anyString(hasPrefix)
	case StringEndsWith:
		return anyString(hasSuffix)
	case StringNotEndsWith:
		return isString && !anyString(hasSuffix)
	case IsNullOrUndefined:
		return member == nil
	case IsNotNull:
		return member != nil
	}
	panic("no operator: " + c.Operator)
}

// What strings has, without regard to case, character by character.
func hasPrefix(s, prefix string) bool {
	all, part := []rune(s), []rune(prefix)
	return len(part) <= len(all) && strings.EqualFold(string(all[:len(part)]), prefix)
}

func hasSuffix(s, suffix string) bool {
	all, part := []rune(s), []rune(suffix)
	return len(part) <= len(all) && strings.EqualFold(string(all[len(all)-len(part):]), suffix)
}

func containsText(s, part string) bool {
	for all := []rune(s); ; all = all[1:] {
		if hasPrefix(string(all), part) {
			return true
		}
		if len(all) == 0 {
			return false
		}
	}
}

// mustAgree fails unless a definition matches an event as it is meant to, its head
// alike where that is said to do, and is what it was after it was stored.
func mustAgree(t testing.TB, d Definition, e *event.Event) (matched bool) {
	t.Helper()
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	f := mustCompile(t, d)
	want := holdsSlowly(t, d, e)
	if got := f.Match(NewView(e)); got != want {
		t.Fatalf("%s of %s says %v", text, event.EventGrid(e), got)
	}
	if !f.NeedsWhole() && f.Match(NewView(head(e))) != want {
		t.Fatalf("%s of the head of %s says %v", text, event.EventGrid(e), !want)
	}
	var again Definition
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if second, err := json.Marshal(again); err != nil || string(second) != string(text) {
		t.Fatalf("%s is %s when it was read, %v", text, second, err)
	}
	if got := mustCompile(t, again).Match(NewView(e)); got != want {
		t.Fatalf("%s says %v when it was stored", text, got)
	}
	return want
}

// TestMatchesAsMeant compares what is compiled with the plain meaning, of random
// filters that are near to random events.
func TestMatchesAsMeant(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	pick := func(all []string) string { return all[rnd.IntN(len(all))] }
	keys := strings.Fields(`Id source topic subject eventType type dataVersion specversion time data data.id data.action data.location data.timestamp
		data.target data.target.tag data.Target.Repository data.target.digest data.target.mediaType data.target.size data.target.length data.target.url
		data.target.name data.target.version data.target.previousDigest data.target.webhook data.target.lastStatus data.target.progress
		data.request data.request.host data.request.useragent data.actor.name data.source.instanceID data.connectedRegistry.name none data.none`)
	parts := []string{"", "v1", "V1.4.2", "team/", "TEAM/API", "api", ":", "sha256", "2", "web", "deployhook", "ZOË", "\u212a", "k", "ſ", "S", "acme", "push", "Microsoft.ContainerRegistry.ImagePushed"}
	amounts := []float64{-1, 0, 1, 1470, 1471, 1472, 20480, 503}
	some := func() (n []float64) {
		for range 1 + rnd.IntN(3) {
			n = append(n, amounts[rnd.IntN(len(amounts))])
		}
		return n
	}
	actions := append([]event.Action{event.Ping, ""}, event.Subscribable...)
	matches := 0
	const rounds = 4_000
	var filters []*Filter
	var happenings []*event.Event
	for range rounds {
		var d Definition
		for _, name := range event.Types {
			if rnd.IntN(3) > 0 {
				d.EventTypes = append(d.EventTypes, name)
			}
		}
		if rnd.IntN(4) == 0 {
			d.SubjectBeginsWith = pick(parts)
		}
		if rnd.IntN(4) == 0 {
			d.SubjectEndsWith = pick(parts)
		}
		d.SubjectCaseSensitive, d.Arrays = rnd.IntN(2) == 0, rnd.IntN(2) == 0
		for range rnd.IntN(4) {
			r := rules[rnd.IntN(len(rules))]
			c := Condition{Operator: r.Operator, Key: pick(keys)}
			switch r.operand {
			case oneNumber:
				c.Numbers = some()[:1]
			case numbers:
				c.Numbers = some()
			case ranges:
				n := some()
				c.Ranges = [][2]float64{{slices.Min(n), slices.Max(n)}}
			case texts:
				c.Strings = []string{pick(parts), pick(parts)}[rnd.IntN(2):]
			case oneBool:
				c.Bool = rnd.IntN(2) == 0
			}
			d.Conditions = append(d.Conditions, c)
		}
		e := happened(actions[rnd.IntN(len(actions))])
		if rnd.IntN(3) == 0 {
			e.Target.Tag = pick(parts)
		}
		if mustAgree(t, d, e) {
			matches++
		}
		filters, happenings = append(filters, mustCompile(t, d)), append(happenings, e)
	}
	set := NewSet(filters...)
	all := 0
	for _, f := range filters {
		all += len(f.conditions)
	}
	if set.distinct == 0 || set.distinct >= all {
		t.Errorf("of %d conditions %d are distinct", all, set.distinct)
	}
	for _, e := range happenings[:100] {
		var want []int
		for i, f := range filters {
			if f.Match(NewView(e)) {
				want = append(want, i)
			}
		}
		if got := slices.Collect(set.Matching(NewView(e))); !slices.Equal(got, want) {
			t.Fatalf("together %d match, and one by one %d", len(got), len(want))
		}
	}
	if matches < rounds/20 || matches > rounds/2 {
		t.Errorf("%d of %d match: the filters are not near to the events", matches, rounds)
	}
}

// FuzzFilter: whatever is sent as a filter is refused or means what it should, of
// whatever strangers sent to the registry.
func FuzzFilter(f *testing.F) {
	f.Add(`{"includedEventTypes":["all"],"advancedFilters":[{"operatorType":"stringcontains","key":"data.target.tag","values":["v1."]}]}`, "team/api", "v1.2", "docker", int64(3), uint8(0))
	f.Add(`{"subjectBeginsWith":"team/","subjectEndsWith":null,"advancedFilters":[{"operatorType":"NumberNotInRange","key":"data.target.size","values":[[1,2.5]]},{"operatorType":"IsNotNull","key":"data.actor"}]}`, "Team/x", "K", "\xff", int64(2), uint8(6))
	f.Add(`{"isSubjectCaseSensitive":true,"enableAdvancedFilteringOnArrays":true,"advancedFilters":[{"operatorType":"BoolEquals","key":"data","value":false}]}`, "", "", "", int64(0), uint8(3))
	f.Fuzz(func(t *testing.T, text, repository, tag, agent string, size int64, n uint8) {
		var d Definition
		if json.Unmarshal([]byte(text), &d) != nil || d.Check() != nil {
			return
		}
		e := happened(event.Subscribable[int(n)%len(event.Subscribable)])
		e.Target.Repository, e.Target.Tag, e.Target.Size, e.Request.UserAgent = "r"+repository, tag, size, agent
		mustAgree(t, d, e)
	})
}

// FuzzFold: folded texts are equal where the texts are, but for case.
func FuzzFold(f *testing.F) {
	for _, s := range []string{"", "team/api", "K\u212ak", "ſsS", "İiIı", "ß\u1e9e", "ǅǆ", "\xff"} {
		f.Add(s, strings.ToUpper(s))
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		a, b = strings.ToValidUTF8(a, "\uFFFD"), strings.ToValidUTF8(b, "\uFFFD")
		if (fold(a) == fold(b)) != strings.EqualFold(a, b) || fold(fold(a)) != fold(a) || utf8.RuneCountInString(fold(a)) != utf8.RuneCountInString(a) {
			t.Errorf("%q and %q are folded to %q and %q", a, b, fold(a), fold(b))
		}
	})
}

// crowd returns filters of 25 conditions, of which the one at position last fails of
// a push.
func crowd(tb testing.TB, n, last int) (all []*Filter) {
	tb.Helper()
	for i := range n {
		var d Definition
		for j := range maxConditions {
			c := Condition{Operator: StringNotIn, Key: "data.target.repository", Strings: []string{fmt.Sprintf("team/%d-%d", i, j)}}
			if j == last {
				c = Condition{Operator: StringBeginsWith, Key: "data.target.tag", Strings: []string{fmt.Sprintf("none%d", i)}}
			}
			d.Conditions = append(d.Conditions, c)
		}
		all = append(all, mustCompile(tb, d))
	}
	return all
}

// TestMatchAllocatesNothing: what an event costs, it costs once.
func TestMatchAllocatesNothing(t *testing.T) {
	filters := crowd(t, 10, maxConditions-1)
	v := NewView(happened(event.Push))
	filters[0].Match(v)
	if n := testing.AllocsPerRun(100, func() {
		for _, f := range filters {
			f.Match(v)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkNoMatch500x25 is what an event costs that none of 500 filters takes, of
// 25 conditions each: which of them fails is in the name.
func BenchmarkNoMatch500x25(b *testing.B) {
	const n = 500
	first, last := crowd(b, n, 0), crowd(b, n, maxConditions-1)
	pulled := happened(event.Pull)
	pushed := happened(event.Push)
	for _, bench := range []struct {
		name    string
		filters []*Filter
		event   *event.Event
	}{{"type", first, pulled}, {"first", first, pushed}, {"last", last, pushed}} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			set := NewSet(bench.filters...)
			for b.Loop() {
				for range set.Matching(NewView(bench.event)) {
					b.Fatal("one matches")
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/filter")
		})
	}
}
