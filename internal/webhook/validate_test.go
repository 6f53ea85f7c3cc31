package webhook

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
)

// TestValidate compares a dry run with the real thing: it finds a problem where that
// fails, its first one in the same words, names every member that is wrong, and
// changes nothing.
func TestValidate(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		w.put(contoso, "there", func(d *Definition) { d.ServiceURI = "https://hooks.example.net/there" })
		w.put(fabrika, "firsthook", nil)
		w.put(fabrika, "secondhook", nil)
		for i, tt := range []struct {
			reg    Registry
			name   string
			change func(*Definition)
			want   []Member
		}{
			{contoso, "goodhook", nil, nil},
			{contoso, "x", nil, []Member{MemberName}},
			{contoso, "there", nil, nil},
			{contoso, "there", func(d *Definition) { d.ServiceURI = "" }, nil}, // it keeps the one it has
			{contoso, "there", func(d *Definition) { d.Location = "westeurope" }, []Member{MemberLocation}},
			{contoso, "otherhook", func(d *Definition) { d.Location = "mars" }, []Member{MemberLocation}},
			{contoso, "otherhook", func(d *Definition) { d.ServiceURI = "" }, []Member{MemberServiceURI}},
			{contoso, "otherhook", func(d *Definition) { d.ServiceURI = "ftp://x" }, []Member{MemberServiceURI}},
			{contoso, "otherhook", func(d *Definition) { d.Format = "github" }, []Member{MemberServiceURI}},
			{contoso, "otherhook", func(d *Definition) { d.EventTypePrefix = "com.example" }, []Member{MemberTypePrefix}},
			{contoso, "otherhook", func(d *Definition) {
				d.ServiceURI, d.TLS = "http://localhost:1", &TLS{CA: []byte("no PEM")}
			}, []Member{MemberTLS}},
			{contoso, "-", func(d *Definition) {
				*d = Definition{
					Tags: map[string]string{"": "x"}, ServiceURI: "x", CustomHeaders: map[string]string{"Host": "x"}, Status: "on", Scope: "*",
					Actions: []string{"fly"}, SignatureHeaders: []string{"wax"}, Format: "fax", Handshake: "firm", EventTypePrefix: "no prefix",
				}
			}, []Member{
				MemberName, MemberTags, MemberServiceURI, MemberHeaders, MemberStatus, MemberScope, MemberActions, MemberStyles, MemberFormat,
				MemberHandshake, MemberTypePrefix, MemberLocation,
			}},
			{fabrika, "thirdhook", nil, []Member{""}},
		} {
			def := definition()
			if tt.change != nil {
				tt.change(&def)
			}
			before, handshakes := fmt.Sprint(w.list(contoso), w.list(fabrika)), w.handshakes()
			v, err := w.ValidatePut(t.Context(), tt.reg, tt.name, def)
			if err != nil {
				t.Fatalf("%d: %v", i, err)
			}
			var got []Member
			for _, p := range v.Problems {
				got = append(got, p.Member)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%d: problems with %q, want %q: %v", i, got, tt.want, v.Problems)
			}
			if after := fmt.Sprint(w.list(contoso), w.list(fabrika)); after != before || w.handshakes() != handshakes {
				t.Fatalf("%d: it changes something", i)
			}
			_, _, err = w.Put(t.Context(), tt.reg, tt.name, def, ada)
			if (err != nil) != (len(tt.want) > 0) {
				t.Errorf("%d: the real thing fails with %v, the dry run found %v", i, err, v.Problems)
			}
			if err != nil && (len(v.Problems) == 0 || v.Problems[0].Err.Error() != err.Error()) {
				t.Errorf("%d: %v, the real thing: %v", i, v.Problems, err)
			}
		}
		scope, none := "team/web:*", []string{}
		v, err := w.ValidatePatch(t.Context(), contoso, "there", Change{Scope: &scope})
		if err != nil || len(v.Problems) > 0 {
			t.Fatalf("%v %v", v.Problems, err)
		}
		for _, x := range []struct {
			e    *event.Event
			want bool
		}{{happened(event.Push, "team/web", "v1"), true}, {happened(event.Push, "team/api", "v1"), false}, {happened(event.Delete, "team/web", ""), false}} {
			if got := v.Wants(x.e); got != x.want {
				t.Errorf("%s %s: wanted %v", x.e.Action, x.e.Target.Repository, got)
			}
		}
		if v, err = w.ValidatePatch(t.Context(), contoso, "there", Change{Actions: none}); err != nil || v.Wants != nil || len(v.Problems) != 1 || v.Problems[0].Member != MemberActions {
			t.Errorf("no actions: %v %v", v.Problems, err)
		}
		if _, err := w.ValidatePatch(t.Context(), contoso, "nosuch", Change{}); !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), "nosuch") {
			t.Errorf("of none: %v", err)
		}
	})
}

// list returns the webhooks of a registry.
func (w *world) list(reg Registry) []Webhook {
	w.t.Helper()
	all, err := w.List(w.t.Context(), reg)
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}
