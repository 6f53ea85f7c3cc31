package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

// tokenStatuses are those of a token.
var tokenStatuses = []string{"enabled", "disabled"}

// tokens is what the token commands share.
type tokens struct{ resources }

func tokenCommand(env Env) *cobra.Command {
	t := &tokens{ofRegistry(env, "token", "`name` of the token, 5 to 50 letters, digits and dashes, which is its user name")}
	group := &cobra.Command{
		Use:     "token",
		Short:   "Make and end logins for some repositories only.",
		Example: "  dockbell token create -r contoso -n web-ci --repository team/web content/read content/write\n  dockbell token list -r contoso",
		Args:    cobra.ArbitraryArgs,
		RunE:    runGroup,
	}
	credential := &cobra.Command{
		Use:     "credential",
		Short:   "Make and end the passwords of a token.",
		Example: "  dockbell token credential generate -r contoso -n web-ci --password1 --expiration-in-days 30",
		Args:    cobra.ArbitraryArgs,
		RunE:    runGroup,
	}
	credential.AddCommand(t.generate(), t.deletePasswords())
	group.AddCommand(t.create(), t.list(), t.show(), t.update(), t.delete(), credential)
	return group
}

// expiration are the flags that say until when passwords are good.
type expiration struct {
	at   deadline
	days number[int]
}

func (e *expiration) flags(cmd *cobra.Command) {
	e.days.from = 1
	cmd.Flags().Var(&e.at, "expiration", "until when the passwords are good, in UTC; else for ever")
	cmd.Flags().Var(&e.days, "expiration-in-days", "for how many days they are")
}

// given reports whether there is an end.
func (e *expiration) given() bool { return !e.at.IsZero() || e.days.value != nil }

// end returns until when; the zero time for ever.
func (e *expiration) end() (time.Time, error) {
	if !e.at.IsZero() && e.days.value != nil {
		return time.Time{}, Usage("give the end of the passwords once: with --expiration or with --expiration-in-days")
	}
	if e.days.value == nil {
		return e.at.Time, nil
	}
	const lastYear = 9999 // RFC 3339
	end := time.Now().UTC().Truncate(time.Second).AddDate(0, 0, *e.days.value)
	if end.Year() > lastYear {
		return time.Time{}, Usage("--expiration-in-days %s is too far away: leave it out for passwords without an end", &e.days)
	}
	return end, nil
}

func (t *tokens) create() *cobra.Command {
	var (
		rules       ruleList
		scopeMap    string
		status      = choiceValue{value: "enabled", allowed: tokenStatuses}
		noPasswords truth
		until       expiration
	)
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a token, or replace the one of that name, and print its passwords this once.",
		Long: "Make a token, or replace the one of that name, and print its two passwords this once.\n" +
			"What it may do says a scope map: one that there is, or, with --repository, one that is made for it, called NAME-scope-map.",
		Example: "  dockbell token create -r contoso -n web-ci --repository team/web content/read content/write --expiration-in-days 90\n" +
			"  dockbell token create -r contoso -n puller --scope-map _repositories_pull",
	}
	define := func(cmd *cobra.Command) {
		flags := cmd.Flags()
		flags.StringVar(&scopeMap, "scope-map", "", "`name` of the scope map that says what it may do")
		flags.Var(&rules, "repository", "what it may do, in place of --scope-map, "+ruleForm)
		flags.Var(&status, "status", "whether it may log in")
		noPasswords.flag(flags, "no-passwords", "make no passwords; dockbell token credential generate does")
		until.flags(cmd)
		gatewayFlags(flags, "gateway")
	}
	return t.command(cmd, []string{"name"}, define, func(ctx context.Context, c *connected, registry string) error {
		without := noPasswords.given()
		if (scopeMap == "") == (rules.actions == nil) {
			return Usage("say what the token may do: either with --scope-map, or with --repository")
		}
		if without && until.given() {
			return Usage("--no-passwords leaves nothing to expire: leave out the expiration")
		}
		end, err := until.end()
		if err != nil {
			return err
		}
		in, err := c.Registry(ctx, registry)
		if err != nil {
			return err
		}
		mapID := scopeMapID(in, scopeMap)
		if rules.actions != nil {
			if mapID, err = t.ownScopeMap(ctx, c, registry, rules.actions); err != nil {
				return err
			}
		}
		made, err := c.PutToken(ctx, registry, t.name, controlclient.TokenWrite{ScopeMapID: mapID, Status: status.value})
		if err != nil {
			return err
		}
		view := tokenView(made)
		if without {
			t.env.hint("next: dockbell token credential generate -r %s -n %s", registry, made.Name)
			return t.out.print(view, tokenTable(made))
		}
		generated, err := c.GenerateCredentials(ctx, registry, made.ID, "", end)
		if f := fault.As(err); f != nil {
			return fault.Wrap(err, f.Kind, "token %s was made, without passwords: %s; then dockbell token credential generate -r %s -n %s", made.Name, f.Message, registry, made.Name)
		}
		credentials, ok := view["credentials"].(map[string]any)
		if !ok {
			credentials = map[string]any{"certificates": nil}
			view["credentials"] = credentials
		}
		credentials["passwords"], credentials["username"] = credentialsView(generated)["passwords"], generated.Username
		t.warnOfPasswords(in, generated)
		return t.out.print(view, credentialTable(generated))
	})
}

