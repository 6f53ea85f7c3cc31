package portal

import (
	"context"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

const someDigest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

func TestImageOf(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]struct {
		repo oci.Repository
		ref  oci.Reference
	}{
		"web":                            {"web", oci.Reference{}},
		"team/web":                       {"team/web", oci.Reference{}},
		"team/web:v1.0":                  {"team/web", oci.Reference{Tag: "v1.0"}},
		"team/web@" + someDigest:         {"team/web", oci.Reference{Digest: someDigest}},
		"a/b/c/latest@" + someDigest:     {"a/b/c/latest", oci.Reference{Digest: someDigest}},
		"team/web:v1@" + someDigest:      {"team/web", oci.Reference{Digest: someDigest}},
		"":                               {},
		"Team/web":                       {},
		"team//web":                      {},
		"team/web@sha256:abc":            {},
		"team/web:":                      {},
		"../web":                         {},
		"team/<script>alert(1)</script>": {},
	} {
		repo, ref, err := imageOf(path)
		if (err == nil) != (want.repo != "") || err == nil && (repo != want.repo || ref != want.ref) {
			t.Errorf("%q: %q %+v %v", path, repo, ref, err)
		}
	}
}

func FuzzImageOf(f *testing.F) {
	f.Add("team/web:v1")
	f.Add("team/web@" + someDigest)
	f.Fuzz(func(t *testing.T, path string) {
		repo, ref, err := imageOf(path)
		if err != nil {
			return
		}
		v := &visit{registry: "contoso"}
		u, err := url.Parse(v.repositoryPath(string(repo), string(ref.Digest)))
		if err != nil {
			t.Fatal(err)
		}
		again, same, err := imageOf(strings.TrimPrefix(u.Path, "/portal/registries/contoso/repositories/"))
		if err != nil || again != repo || same.Digest != ref.Digest {
			t.Errorf("%q has the address %s, which is of %q %+v (%v)", path, u, again, same, err)
		}
	})
}

// names is a registry of which only the names of its repositories are asked for.
type names struct {
	oci.Contents
	all []string
}

func (n names) Repositories(_ context.Context, last string, most int) (page []oci.Repository, more bool, err error) {
	for _, name := range n.all {
		if name > last {
			if len(page) == most {
				return page, true, nil
			}
			page = append(page, oci.Repository(name))
		}
	}
	return page, false, nil
}

func TestRepositoriesAfter(t *testing.T) {
	t.Parallel()
	all := []string{"a", "team", "team-x/web", "team.x", "team/api", "team/web", "team/web/api", "team0", "teams/web", "z"}
	for range 2 * contentsPage {
		all = append(all, "zz/"+strings.Repeat("x", len(all)))
	}
	slices.Sort(all)
	for _, test := range []struct {
		prefix, last string
		want         string
		more         bool
	}{
		{"team/", "", "team/api team/web team/web/api", false},
		{"team/", "team/api", "team/web team/web/api", false},
		{"team", "", "team team-x/web team.x team/api team/web team/web/api team0 teams/web", false},
		{"team/web", "", "team/web team/web/api", false},
		{"b", "", "", false},
		{"team/", "zzz", "", false},
		{"A", "", "", false},
	} {
		got, more, err := repositoriesAfter(t.Context(), names{all: all}, test.prefix, test.last)
		var words []string
		for _, name := range got {
			words = append(words, string(name))
		}
		if strings.Join(words, " ") != test.want || more != test.more || err != nil {
			t.Errorf("%q after %q: %v %v %v", test.prefix, test.last, words, more, err)
		}
	}
	var read []string
	for last := ""; ; {
		page, more, _ := repositoriesAfter(t.Context(), names{all: all}, "", last)
		for _, name := range page {
			read = append(read, string(name))
		}
		if !more {
			break
		}
		last = string(page[len(page)-1])
	}
	if !slices.Equal(read, all) {
		t.Errorf("by pages %d names, of %d", len(read), len(all))
	}
}

