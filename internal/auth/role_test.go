package auth

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/fault"
)

// TestRoles has what each role may do of each action that matters here.
func TestRoles(t *testing.T) {
	t.Parallel()
	columns := strings.Fields("Owner Contributor Reader AcrPull AcrPush AcrDelete AcrQuarantineReader AcrQuarantineWriter")
	if got := RoleNames(); fmt.Sprint(got) != fmt.Sprint(columns) {
		t.Fatalf("the roles are %v", got)
	}
	const registries = "Microsoft.ContainerRegistry/registries"
	for action, may := range map[string]string{
		registries + "/read":                                "x x x - - - - -",
		registries + "/write":                               "x x - - - - - -",
		registries + "/delete":                              "x x - - - - - -",
		registries + "/listCredentials/action":              "x x - - - - - -",
		registries + "/listUsages/read":                     "x x x - - - - -",
		registries + "/webhooks/read":                       "x x x - - - - -",
		registries + "/webhooks/write":                      "x x - - - - - -",
		registries + "/webhooks/getCallbackConfig/action":   "x x - - - - - -",
		registries + "/webhooks/ping/action":                "x x - - - - - -",
		registries + "/webhooks/listEvents/action":          "x x - - - - - -",
		registries + "/webhooks/operationStatuses/read":     "x x x - - - - -",
		registries + "/pull/read":                           "x x x x x - - -",
		registries + "/push/write":                          "x x - - x - - -",
		registries + "/artifacts/delete":                    "x x - - - x - -",
		registries + "/metadata/write":                      "x x - - - - - -",
		registries + "/quarantine/read":                     "x x x - - - x x",
		registries + "/quarantine/write":                    "x x - - - - - x",
		registries + "/quarantinedArtifacts/read":           "x x - - - - x x",
		registries + "/quarantinedArtifacts/write":          "x x - - - - - x",
		"Microsoft.Authorization/roleAssignments/read":      "x x x - - - - -",
		"Microsoft.Authorization/roleAssignments/write":     "x - - - - - - -",
		"Microsoft.Authorization/roleAssignments/delete":    "x - - - - - - -",
		"Microsoft.Authorization/elevateAccess/action":      "x - - - - - - -",
		"Microsoft.Resources/subscriptions/read":            "x x x - - - - -",
		"MICROSOFT.CONTAINERREGISTRY/REGISTRIES/PULL/READ":  "x x x x x - - -",
		"microsoft.authorization/roleassignments/WRITE":     "x - - - - - - -",
		registries + "/pull/reader":                         "x x - - - - - -",
		"x" + registries + "/pull/read":                     "x x x - - - - -",
		registries + "/read/action":                         "x x - - - - - -",
		"Microsoft.Authorization/write":                     "x x - - - - - -", // no word between the slashes
		"Microsoft.Authorization/a/b/c/Write":               "x - - - - - - -",
		"Microsoft.AuthorizationX/roleAssignments/write":    "x x - - - - - -",
		"Microsoft.ContainerRegistry/registriesread":        "x x - - - - - -",
		"Microsoft.ContainerRegistry/checkNameAvailability": "x x - - - - - -",
	} {
		for i, want := range strings.Fields(may) {
			role, err := ParseRole(strings.ToUpper(columns[i]))
			if err != nil {
				t.Fatal(err)
			}
			if got := role.Allows(action); got != (want == "x") {
				t.Errorf("%s, %s: %t", role.Name, action, got)
			}
		}
	}
}

