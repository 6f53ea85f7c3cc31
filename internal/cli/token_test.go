package cli_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// TestTokenJSON runs the commands of a script.
func TestTokenJSON(t *testing.T) {
	t.Parallel()
	c := newContract(t)
	golden(t, "token-json.txt", c.transcript(c.shell(t),
		"scope-map create -r contoso -n web --repository Team/Web content/read content/write --repository base/* CONTENT/READ --description 'For the builds.' -g rg1",
		"scope-map show -r contoso -n web --query actions",
		"scope-map update -r contoso -n web --add-repository team/api content/read --remove-repository team/web content/write --query actions",
		"scope-map update -r contoso -n web --remove-repo team/web metadata/read --query description",
		"scope-map update -r contoso -n web --add team/web metadata/read --description '' --query [description,actions]",
		"scope-map update -r contoso -n web --description 'Once more.' --query description",
		"scope-map list -r contoso --query [].[name,typePropertiesType] -o tsv",
		"scope-map list -r contoso --query [0]",
		"token create -r contoso -n web-ci --repository team/web content/read metadata/read",
		"token create -r contoso -n web-ci --repository team/web metadata/read content/read --no-passwords",
		"token create -r contoso -n web-ci --repository team/web content/write",
		"token create -r contoso -n reader --scope-map _repositories_pull --status disabled --no-passwords false --expiration 2030-12-31T12:59:59Z --query credentials.passwords[0]",
		"token show -r contoso -n reader",
		"token list -r contoso --query [].[name,status] -o tsv",
		"token update -r contoso -n reader --status ENABLED --query status",
		"token update -r contoso -n reader --scope-map web --query scopeMapId",
		"token credential generate -r contoso -n reader --password2",
		"token credential generate -r contoso -n reader --password1 --password2 --expiration 2030-12-31 -o tsv --query passwords[].[name,expiry,value]",
		"token credential delete -r contoso -n reader --password1 --query credentials.passwords[].name",
		"token credential delete -r contoso -n reader --password1",
		"token credential delete -r contoso -n reader --password2 --query credentials",
		"token show -r contoso -n nobody",
		"token delete -r contoso -n reader --yes",
		"token delete -r contoso -n reader",
		"scope-map delete -r contoso -n web -y",
		"scope-map delete -r contoso -n web -y",
	))
}

// TestTokenTerminal runs the commands of a person.
func TestTokenTerminal(t *testing.T) {
	t.Parallel()
	c := newContract(t)
	sh := c.shell(t)
	sh.terminal = true
	golden(t, "token-terminal.txt", c.transcript(sh,
		"token list",
		"scope-map create -n web --repository team/web content/read --description 'What the builds of team web may do with its own images, and no more.'",
		"scope-map list",
		"token create -n web-ci --scope-map web --expiration 2030-12-31T12:59:59Z",
		"token create -n later --repository team/web content/read --no-passwords",
		"token credential generate -n later --password1",
		"token credential generate -n web-ci",
		"token list",
		"token credential delete -n later --password1",
		"token delete -n later -y",
		"token delete -n later -y",
		"scope-map delete -n later-scope-map -y",
	))
}

// TestExpirationInDays counts from now; --days is what the flag was called once.
func TestExpirationInDays(t *testing.T) {
	t.Parallel()
	c := newContract(t)
	sh := c.shell(t)
	for _, flag := range []string{"--expiration-in-days", "--days"} {
		before := time.Now().UTC().Truncate(time.Second)
		got := sh.run("token", "credential", "generate", "-r", "contoso", "-n", "web-ci", flag, "30")
		asked := c.requests()
		var body struct{ Expiry time.Time }
		_, text, _ := strings.Cut(asked[len(asked)-1], "/generateCredentials ")
		if err := json.Unmarshal([]byte(text), &body); err != nil || got.code != 0 {
			t.Fatalf("%v: %v\n%+v", asked, err, got)
		}
		if body.Expiry.Before(before.AddDate(0, 0, 30)) || body.Expiry.After(time.Now().UTC().AddDate(0, 0, 30)) {
			t.Errorf("%s: %s, 30 days from %s", flag, body.Expiry, before)
		}
	}
}

// TestPasswordsFail says of a token without passwords that it is there.
func TestPasswordsFail(t *testing.T) {
	t.Parallel()
	c := newContract(t)
	c.generateFails = true
	got := c.shell(t).run("token", "create", "-r", "contoso", "-n", "web-ci", "--scope-map", "_repositories_pull")
	const want = "error: token web-ci was made, without passwords: the date has passed; then dockbell token credential generate -r contoso -n web-ci\n"
	if got != (result{err: want, code: 1}) {
		t.Errorf("%+v", got)
	}
}

// TestPasswordsArePrintedOnce: passwords are printed as what was asked for, and nowhere else.
func TestPasswordsArePrintedOnce(t *testing.T) {
	t.Parallel()
	c := newContract(t)
	sh := c.shell(t)
	sh.terminal = true
	got := sh.run("token", "create", "-r", "contoso", "-n", "web-ci", "--scope-map", "_repositories_pull")
	if strings.Count(got.out, "made-1") != 1 || strings.Count(got.out, "made-2") != 1 || strings.Contains(got.err, "made-") ||
		!strings.Contains(got.err, "warning: the passwords are shown this once, keep them safe: docker login contoso.azurecr.example -u web-ci\n") {
		t.Errorf("%+v", got)
	}
}
