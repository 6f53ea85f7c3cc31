package arm

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/tenant"
)

func TestParseResourceFilter(t *testing.T) {
	t.Parallel()
	const bad = "bad"
	for text, want := range map[string]string{
		"": "||",
		"resourceType eq 'Microsoft.ContainerRegistry/registries'":       "Microsoft.ContainerRegistry/registries||",
		"resourcetype EQ 'x' AND name eq 'contoso'":                      "x|contoso|",
		"name eq 'a b' and resourceGroup eq 'g' and resourceType eq 'x'": "x|a b|g",
		"  name eq 'x'  ":            "|x|",
		"name eq ''":                 "||",
		"name eq 'x' and":            bad,
		"name eq 'x' and ":           bad,
		"name eq 'x' or name eq 'y'": bad,
		"name eq x":                  bad,
		"name eq 'x":                 bad,
		"name ne 'x'":                bad,
		"name 'x'":                   bad,
		"tagName eq 'x'":             bad,
		"substringof('x',name)":      bad,
		"'":                          bad,
	} {
		f, err := parseResourceFilter(text)
		got := strings.Join([]string{f.kind, f.name, f.group}, "|")
		if err != nil {
			got = bad
			if fault.As(err).Code != "InvalidFilterInQueryString" {
				t.Errorf("%q: %v", text, err)
			}
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// FuzzResourceFilter checks that what is taken wants what it names.
func FuzzResourceFilter(f *testing.F) {
	for _, seed := range []string{"name eq 'x' and resourceType eq 'y'", "resourceGroup eq 'g'", "'' eq ''", "name eq 'x' and"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		filter, err := parseResourceFilter(text)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatal(err)
			}
			return
		}
		if !filter.wants(filter.kind, filter.name) {
			t.Fatalf("%q does not want what it names: %+v", text, filter)
		}
	})
}

func TestRegistryInput(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{}`:                           "",
		`{"properties":null}`:          "",
		`{"properties":{}}`:            "",
		`{"identity":{"type":"none"}}`: "",
		`{"properties":{"adminUserEnabled":true,"adminUserEnabledx":1}}`:                                  "admin=true",
		`{"properties":{"adminUserEnabled":null,"zoneRedundancy":null}}`:                                  "",
		`{"properties":{"anonymousPullEnabled":false,"zoneRedundancy":"Enabled"}}`:                        "anonymousPullEnabled=false zoneRedundancy=Enabled",
		`{"properties":{"policies":{"retentionPolicy":{"days":30,"status":"disabled"},"other":{"x":1}}}}`: "policies.retentionPolicy.days=30 policies.retentionPolicy.status=disabled",
		`{"properties":{"policies":{"retentionPolicy":{"days":1.5}}}}`:                                    "policies.retentionPolicy.days=1.5",
		`{"properties":{"policies":{"retentionPolicy":null}}}`:                                            "",
		`{"properties":{"networkRuleSet":{"ipRules":[]}}}`:                                                "networkRuleSet.ipRules=[]",
		`{"properties":{"networkRuleSet":{"ipRules":[{"value":"1.2.3.4"}]}}}`:                             "networkRuleSet.ipRules=[1 of them]",
		`{"properties":{"adminUserEnabled":"yes"}}`:                                                       "properties.adminUserEnabled must be true or false",
		`{"properties":{"policies":"none"}}`:                                                              "properties.policies is of the wrong type: it must be an object",
		`{"properties":{"policies":{"trustPolicy":7}}}`:                                                   "properties.policies.trustPolicy is of the wrong type: it must be an object",
		`{"properties":{"zoneRedundancy":{}}}`:                                                            "properties.zoneRedundancy is of the wrong type: it must be a plain value",
		`{"identity":{"type":"SystemAssigned"}}`:                                                          "identity.type cannot be SystemAssigned: a registry has no identity of its own here; use None, or leave identity out",
	} {
		var in registryInput
		if err := decode([]byte(body), &in); err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		sent, admin, err := in.settings()
		var words []string
		if admin != nil && *admin {
			words = append(words, "admin=true")
		}
		for _, name := range slices.Sorted(maps.Keys(sent)) {
			words = append(words, name+"="+sent[name])
		}
		got := strings.Join(words, " ")
		if err != nil {
			got = fault.As(err).Message
		}
		if got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
}

// FuzzRegistryInput checks that a body that is taken sets nothing but known
// settings.
func FuzzRegistryInput(f *testing.F) {
	for _, seed := range []string{`{"properties":{"policies":{"retentionPolicy":{"days":30}}}}`, `{"properties":{"networkRuleSet":{"ipRules":[1]}}}`, `{"identity":{}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var in registryInput
		if json.Unmarshal(body, &in) != nil {
			return
		}
		sent, _, err := in.settings()
		if err != nil && !fault.Is(err, fault.Invalid) {
			t.Fatal(err)
		}
		for name := range sent {
			if !slices.ContainsFunc(tenant.KnownSettings, func(k tenant.Setting) bool { return k.Name == name }) {
				t.Fatalf("%s sets %s", body, name)
			}
		}
	})
}