func TestUnknownRole(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"AcrPul":  `there is no role "AcrPul": use one of Owner, Contributor, Reader, AcrPull, AcrPush, AcrDelete, AcrQuarantineReader, AcrQuarantineWriter, did you mean AcrPull?`,
		"admin":   `there is no role "admin": use one of Owner, Contributor, Reader, AcrPull, AcrPush, AcrDelete, AcrQuarantineReader, AcrQuarantineWriter`,
		"readers": `, did you mean Reader?`,
		"":        `there is no role "": use one of Owner`,
	} {
		if _, err := ParseRole(name); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern, text string
		want          bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"*", "a/b", true}, {"a", "a", true}, {"a", "ab", false},
		{"a*", "a", true}, {"a*", "ba", false}, {"*a", "ba", true}, {"*a", "ab", false},
		{"a*c", "abc", true}, {"a*c", "ac", true}, {"a*c", "acb", false}, {"ab*ba", "aba", false},
		{"a*b*c", "a1b2c", true}, {"a*b*c", "a1c2b", false}, {"a*b*b", "ab", false}, {"a**b", "ab", true}, {"*/read", "read", false},
	} {
		if got := match(tt.pattern, tt.text); got != tt.want {
			t.Errorf("match(%q, %q) = %t", tt.pattern, tt.text, got)
		}
	}
}

func TestWithin(t *testing.T) {
	t.Parallel()
	const subscription = "/subscriptions/s"
	const registry = subscription + "/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/contoso"
	for _, tt := range []struct {
		outer, id string
		want      bool
	}{
		{"/", registry, true}, {"/", "/", true}, {"/", "", true},
		{subscription, subscription, true}, {subscription, registry, true}, {subscription + "/", registry, true},
		{subscription, "/subscriptions/s2", false}, {subscription, "/subscriptions", false}, {subscription, "/", false}, {subscription, "", false},
		{registry, registry, true}, {registry, strings.ToUpper(registry), true}, {strings.ToLower(registry), registry + "/webhooks/x", true},
		{registry, registry + "2", false}, {registry, subscription, false}, {registry, subscription + "/resourceGroups/g", false},
	} {
		if got := within(tt.outer, tt.id); got != tt.want {
			t.Errorf("within(%q, %q) = %t", tt.outer, tt.id, got)
		}
	}
}

// TestRightsInARegistry has what each role is given of everything that can be
// asked for.
func TestRightsInARegistry(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	const all = "repository:x:* registry:catalog:* registry:deleted_catalog:* registry:other:* artifact-repository:repo:*"
	const read = "repository:x:pull,metadata_read"
	for role, want := range map[string]string{
		"Owner":               "[repository:x:pull,push,delete,metadata_read,metadata_write,deleted_read,deleted_restore registry:catalog:* registry:deleted_catalog:* artifact-repository:repo:pull,push,delete]",
		"Contributor":         "[repository:x:pull,push,delete,metadata_read,metadata_write,deleted_read,deleted_restore registry:catalog:* registry:deleted_catalog:* artifact-repository:repo:pull,push,delete]",
		"Reader":              "[" + read + ",deleted_read registry:catalog:* registry:deleted_catalog:* artifact-repository:repo:pull]",
		"AcrPull":             "[" + read + " registry:catalog:* artifact-repository:repo:pull]",
		"AcrPush":             "[repository:x:pull,push,metadata_read registry:catalog:* artifact-repository:repo:pull,push]",
		"AcrDelete":           "[repository:x:delete artifact-repository:repo:delete]",
		"AcrQuarantineReader": "[" + read + " registry:catalog:* artifact-repository:repo:pull]",
		"AcrQuarantineWriter": "[repository:x:pull,push,metadata_read,metadata_write registry:catalog:* artifact-repository:repo:pull]", // of which it may push and metadata_write only mark
		"NoSuchRole":          "[]",
	} {
		id := Identity{Name: "p", account: &account{id: "p", name: "p", kind: Application, rights: rights{roles: []Assignment{{role, contoso.ResourceID}}}}}
		wanted, err := ParseScopes([]string{all})
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(grant(id, contoso, wanted)); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", role, got, want)
		}
		if got := grant(id, fabrikam, wanted); len(got) > 0 {
			t.Errorf("%s: in another registry %v", role, got)
		}
		_, err = a.IssueRefresh(id, contoso)
		if known := want != "[]"; known != (err == nil) || known != (id.Require(contoso) == nil) {
			t.Errorf("%s: a refresh token: %v; a ping: %v", role, err, id.Require(contoso))
		}
	}
}