func TestMeters(t *testing.T) {
	t.Parallel()
	got := meters([]controlclient.Usage{
		{Name: "IPRules", Limit: 200, Unit: "Count"}, {Name: "Tokens", Limit: 100, CurrentValue: 85, Unit: "Count"}, {Name: "VNetRules", Limit: 1, Unit: "Count"},
		{Name: "Webhooks", Limit: 2, CurrentValue: 2, Unit: "Count"}, {Name: "Something", Limit: -1, CurrentValue: 1234, Unit: "Count"},
		{Name: "Size", Limit: 1e9, CurrentValue: 25e7, Unit: "Bytes"}, {Name: "PrivateEndpointConnections", Limit: 1},
	})
	want := []meter{
		{"Storage", "250.0 MB", "1.0 GB", 25, "good"}, {"Webhooks", "2", "2", 100, "bad"}, {"Repository tokens", "85", "100", 85, "wait"},
		{"Something", "1\u202f234", "", 0, ""},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if over := meters([]controlclient.Usage{{Name: "Size", Limit: 10, CurrentValue: 99, Unit: "Bytes"}}); over[0].Percent != 100 {
		t.Errorf("beyond its limit: %+v", over)
	}
}

func TestTrouble(t *testing.T) {
	t.Parallel()
	hook := func(name string, h *controlclient.Health, reason string) controlclient.Webhook {
		w := controlclient.Webhook{Name: name, Health: h}
		w.Properties.DisabledReason = reason
		return w
	}
	got := troubled([]controlclient.Webhook{
		hook("well", &controlclient.Health{State: "ok"}, ""),
		hook("unasked", nil, ""),
		hook("off", &controlclient.Health{State: "disabled"}, ""),
		hook("paused", &controlclient.Health{State: "paused", Waiting: 3}, ""),
		hook("catching", &controlclient.Health{State: "catchingUp", Waiting: 3, Behind: 1000}, ""),
		hook("consent", &controlclient.Health{State: "awaitingConsent"}, ""),
		hook("failing", &controlclient.Health{State: "failing", ConsecutiveFailures: 7, Waiting: 1, LastStatus: 503}, ""),
		hook("silent", &controlclient.Health{State: "ok", ConsecutiveFailures: 1, LastError: "timeout"}, ""),
		hook("given", &controlclient.Health{State: "ok", DeadLetters: 12}, ""),
		hook("disabled", &controlclient.Health{State: "disabled"}, "it failed for 7 days"),
	})
	want := []trouble{
		{"failing", badge{"bad", "failing"}, "7 attempts failed in a row; 1 event waiting; last answer 503"},
		{"silent", badge{"bad", "failing"}, "1 attempt failed in a row; nothing waits; no answer: timeout"},
		{"given", badge{"bad", "gave up"}, "12 events among the dead letters"},
		{"disabled", badge{"bad", "disabled"}, "it failed for 7 days"},
		{"catching", badge{"wait", "catching up"}, "up to 1\u202f003 events waiting"},
		{"consent", badge{"wait", "awaits consent"}, "its address has not agreed to be rung; nothing waits"},
		{"paused", badge{"pause", "paused"}, "3 events waiting"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	for _, test := range []struct {
		list []trouble
		of   int
		want badge
	}{{nil, 0, badge{"", "no webhooks"}}, {nil, 1, badge{"good", "1 webhook well"}}, {want, 10, badge{"bad", "7 of 10 in trouble"}}, {want[4:], 10, badge{"wait", "3 of 10 in trouble"}}} {
		if got := troubleSummary(test.list, test.of); got != test.want {
			t.Errorf("%d of %d: %+v", len(test.list), test.of, got)
		}
	}
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	var reg controlclient.Registry
	off := policiesOf(reg)
	p := &reg.Properties
	p.AnonymousPullEnabled, p.Policies.Quarantine.Status = true, "enabled"
	p.Policies.Retention.Status, p.Policies.Retention.Days = "enabled", 1
	p.Policies.SoftDelete.Status, p.Policies.SoftDelete.Days = "enabled", 7
	on := policiesOf(reg)
	for i := range off {
		if !strings.HasPrefix(off[i].Text, "Off: ") || !strings.HasPrefix(on[i].Text, "On: ") {
			t.Errorf("%+v, %+v", off[i], on[i])
		}
	}
	if !strings.Contains(on[1].Text, "after 1 day.") || !strings.Contains(on[2].Text, "for 7 days.") {
		t.Errorf("%+v", on)
	}
}

func TestMarks(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		state oci.QuarantineState
		on    bool
		want  badge
	}{
		{oci.Undecided, false, badge{}}, {oci.Undecided, true, badge{"wait", "in quarantine"}}, {oci.Quarantined, true, badge{"wait", "in quarantine"}},
		{oci.Passed, true, badge{"good", "passed"}}, {oci.Failed, false, badge{"bad", "failed"}},
	} {
		if got := quarantineMark(test.state, test.on); got != test.want {
			t.Errorf("%q, %v: %+v", test.state, test.on, got)
		}
	}
	for state, want := range map[string]badge{"delivered": {"good", "delivered"}, "refused": {"", "refused"}, "waiting": {"wait", "waiting"}, "deadLettered": {"bad", "given up"}, "new": {"", "new"}} {
		if got := ringMark(state); got != want {
			t.Errorf("%s: %+v", state, got)
		}
	}
	for _, test := range []struct {
		a     oci.Attributes
		locks string
		text  string
	}{
		{oci.Attributes{Delete: true, Write: true, Read: true, List: true}, "", "push, delete, pull, list"},
		{oci.Attributes{Read: true, List: true}, "no push, no delete", "pull, list"},
		{oci.Attributes{Delete: true, Read: true, List: true}, "no push", "pull, list"}, // what may not be changed may not be deleted
		{oci.Attributes{}, "no push, no delete, no pull, not listed", "nothing"},
	} {
		var locks []string
		for _, m := range locksOf(test.a) {
			locks = append(locks, m.Word)
		}
		if got := strings.Join(locks, ", "); got != test.locks || allowedText(test.a) != test.text {
			t.Errorf("%+v: %q, %q", test.a, got, allowedText(test.a))
		}
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	const helm = "application/vnd.cncf.helm.config.v1+json"
	for _, test := range []struct {
		d    oci.ManifestDetails
		want string
		pull []string
	}{
		{oci.ManifestDetails{MediaType: oci.MediaTypeImageManifest, ConfigMediaType: oci.MediaTypeImageConfig}, "image", []string{"docker pull r.io/x:v1", "docker pull r.io/x@d"}},
		{oci.ManifestDetails{MediaType: oci.MediaTypeDockerManifest, ArtifactType: oci.MediaTypeDockerConfig}, "image", []string{"docker pull r.io/x:v1", "docker pull r.io/x@d"}},
		{oci.ManifestDetails{MediaType: oci.MediaTypeImageIndex}, "index", []string{"docker pull r.io/x:v1", "docker pull r.io/x@d"}},
		{oci.ManifestDetails{MediaType: oci.MediaTypeImageManifest, ConfigMediaType: helm}, "Helm chart", []string{"helm pull oci://r.io/x --version v1"}},
		{oci.ManifestDetails{MediaType: oci.MediaTypeImageManifest, ArtifactType: "application/sbom"}, "application/sbom", []string{"oras pull r.io/x@d"}},
		{oci.ManifestDetails{MediaType: oci.MediaTypeImageManifest, ConfigMediaType: oci.MediaTypeEmptyJSON}, "artifact", []string{"oras pull r.io/x@d"}},
	} {
		kind := kindOf(test.d)
		if got := pullCommands(kind, "r.io", "x", "v1", "d"); kind != test.want || !slices.Equal(got, test.pull) {
			t.Errorf("%+v: %s %q", test.d, kind, got)
		}
	}
	if got := pullCommands("image", "r.io", "x", "", "d"); !slices.Equal(got, []string{"docker pull r.io/x@d"}) {
		t.Errorf("without a tag: %q", got)
	}
	for p, want := range map[oci.Platform]string{
		{}: "", {OS: "unknown", Architecture: "unknown"}: "", {OS: "linux", Architecture: "amd64"}: "linux/amd64", {OS: "linux", Architecture: "arm", Variant: "v7"}: "linux/arm/v7",
	} {
		if got := platformText(p); got != want {
			t.Errorf("%+v: %q", p, got)
		}
	}
}

func TestParseConfig(t *testing.T) {
	t.Parallel()
	facts, ok := parseConfig([]byte(`{"created":"2026-01-02T03:04:05Z","author":"a","config":{"Env":["PASSWORD=s3cret"],"Entrypoint":["/bin/sh","-c","echo \"x\""],"Cmd":null,
		"User":"1","ExposedPorts":{"9/udp":{},"8/tcp":{}},"Labels":{"b":"2","a":"<1>"}}}`))
	want := &configFacts{
		Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Author: "a", Entrypoint: `/bin/sh -c "echo \"x\""`, User: "1", Ports: "8/tcp, 9/udp", Labels: []pair{{"a", "<1>"}, {"b", "2"}},
	}
	if !ok || !reflect.DeepEqual(facts, want) {
		t.Errorf("got %+v", facts)
	}
	for _, text := range []string{"", "[]", `{"config":7}`, `"x"`} {
		if _, ok := parseConfig([]byte(text)); ok {
			t.Errorf("%q is a config", text)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"created":"x","config":{"Cmd":["a\u0000b",""]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if facts, ok := parseConfig(data); ok && strings.ContainsFunc(facts.Cmd, func(r rune) bool { return r < ' ' }) {
			t.Errorf("%q has control characters: %q", data, facts.Cmd)
		}
	})
}

func TestFilterOf(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]controlclient.FeedFilter{
		"":                    {},
		"action=push":         {Action: "push"},
		"image=team/web":      {Repository: "team/web"},
		"image=+team/web:v1+": {Repository: "team/web", Tag: "v1"},
		"action=delete&image=team/web@" + someDigest: {Action: "delete", Repository: "team/web", Digest: someDigest},
	} {
		q, err := url.ParseQuery(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := filterOf(q); got != want {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

// TestTailSends: what strangers wrote ends no event of a stream, and begins none.
func TestTailSends(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	tail, done, err := new(portal).tailing(w)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	tail.send("7", "row", "<tr>\n\nevent: end\r\n\rdata: x</tr>")
	tail.send("8", "", "")
	tail.send("9", "part", "")
	const want = ":\nid: 7\nevent: row\ndata: <tr>\ndata: \ndata: event: end\ndata: \ndata: \ndata: data: x</tr>\n\n:\nid: 8\n\n:\nid: 9\nevent: part\ndata:\n\n"
	if got := w.Body.String(); got != want || !w.Flushed {
		t.Errorf("got %q", got)
	}
}

func TestUnseen(t *testing.T) {
	t.Parallel()
	gone, hidden := unseen(oci.NameUnknown("team/web"), "repository team/web"), unseen(fault.New(fault.Denied, "no"), "repository team/web")
	if gone.Error() != hidden.Error() {
		t.Errorf("%v, %v", gone, hidden)
	}
}
