package cli_test

import (
	"slices"
	"strings"
	"testing"
)

// TestSoftDeleteCommands lists and restores, as a script and as a person.
func TestSoftDeleteCommands(t *testing.T) {
	t.Parallel()
	for _, terminal := range []bool{false, true} {
		c := newContract(t)
		sh := c.shell(t)
		name := "softdelete-json.txt"
		if sh.terminal = terminal; terminal {
			name = "softdelete-terminal.txt"
		}
		golden(t, name, c.transcript(sh,
			"repository list-deleted -n contoso",
			"manifest list-deleted -r contoso -n team/web",
			"manifest list-deleted-tags contoso.azurecr.example/team/web",
			"manifest list-deleted-tags -r contoso -n team/web:rc -o tsv --query [].digest",
			"manifest list-deleted-tags -r contoso -n team/web:1.0",
			"manifest restore -r contoso -n team/web -d "+signDigest,
			"manifest restore contoso.azurecr.example/team/web:rc --force",
			"manifest restore -r contoso -n team/web:0.9",
			"manifest restore -r contoso -n team/web:0.9 --yes",
			"manifest restore -r contoso -n team/web:1.0",
		))
	}
}

// TestRestoreAsks where a tag was deleted more than once.
func TestRestoreAsks(t *testing.T) {
	t.Parallel()
	c := newContract(t)
	sh := c.shell(t)
	sh.ask = func() (string, error) { return "", nil } // there is a terminal
	for typed, yes := range map[string]bool{"": false, "n\n": false, "y\n": true} {
		sh.stdin = typed
		got := sh.run("manifest", "restore", "-n", "team/web:0.9")
		asked := slices.ContainsFunc(c.requests(), func(line string) bool { return strings.HasPrefix(line, "POST ") })
		if !strings.Contains(got.err, "team/web:0.9 was deleted from 2 manifests, last from "+sbomDigest+". Restore that one? [y/N]") ||
			got.code != 1 || asked != yes || strings.Contains(got.err, "nothing was restored") == yes {
			t.Errorf("%q: exit %d, asked: %t\n%s", typed, got.code, asked, got.err)
		}
	}
}

// TestSoftDeleteConfig shows and changes the policy.
func TestSoftDeleteConfig(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	sh := srv.shell(t)
	sh.terminal = true
	sh.env["NO_COLOR"] = "1"
	golden(t, "config-soft-delete.txt", transcript(sh,
		"config soft-delete show -r contoso",
		"config soft-delete update -r contoso --status Enabled --days 30",
		"config soft-delete update -r contoso --days 10",
		"config soft-delete update -r contoso --days 10 --yes -o json",
		"config soft-delete update -r contoso --status disabled",
		"config soft-delete update -r contoso",
		"config soft-delete update -r contoso --days 91",
		"config soft-delete update -r contoso --days 0",
	))
}
