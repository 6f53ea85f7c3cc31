package cli_test

import (
	"slices"
	"strings"
	"testing"
)

// TestRepositoryJSON runs the commands of a script.
func TestRepositoryJSON(t *testing.T) {
	t.Parallel()
	c := newContract(t)
	golden(t, "repository-json.txt", c.transcript(c.shell(t),
		"repository list -n contoso",
		"repository list -r contoso --top 1 -o tsv",
		"repository list --name contoso.azurecr.example -g rg1 --suffix tenant -o none",
		"repository show -n contoso --repository team/web",
		"repository show -n contoso --image team/web:1.0",
		"repository show -n contoso -t team/web",
		"repository show -n contoso -t team/web@"+webDigest,
		"repository show-tags -n contoso --repository team/web",
		"repository show-tags -n contoso --repository team/web --top 2 --orderby time_desc --detail",
		"repository show-manifests -n contoso --repository team/web",
		"repository show-manifests -n contoso --repository team/web --detail --orderby TIME_ASC --query [].references",
		"repository update -n contoso --repository team/web --delete-enabled false --write-enabled false",
		"repository update -n contoso --image team/web:1.0 --read-enabled False --list-enabled=false -o none",
		"repository update -n contoso -t team/web@"+webDigest+" --write-enabled -o none",
		"repository untag -n contoso --image team/web:1.0",
		"repository untag -n contoso --image team/web:none",
		"repository delete -n contoso --image team/web:1.0 --yes",
		"repository delete -n contoso -t team/web@"+signDigest+" -y",
		"repository delete -n contoso -t team/web",
		"repository delete -n contoso --repository team/web",
		"repository delete -n contoso --repository team/web -y",
	))
}

// TestRepositoryTerminal runs the commands of a person.
func TestRepositoryTerminal(t *testing.T) {
	t.Parallel()
	c := newContract(t)
	sh := c.shell(t)
	sh.terminal = true
	golden(t, "repository-terminal.txt", c.transcript(sh,
		"repository list",
		"repository show --repository team/web",
		"repository show --image team/web:1.0",
		"repository show-tags --repository team/web",
		"repository show-tags --repository team/web --detail",
		"repository show-tags --repository team/web --detail -o wide",
		"repository show-manifests --repository team/web",
		"repository update --image team/web:1.0 --read-enabled false --list-enabled false",
		"repository untag --image team/web:1.0",
		"repository delete --image team/web:latest -y",
		"repository delete --repository team/web -y",
		"manifest show -n team/web:1.0",
		"manifest list -n team/web",
		"manifest list-metadata -n team/web -o wide",
		"manifest list-referrers -n team/web:latest",
		"manifest list-referrers -n team/web@"+sbomDigest,
		"manifest show-metadata -n team/web:latest",
	))
}

// TestManifestJSON runs the commands of a script.
func TestManifestJSON(t *testing.T) {
	t.Parallel()
	c := newContract(t)
	golden(t, "manifest-json.txt", c.transcript(c.shell(t),
		"manifest show -r contoso -n team/web:1.0",
		"manifest show contoso.azurecr.example/team/web:1.0 --raw",
		"manifest show https://contoso.azurecr.io/team/web@"+webDigest+" -o none",
		"manifest list -r contoso -n team/web",
		"manifest list-metadata contoso.azurecr.example/team/web --query [].digest",
		"manifest list-referrers -r contoso -n team/web:latest --recursive",
		"manifest list-referrers -r contoso -n team/web@"+webDigest+" --artifact-type application/spdx+json",
		"manifest show-metadata -r contoso -n team/web:1.0 --query name",
		"manifest show-metadata -r contoso -n team/web@"+webDigest+" --query imageSize",
		"manifest update-metadata -r contoso -n team/web@"+webDigest+" --delete-enabled false --query changeableAttributes",
		"manifest quarantine -r contoso -n team/web@"+webDigest+" --state passed --details {} --query changeableAttributes",
		"manifest metadata list -r contoso -n team/web --query [].digest -o tsv",
		"manifest metadata show contoso.azurecr.example/team/web -o none",
		"manifest metadata update contoso.azurecr.example/team/web:1.0 --list-enabled false -o none",
		"manifest delete contoso.azurecr.example/team/web:1.0 --yes",
		"manifest delete -r contoso -n team/web:1.0",
		"manifest show -r contoso -n team/none",
	))
}