// scopeMapID returns the ARM id of a scope map.
func scopeMapID(in controlclient.Registry, name string) string { return in.ID + "/scopeMaps/" + name }

// ownScopeMap returns the ARM id of the scope map that is made for a token. One
// that is there already and allows the same will do, so that a command can be
// repeated.
func (t *tokens) ownScopeMap(ctx context.Context, c *connected, registry string, actions []string) (string, error) {
	name := t.name + "-scope-map"
	found, err := c.ScopeMap(ctx, registry, name)
	if err == nil && !sameSet(found.Properties.Actions, actions) {
		return "", fault.New(fault.Conflict, "scope map %s is there already and allows something else: change it with dockbell scope-map update -r %s -n %s, and use --scope-map %s", name, registry, name, name)
	}
	if fault.Is(err, fault.NotFound) {
		found, err = c.PutScopeMap(ctx, registry, name, controlclient.ScopeMapWrite{Description: new("Created by token: " + t.name), Actions: actions})
	}
	return found.ID, err
}

// warnOfPasswords says that they are seen this once, and what they are for.
func (t *tokens) warnOfPasswords(in controlclient.Registry, made controlclient.GeneratedCredentials) {
	t.env.warn("the passwords are shown this once, keep them safe: docker login %s -u %s", in.Properties.LoginServer, made.Username)
}

func (t *tokens) list() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the tokens of a registry.",
		Example: "  dockbell token list -r contoso -o table",
	}
	return t.command(cmd, nil, nil, func(ctx context.Context, c *connected, registry string) error {
		all, err := c.Tokens(ctx, registry)
		if err != nil {
			return err
		}
		shown := tokenTable(all...)
		shown.empty = "registry " + registry + " has no tokens: dockbell token create -r " + registry + " -n web-ci --repository team/web content/read makes one"
		return t.out.print(views(all, tokenView), shown)
	})
}

func (t *tokens) show() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show",
		Short:   "Show one token.",
		Example: "  dockbell token show -r contoso -n web-ci",
	}
	return t.command(cmd, []string{"name"}, nil, func(ctx context.Context, c *connected, registry string) error {
		return t.printOne(c.Token(ctx, registry, t.name))
	})
}

func (t *tokens) update() *cobra.Command {
	var scopeMap string
	status := choiceValue{allowed: tokenStatuses}
	cmd := &cobra.Command{
		Use:     "update",
		Short:   "Change a token; what is not given stays as it is.",
		Example: "  dockbell token update -r contoso -n web-ci --status disabled\n  dockbell token update -r contoso -n web-ci --scope-map _repositories_push",
	}
	define := func(cmd *cobra.Command) {
		cmd.Flags().StringVar(&scopeMap, "scope-map", "", "`name` of the scope map that says what it may do")
		cmd.Flags().Var(&status, "status", "whether it may log in")
	}
	return t.command(cmd, []string{"name"}, define, func(ctx context.Context, c *connected, registry string) error {
		change := controlclient.TokenWrite{Status: status.value}
		if scopeMap == "" && status.value == "" {
			return Usage("say what is to change: --scope-map or --status")
		}
		if scopeMap != "" {
			in, err := c.Registry(ctx, registry)
			if err != nil {
				return err
			}
			change.ScopeMapID = scopeMapID(in, scopeMap)
		}
		return t.printOne(c.PatchToken(ctx, registry, t.name, change))
	})
}

func (t *tokens) delete() *cobra.Command {
	var sure assent
	cmd := &cobra.Command{
		Use:     "delete",
		Short:   "Delete a token; its passwords are refused from then on.",
		Example: "  dockbell token delete -r contoso -n web-ci\n  dockbell token delete -r contoso -n web-ci --yes",
	}
	return t.command(cmd, []string{"name"}, sure.flags, func(ctx context.Context, c *connected, registry string) error {
		if !sure.yes {
			told := "whoever logs in to registry " + registry + " with token " + t.name + " will be refused"
			if err := t.env.confirm(told, "delete it", "token "+t.name+" was not deleted"); err != nil {
				return err
			}
		}
		existed, err := c.DeleteToken(ctx, registry, t.name)
		if err != nil {
			return err
		}
		t.deleted(registry, existed)
		return nil
	})
}

// passwordFlags say which of the two passwords.
func passwordFlags(cmd *cobra.Command, first, second *bool) {
	cmd.Flags().BoolVar(first, "password1", false, "the first password")
	cmd.Flags().BoolVar(second, "password2", false, "the second password")
}

