package event

import (
	"encoding/json"
	"strings"
	"testing"
)

// mustAgree fails unless the members of an event are what its JSON has, all of them.
func mustAgree(t *testing.T, e *Event, read map[string]any) {
	t.Helper()
	content := ContentOf(e)
	seen := map[Key]bool{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		k := ParseKey(path)
		seen[k] = true
		got := content.Member(k)
		if n, ok := got.(int64); ok {
			got = float64(n)
		}
		if members, ok := v.(map[string]any); ok {
			for name, member := range members {
				walk(path+"."+name, member)
			}
			v = Object{}
		}
		if s, ok := got.(string); ok {
			got = toJSON(s)
		}
		if k == 0 || got != v {
			t.Errorf("%s of %s is %#v in JSON, and as a member %#v", path, e.Action, v, got)
		}
	}
	for name, v := range read {
		if name != "subject" || v != "" {
			walk(name, v)
		}
	}
	for k := Key(1); k < Key(Keys); k++ {
		if strings.HasPrefix(members[k].paths, "data") && members[k].paths != "dataversion" && !seen[k] && content.Member(k) != nil {
			t.Errorf("%s of %s is in no JSON, and as a member %#v", members[k].paths, e.Action, content.Member(k))
		}
	}
}

// TestMembers: members are what JSON has, of every action.
func TestMembers(t *testing.T) {
	t.Parallel()
	for _, s := range samples() {
		check(t, s.event)
	}
	for path, want := range map[string]any{
		"Subject": "team/api:1.4.2", "EVENTTYPE": "Microsoft.ContainerRegistry.ImagePushed", "type": "Microsoft.ContainerRegistry.ImagePushed", "Topic": acme, "source": acme,
		"data.Target.Size": int64(1471), "data.target": Object{}, "data.target.name": nil, "data.connectedregistry": nil, "": nil, "data.": nil, "x": nil, "data.target.tag.x": nil,
	} {
		if got := ContentOf(cloudSample(Push)).Member(ParseKey(path)); got != want {
			t.Errorf("%s is %#v, want %#v", path, got, want)
		}
	}
	if got := ContentOf(cloudSample(Push)).Member(255); got != nil {
		t.Errorf("no key's is %#v", got)
	}
}

// TestWithoutRecord: what was read without its record has no members that are there
// alone, whatever happened.
func TestWithoutRecord(t *testing.T) {
	t.Parallel()
	for _, action := range append(allActions, "") {
		content := ContentOf(&Event{ID: "5f4c", Action: action})
		for k := range Key(Keys) {
			content.Member(k)
		}
		if got := content.Member(ParseKey("data.target.mediaType")); got != nil {
			t.Errorf("%s: the media type is %#v", action, got)
		}
	}
}

// toJSON returns a text as it is once written to JSON and read again.
func toJSON(s string) (again string) {
	if json.Unmarshal(compact(s), &again) != nil {
		panic("a text is JSON")
	}
	return again
}