// TestDeletesAsk gives a person a chance to keep things, and says what would go.
func TestDeletesAsk(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ line, asks, kept, deletes string }{
		{"repository delete -n contoso --image team/web:1.0", "this deletes manifest " + webDigest + " and all the following images: team/web:1.0, team/web:latest. Go on? [y/N]",
			"manifest " + webDigest + " was not deleted", "DELETE /v2/team/web/manifests/" + webDigest},
		{"manifest delete -r contoso -n team/web@" + webDigest, "all the following images: team/web:1.0, team/web:latest. Go on? [y/N]",
			"manifest " + webDigest + " was not deleted", "DELETE /v2/team/web/manifests/" + webDigest},
		{"repository delete -n contoso --repository team/web", "repository team/web holds 2 manifests with 3 tags. Delete it with all of that? [y/N]",
			"repository team/web was not deleted", "DELETE /acr/v1/team/web"},
		{"token delete -r contoso -n web-ci", "whoever logs in to registry contoso with token web-ci will be refused. Delete it? [y/N]",
			"token web-ci was not deleted", "DELETE /api/v1/registries/contoso/tokens/web-ci"},
		{"scope-map delete -r contoso -n web", "this deletes scope map web of registry contoso. Go on? [y/N]",
			"scope map web was not deleted", "DELETE /api/v1/registries/contoso/scopeMaps/web"},
	} {
		c := newContract(t)
		sh := c.shell(t)
		for typed, yes := range map[string]bool{"": false, "n\n": false, "maybe\n": false, " YES \n": true, "y\n": true} {
			sh.stdin, sh.ask = typed, func() (string, error) { return "", nil } // there is a terminal
			got := sh.run(strings.Fields(tt.line)...)
			code, asked := 1, c.requests()
			if yes {
				code = 0
			}
			if got.code != code || !strings.Contains(got.err, tt.asks) || strings.Contains(got.err, tt.kept) == yes || slices.Contains(asked, tt.deletes) != yes {
				t.Errorf("dockbell %s, %q: exit %d, asked\n%s\n%s", tt.line, typed, got.code, strings.Join(asked, "\n"), got.err)
			}
		}
		sh.ask = nil
		got := sh.run(strings.Fields(tt.line)...)
		if got.code != 2 || !strings.Contains(got.err, ": add --yes to ") || slices.Contains(c.requests(), tt.deletes) {
			t.Errorf("dockbell %s without a terminal: exit %d\n%s", tt.line, got.code, got.err)
		}
	}
}

// TestWhoseImages is how a command finds the registry whose images it is about.
func TestWhoseImages(t *testing.T) {
	t.Parallel()
	c := newContract(t)
	operator := map[string]string{"DOCKBELL_SERVER": c.URL, "DOCKBELL_USERNAME": "dockbell", "DOCKBELL_PASSWORD": "s3cret"}
	host := c.Listener.Addr().String()
	const top = " --top 1 -o tsv"
	for _, tt := range []struct {
		name, line string
		env        map[string]string
		asked      string // what the server is asked, without the last
		last       string // where the images are asked for; empty: they are not
		err        string
	}{
		{"by name", "repository list -n contoso" + top, operator, "GET /api/v1/registries/contoso", "", ""},
		{"the only one", "repository list" + top, operator, "GET /api/v1/registries", "", ""},
		{"none of that name", "repository list -n fabrikam" + top, operator, "", "none", `registry "fabrikam" does not exist`},
		{"a token, whom the control plane does not know", "repository list -n contoso -u web-ci -p made-1" + top, operator,
			"GET /api/v1/registries/contoso as web-ci\nGET /metadata/endpoints?api-version=2019-05-01 as web-ci", " as web-ci", ""},
		{"a token without a registry's name", "repository list -u web-ci -p made-1" + top, operator,
			"GET /api/v1/registries as web-ci", " as web-ci at (the server)", ""},
		{"a wrong password", "repository list -n contoso -u web-ci -p wrong" + top, operator,
			"GET /api/v1/registries/contoso as web-ci\nGET /metadata/endpoints?api-version=2019-05-01 as web-ci", " as web-ci", "does not know user web-ci with this password"},
		{"no password", "repository list -n contoso" + top, map[string]string{"DOCKBELL_SERVER": c.URL},
			"GET /api/v1/registries/contoso as \nGET /metadata/endpoints?api-version=2019-05-01 as", " as ", "no credentials: dockbell login"},
		{"by login server", "manifest show contoso.azurecr.example/team/web:1.0 -o none", operator, "GET /api/v1/registries/contoso", "", ""},
		{"by a login server of ACR", "manifest show contoso.azurecr.io/team/web:1.0 -o none", operator, "GET /api/v1/registries/contoso", "",
			"warning: the login server of registry contoso is contoso.azurecr.example, not contoso.azurecr.io: using that"},
		{"by the server's address", "manifest show " + host + "/team/web:1.0 -o none", operator, "", " at (the server)", ""},
		{"by localhost", "manifest show localhost:5000/team/web:1.0 -o none", operator, "", " at localhost:5000", ""},
	} {
		sh := newShell(t)
		sh.env = tt.env
		got := sh.run(strings.Fields(tt.line)...)
		asked := c.requests()
		if tt.err == "" && got.err != "" || !strings.Contains(got.err, tt.err) {
			t.Errorf("%s: %s", tt.name, got.err)
		}
		if tt.last == "none" {
			continue
		}
		first, last := asked[:len(asked)-1], asked[len(asked)-1]
		if strings.TrimSpace(strings.Join(first, "\n")) != strings.TrimSpace(tt.asked) {
			t.Errorf("%s: first asked\n%s\nwant\n%s", tt.name, strings.Join(first, "\n"), tt.asked)
		}
		images := "GET /v2/_catalog?n=1"
		if strings.HasPrefix(tt.line, "manifest") {
			images = "GET /v2/team/web/manifests/1.0"
		}
		if last != images+tt.last {
			t.Errorf("%s: asked %s, want %s", tt.name, last, images+tt.last)
		}
	}

	// As with az, a login that is stored finds the registry, and the user and
	// password that are given are for its images.
	sh := newShell(t)
	if got := sh.run("login", c.URL, "-u", "dockbell", "-p", "s3cret"); got.code != 0 {
		t.Fatal(got)
	}
	c.requests()
	got := sh.run("repository", "list", "-n", "contoso", "-u", "web-ci", "-p", "made-1", "--top", "1")
	if asked := strings.Join(c.requests(), "\n"); got.code != 0 || asked != "GET /api/v1/registries/contoso\nGET /v2/_catalog?n=1 as web-ci" {
		t.Errorf("%+v asks\n%s", got, asked)
	}
}
