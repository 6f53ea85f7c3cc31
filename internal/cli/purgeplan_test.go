package cli

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/registryclient"
)

func TestParsePurgeFilter(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text          string
		repo, tag     string
		match, differ []string // repository:tag
	}{
		{"web:.*", "web", "", []string{"web:v1", "web:"}, []string{"web2:v1", "my/web:v1"}},
		{"web:v1", "web", "", []string{"web:v1", "web:v10", "web:rv1"}, []string{"web:v2"}},
		{"web:^v1$", "web", "", []string{"web:v1"}, []string{"web:v10"}},
		{"team/.*:^(?:a|b)", "", "", []string{"team/x:a1", "team/x/y:b"}, []string{"team:a", "team/x:ca"}},
		{"(?:web|api):x", "", "", []string{"web:x", "api:x"}, []string{"webx:x", "cli:x"}},
		{"[a:b]+:x", "", "", []string{"ab:x"}, []string{"c:x"}},
		{`we\:b:x`, "", "", nil, []string{"web:x"}},
	} {
		f, err := parsePurgeFilter(tt.text)
		if err != nil {
			t.Errorf("%q: %v", tt.text, err)
			continue
		}
		if f.name != tt.repo {
			t.Errorf("%q means %q by name, want %q", tt.text, f.name, tt.repo)
		}
		for i, list := range [][]string{tt.match, tt.differ} {
			for _, image := range list {
				repo, tag, _ := strings.Cut(image, ":")
				if got := f.repository.MatchString(repo) && f.tag.MatchString(tag); got != (i == 0) {
					t.Errorf("%q matches %s: %v", tt.text, image, got)
				}
			}
		}
	}
	for _, text := range []string{"", ":", "web", "web:", ":v1", "(:v1", "web:(", "(a:b)", "web:[", `\:`} {
		if f, err := parsePurgeFilter(text); err == nil {
			t.Errorf("%q is taken as %+v", text, f)
		}
	}
}

// FuzzParsePurgeFilter: whatever is typed is refused or taken apart.
func FuzzParsePurgeFilter(f *testing.F) {
	for _, s := range []string{"web:.*", "(?:a|b):^x$", "[", `\`, "a:b:c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		filter, err := parsePurgeFilter(s)
		if err == nil && (filter.name != "" && !filter.repository.MatchString(filter.name)) {
			t.Errorf("%q does not match the repository it names, %q", s, filter.name)
		}
	})
}

var (
	purgeNow = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	no       = false
)

func daysOld(n int) time.Time { return purgeNow.AddDate(0, 0, -n) }

func purgeOf(keep int, filters ...string) *purge {
	p := &purge{before: daysOld(30), keep: keep}
	for _, text := range filters {
		f, err := parsePurgeFilter(text)
		if err != nil {
			panic(err)
		}
		p.filters = append(p.filters, f)
	}
	return p
}

func TestPlanTags(t *testing.T) {
	t.Parallel()
	tag := func(name string, days int) registryclient.Tag {
		return registryclient.Tag{Name: name, Digest: "sha256:" + name, UpdatedAt: daysOld(days)}
	}
	locked, unwritten := tag("locked", 90), tag("unwritten", 90)
	locked.Attributes.Delete, unwritten.Attributes.Write = &no, &no
	tags := []registryclient.Tag{tag("pr-1", 100), tag("pr-2", 60), tag("pr-3", 31), tag("pr-4", 30), tag("pr-5", 1), tag("v1", 100), locked, unwritten}
	for _, tt := range []struct {
		plan *purge
		want string
	}{
		{purgeOf(0, "web:^pr-"), "pr-3 pr-2 pr-1"},
		{purgeOf(2, "web:^pr-"), "pr-1"},
		{purgeOf(9, "web:^pr-"), ""},
		{purgeOf(0, "web:pr-2", "web:^v"), "pr-2 v1"},
		{purgeOf(0, "other:.*"), ""},
		{purgeOf(1, ".*:.*"), "pr-2 locked! unwritten! pr-1 v1"},
	} {
		var got []string
		for _, d := range tt.plan.planTags("web", tags) {
			name := d.tag
			if d.result == purgedLocked {
				name += "!"
			}
			got = append(got, name)
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%v, keep %d: %q, want %q", tt.plan.filters, tt.plan.keep, s, tt.want)
		}
	}
}

// TestPlanManifests has all that holds a manifest, and all that does not.
func TestPlanManifests(t *testing.T) {
	t.Parallel()
	contents := map[string][]byte{}
	var manifests []registryclient.Manifest
	var tags []registryclient.Tag
	put := func(name string, days int, subject string, children ...string) {
		m := registryclient.Manifest{Digest: name, MediaType: oci.MediaTypeImageManifest, UpdatedAt: daysOld(days)}
		text := `{"subject":{"digest":"` + subject + `"}`
		if children != nil {
			m.MediaType = oci.MediaTypeImageIndex
			text += `,"manifests":[{"digest":"` + strings.Join(children, `"},{"digest":"`) + `"}]`
		}
		contents[name] = []byte(text + "}")
		manifests = append(manifests, m)
	}
	name := func(tag, digest string) {
		tags = append(tags, registryclient.Tag{Name: tag, Digest: digest, UpdatedAt: daysOld(90)})
	}
	put("stays: tagged", 90, "")
	name("v1", "stays: tagged")
	put("stays: about a tagged one", 90, "stays: tagged")
	put("stays: about that", 90, "stays: about a tagged one")
	put("goes: its tag goes", 90, "")
	name("pr-1", "goes: its tag goes")
	put("goes: about it", 90, "goes: its tag goes")
	put("goes: untagged", 90, "")
	put("goes: about nothing", 90, "not there")
	put("stays: young", 1, "")
	put("stays: tagged index", 90, "", "stays: listed", "stays: index in it")
	name("multi", "stays: tagged index")
	put("stays: listed", 90, "")
	put("stays: index in it", 90, "", "stays: listed in there")
	put("stays: listed in there", 90, "")
	put("goes: index", 90, "", "goes: listed", "stays: listed")
	put("goes: listed", 90, "")
	put("stays: young index", 1, "", "stays: listed by the young")
	put("stays: listed by the young", 90, "")
	put("stays: locked index", 90, "", "stays: listed by the locked")
	put("stays: listed by the locked", 90, "")
	for i, m := range manifests {
		if m.Digest == "stays: locked index" {
			manifests[i].Attributes.Delete = &no
		}
	}
	p := purgeOf(0, "web:^pr-")
	read := 0
	got, err := p.planManifests("web", tags, manifests, p.planTags("web", tags), func(digest string) ([]byte, error) {
		read++
		return contents[digest], nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var names, want []string
	for _, d := range got {
		names = append(names, d.digest)
	}
	for _, m := range manifests {
		if strings.HasPrefix(m.Digest, "goes: ") {
			want = append(want, m.Digest)
		}
	}
	if names[0] != "goes: index" {
		t.Errorf("%q goes first, want the index", names[0])
	}
	slices.Sort(names)
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("%q go,\nwant %q", names, want)
	}
	if read >= len(manifests) {
		t.Errorf("all %d manifests were read", read)
	}
	if _, err := p.planManifests("web", tags, manifests, nil, func(string) ([]byte, error) { return nil, fmt.Errorf("no connection") }); err == nil {
		t.Error("what cannot be read holds nothing")
	}
}