func (t *tokens) generate() *cobra.Command {
	var first, second bool
	var until expiration
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Make one or both passwords of a token anew, and print them this once.",
		Long: "Make one or both passwords of a token anew, both unless one is named, and print them this once.\n" +
			"The old one ends at once: to change a password without a pause, generate the other, use it, and then delete the first.",
		Example: "  dockbell token credential generate -r contoso -n web-ci --password1 --expiration-in-days 30\n" +
			"  dockbell token credential generate -r contoso -n web-ci --expiration 2030-12-31T12:59:59Z --query 'passwords[0].value' -o tsv",
	}
	define := func(cmd *cobra.Command) {
		alias(cmd.Flags(), map[string]string{"days": "expiration-in-days"})
		passwordFlags(cmd, &first, &second)
		until.flags(cmd)
	}
	return t.command(cmd, []string{"name"}, define, func(ctx context.Context, c *connected, registry string) error {
		end, err := until.end()
		if err != nil {
			return err
		}
		in, err := c.Registry(ctx, registry)
		if err != nil {
			return err
		}
		which := ""
		switch {
		case first && !second:
			which = "password1"
		case second && !first:
			which = "password2"
		}
		made, err := c.GenerateCredentials(ctx, registry, in.ID+"/tokens/"+t.name, which, end)
		if err != nil {
			return err
		}
		t.warnOfPasswords(in, made)
		return t.out.print(credentialsView(made), credentialTable(made))
	})
}

func (t *tokens) deletePasswords() *cobra.Command {
	var first, second bool
	cmd := &cobra.Command{
		Use:     "delete",
		Short:   "Take one or both passwords from a token; they are refused from then on.",
		Example: "  dockbell token credential delete -r contoso -n web-ci --password1",
	}
	define := func(cmd *cobra.Command) { passwordFlags(cmd, &first, &second) }
	return t.command(cmd, []string{"name"}, define, func(ctx context.Context, c *connected, registry string) error {
		if !first && !second {
			return Usage("say which password is to go: --password1, --password2, or both")
		}
		found, err := c.Token(ctx, registry, t.name)
		if err != nil {
			return err
		}
		gone := map[string]bool{"password1": first, "password2": second}
		kept := controlclient.TokenCredentials{Passwords: []controlclient.TokenPassword{}}
		for _, p := range found.Properties.Credentials.Passwords {
			if !gone[p.Name] {
				kept.Passwords = append(kept.Passwords, controlclient.TokenPassword{Name: p.Name})
			}
			delete(gone, p.Name)
		}
		for _, name := range []string{"password1", "password2"} {
			if gone[name] {
				return fault.New(fault.NotFound, "token %s has no %s: nothing was deleted", t.name, name)
			}
		}
		return t.printOne(c.PatchToken(ctx, registry, t.name, controlclient.TokenWrite{Credentials: &kept}))
	})
}

func (t *tokens) printOne(one controlclient.Token, err error) error {
	if err != nil {
		return err
	}
	return t.out.print(tokenView(one), tokenTable(one))
}

func tokenView(t controlclient.Token) map[string]any {
	view := lifted(t.Raw, t.ID)
	addNulls(view, "credentials", "scopeMapId", "systemData")
	if credentials := withNulls(view, "credentials", "certificates", "passwords"); credentials != nil {
		passwordNulls(credentials)
	}
	return view
}

func credentialsView(g controlclient.GeneratedCredentials) map[string]any {
	view := decodedObject(g.Raw)
	passwordNulls(view)
	return view
}

// passwordNulls completes the passwords that credentials have.
func passwordNulls(credentials map[string]any) {
	passwords, _ := credentials["passwords"].([]any)
	for _, p := range passwords {
		if password, ok := p.(map[string]any); ok {
			addNulls(password, "creationTime", "expiry", "value")
		}
	}
}

func tokenTable(all ...controlclient.Token) table {
	t := table{header: []string{"NAME", "SCOPE MAP", "PASSWORD1 EXPIRY", "PASSWORD2 EXPIRY", "STATUS", "PROVISIONING STATE", "CREATION DATE"}}
	for _, token := range all {
		p := token.Properties
		expiry := map[string]string{}
		for _, password := range p.Credentials.Passwords {
			expiry[password.Name] = expiryWord(password)
		}
		t.rows = append(t.rows, []string{
			token.Name, p.ScopeMapID[strings.LastIndexByte(p.ScopeMapID, '/')+1:], expiry["password1"], expiry["password2"], p.Status, p.ProvisioningState, toSecond(p.CreationDate),
		})
	}
	return t
}

// credentialTable has the passwords that were just made.
func credentialTable(g controlclient.GeneratedCredentials) table {
	t := table{header: []string{"USERNAME"}, rows: [][]string{{g.Username}}}
	for _, p := range g.Passwords {
		if p.Value == "" {
			continue
		}
		name := strings.ToUpper(p.Name)
		t.header = append(t.header, name, name+" EXPIRY")
		t.rows[0] = append(t.rows[0], p.Value, expiryWord(p))
	}
	return t
}

func expiryWord(p controlclient.TokenPassword) string {
	if p.Expiry == "" {
		return "Never"
	}
	return toSecond(p.Expiry)
}
