package cli_test

import (
	"net/http"
	"strings"
	"testing"
)

// TestRegistryTerminal runs the commands of a person.
func TestRegistryTerminal(t *testing.T) {
	t.Parallel()
	sh := newServer(t).shell(t)
	sh.terminal = true
	sh.env["NO_COLOR"] = "1"
	golden(t, "registry-terminal.txt", transcript(sh,
		"registry create -n fabrikam --sku basic",
		"registry create -n resolved --sku Premium -l 'East US' --admin-enabled true --tags team=web",
		"registry create -n fabrikam2 --sku Basic",
		"registry create -n fabrikam2 --sku Basic -g nosuch -l eastus",
		"registry create -n fabrikam2 -l eastus",
		"registry create -n fabrikam2 --sku Classic -l eastus",
		"registry create -n my-reg --sku Basic -l eastus",
		"registry list",
		"registry list -g dockbell",
		"registry update -n fabrikam --sku Standard --tags team=core",
		"registry show -n fabrikam",
		"registry show-usage -n resolved",
		"registry check-name -n contoso",
		"registry check-name -n free2use",
		"credential show -n fabrikam",
		"credential show -n resolved",
		"credential renew -n resolved --password-name password2",
		"credential renew -n resolved",
		"replication list -r fabrikam",
		"replication create -r fabrikam -l westus",
		"replication create -r resolved -l 'West US'",
		"replication update -r resolved -n westus --region-endpoint-enabled false --tags a=b",
		"replication show -r resolved -n WESTUS",
		"replication list -r resolved",
		"registry update -n resolved --sku Basic",
		"replication delete -r resolved -n eastus",
		"replication delete -r resolved -n westus",
		"replication delete -r resolved -n westus",
		"registry delete -n fabrikam",
		"registry delete -n fabrikam -y",
		"registry delete -n contoso -y",
		"registry list",
	))
}

// TestRegistryJSON runs the commands of a script.
func TestRegistryJSON(t *testing.T) {
	t.Parallel()
	sh := newServer(t).shell(t)
	golden(t, "registry-json.txt", transcript(sh,
		"registry create -n resolved --sku Premium -l eastus --admin-enabled true",
		"registry show-usage -n resolved",
		"registry check-name -n resolved",
		"credential show -n resolved",
		"replication create -r resolved -l westus --zone-redundancy enabled",
		"registry delete -n resolved --yes",
		"registry delete -n resolved --yes",
	))
}

// TestRegistrySettings compares what is sent: a flag that may be true or false can
// stand alone.
func TestRegistrySettings(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	sh := srv.shell(t)
	for line, want := range map[string]string{
		"--anonymous-pull-enabled":                            `PATCH {"properties":{"anonymousPullEnabled":true}}`,
		"--anonymous-pull-enabled FALSE --sku premium":        `PATCH {"sku":{"name":"Premium"},"properties":{"anonymousPullEnabled":false}}`,
		"--admin-enabled=true --anonymous-pull-enabled=false": `PATCH {"properties":{"adminUserEnabled":true,"anonymousPullEnabled":false}}`,
		"--quarantine-enabled":                                `PATCH {"properties":{"policies":{"quarantinePolicy":{"status":"enabled"}}}}`,
		"--quarantine-enabled=false":                          `PATCH {"properties":{"policies":{"quarantinePolicy":{"status":"disabled"}}}}`,
	} {
		srv.sent = nil
		sh.run(strings.Fields("registry update -n contoso " + line)...)
		if len(srv.sent) != 1 || srv.sent[0] != want {
			t.Errorf("%s sends %q, want %q", line, srv.sent, want)
		}
	}
}

// TestDeleteAsks gives a person a chance to keep a registry.
func TestDeleteAsks(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	sh := s.shell(t)
	sh.terminal = true
	sh.ask = func() (string, error) { return "", nil } // there is a terminal
	sh.run("registry", "create", "-n", "resolved", "--sku", "Basic")
	token := strings.NewReader(`{"properties":{"scopeMapId":"/api/v1/registries/resolved/scopeMaps/_repositories_pull"}}`)
	req, err := http.NewRequest(http.MethodPut, s.URL+"/api/v1/registries/resolved/tokens/ci-pull", token)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("dockbell", "s3cret")
	res, err := s.Client().Do(req)
	if err != nil || res.StatusCode != http.StatusCreated {
		t.Fatal(res, err)
	}
	res.Body.Close()
	for _, tt := range []struct {
		typed string
		code  int
		still bool
	}{{"", 1, true}, {"n\n", 1, true}, {"maybe\n", 1, true}, {" YES \n", 0, false}} {
		sh.stdin = tt.typed
		got := sh.run("registry", "delete", "-n", "resolved")
		if got.code != tt.code || !strings.Contains(got.err, "registry resolved holds 3.0 MiB and 0 webhooks and 1 token. Delete it with that? [y/N]") {
			t.Errorf("%q: exit %d, %s", tt.typed, got.code, got.err)
		}
		if still := sh.run("registry", "show", "-n", "resolved").code == 0; still != tt.still {
			t.Errorf("%q: the registry is there: %t", tt.typed, still)
		}
	}
}
