package subscription

import (
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/dockbell/dockbell/internal/fault"
)

// TestSystemTopics: one for each registry, one of a name in each resource group, and
// none of a registry that is deleted.
func TestSystemTopics(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		put := func(group string, registry int64, name string, tags map[string]string) (SystemTopic, string) {
			stored, created, err := w.PutSystemTopic(ctx, group, SystemTopic{RegistryID: registry, Name: name, Tags: tags})
			switch {
			case fault.Is(err, fault.Conflict):
				return stored, "conflict"
			case fault.Is(err, fault.Invalid):
				return stored, "invalid"
			case err != nil:
				t.Fatal(err)
			case created:
				return stored, "created"
			}
			return stored, "replaced"
		}
		many := map[string]string{}
		for _, c := range strings.Split(strings.Repeat("x", 51), "") {
			many[strings.Repeat(c, len(many)+1)] = ""
		}
		for _, x := range []struct {
			group    string
			registry int64
			name     string
			tags     map[string]string
			want     string
		}{
			{"build", 1, "Events", nil, "created"},
			{"build", 1, "events", map[string]string{"a": "b"}, "replaced"},
			{"build", 1, "others", nil, "conflict"},
			{"BUILD", 2, "EVENTS", nil, "conflict"},
			{"other", 2, "EVENTS", nil, "created"},
			{"build", 3, "ab", nil, "invalid"},
			{"build", 3, "a_b", nil, "invalid"},
			{"build", 3, strings.Repeat("a", 129), nil, "invalid"},
			{"build", 3, "abc", many, "invalid"},
			{"build", 3, "abc", map[string]string{"": "x"}, "invalid"},
			{"build", 3, "abc", map[string]string{"a": strings.Repeat("x", 257)}, "invalid"},
		} {
			if stored, got := put(x.group, x.registry, x.name, x.tags); got != x.want {
				t.Errorf("%s of registry %d in %s: %s, want %s: %+v", x.name, x.registry, x.group, got, x.want, stored)
			}
		}
		list := func() []SystemTopic {
			all, err := w.SystemTopics(ctx)
			if err != nil {
				t.Fatal(err)
			}
			return all
		}
		if diff := gocmp.Diff([]SystemTopic{{1, "Events", map[string]string{"a": "b"}}, {2, "EVENTS", nil}}, list()); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		w.answer = agrees
		w.put("on-push", definition())
		if err := w.DropAll(ctx, 1); err != nil {
			t.Fatal(err)
		}
		if err := w.DeleteSystemTopic(ctx, 3); err != nil {
			t.Errorf("one that is not there: %v", err)
		}
		if diff := gocmp.Diff([]SystemTopic{{2, "EVENTS", nil}}, list()); diff != "" {
			t.Errorf("when the registry was deleted (-want +got)\n%s", diff)
		}
		if _, got := put("build", 3, "events", nil); got != "created" {
			t.Errorf("a name that is free again: %s", got)
		}
	})
}
