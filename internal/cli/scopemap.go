package cli

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dockbell/dockbell/internal/controlclient"
)

// repositoryActions are what a scope map can allow with a repository.
var repositoryActions = []string{"content/delete", "content/read", "content/write", "metadata/read", "metadata/write"}

// ruleList is a list flag of a repository and what is allowed with it. Each
// occurrence is one repository.
type ruleList struct {
	actions []string // repositories/NAME/ACTION; nil while the flag was not given
}

// Set adds a repository with its actions, of which there must be one.
func (l *ruleList) Set(s string) error {
	words := strings.Split(s, separator)
	repository := strings.ToLower(words[0])
	if repository == "" || len(words) < 2 {
		return Usage("name a repository and then what is allowed with it: hello-world content/read, of %s", strings.Join(repositoryActions, ", "))
	}
	actions, err := chooseAll(words[1:], repositoryActions)
	for _, action := range actions {
		if a := "repositories/" + repository + "/" + action; !slices.Contains(l.actions, a) {
			l.actions = append(l.actions, a)
		}
	}
	return err
}

// String returns nothing, which is the default that help shows.
func (l *ruleList) String() string { return "" }

// Type returns the word for the value in help.
func (l *ruleList) Type() string { return listType }

// ruleForm is how help shows the value of such a flag.
var ruleForm = "as `repository action...`, once per repository: " + strings.Join(repositoryActions, " ") + "; team/* is all below team"

// gateways is a list flag that is refused.
type gateways struct{ ruleList }

// Set says why.
func (*gateways) Set(string) error {
	return Usage("gateway actions are for connected registries, which this server does not have: leave it out")
}

// gatewayFlags refuses the flags of the names.
func gatewayFlags(flags *pflag.FlagSet, names ...string) {
	for _, name := range names {
		flags.Var(new(gateways), name, "refused: there are no connected registries")
		flags.Lookup(name).Hidden = true
	}
}

// scopeMaps is what the scope-map commands share.
type scopeMaps struct{ resources }

func scopeMapCommand(env Env) *cobra.Command {
	m := &scopeMaps{ofRegistry(env, "scope map", "`name` of the scope map, 5 to 50 letters, digits, dashes and underscores")}
	group := &cobra.Command{
		Use:     "scope-map",
		Short:   "Say what tokens may do with which repositories.",
		Example: "  dockbell scope-map create -r contoso -n web-ci --repository team/web content/read content/write\n  dockbell scope-map list -r contoso",
		Args:    cobra.ArbitraryArgs,
		RunE:    runGroup,
	}
	group.AddCommand(m.create(), m.list(), m.show(), m.update(), m.delete())
	return group
}

func (m *scopeMaps) create() *cobra.Command {
	var rules ruleList
	var description string
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Create a scope map, or replace the one of that name.",
		Example: "  dockbell scope-map create -r contoso -n web-ci --repository team/web content/read content/write --repository 'base/*' content/read\n" +
			"  dockbell scope-map create -r contoso -n audit --repository '*' content/read metadata/read --description \"Reads everything.\"",
	}
	define := func(cmd *cobra.Command) {
		cmd.Flags().Var(&rules, "repository", "what is allowed, "+ruleForm)
		cmd.Flags().StringVar(&description, "description", "", "`text` for people, up to 256 characters")
		gatewayFlags(cmd.Flags(), "gateway")
	}
	return m.command(cmd, []string{"name", "repository"}, define, func(ctx context.Context, c *connected, registry string) error {
		def := controlclient.ScopeMapWrite{Actions: rules.actions}
		if description != "" {
			def.Description = &description
		}
		made, err := c.PutScopeMap(ctx, registry, m.name, def)
		if err == nil {
			m.env.hint("next: dockbell token create -r %s -n NAME --scope-map %s", registry, made.Name)
		}
		return m.printOne(made, err)
	})
}

func (m *scopeMaps) list() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the scope maps of a registry, those that every registry has among them.",
		Example: "  dockbell scope-map list -r contoso -o table",
	}
	return m.command(cmd, nil, nil, func(ctx context.Context, c *connected, registry string) error {
		all, err := c.ScopeMaps(ctx, registry)
		if err != nil {
			return err
		}
		return m.out.print(views(all, scopeMapView), scopeMapTable(all...))
	})
}

func (m *scopeMaps) show() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show",
		Short:   "Show one scope map.",
		Example: "  dockbell scope-map show -r contoso -n web-ci --query actions -o tsv",
	}
	return m.command(cmd, []string{"name"}, nil, func(ctx context.Context, c *connected, registry string) error {
		return m.printOne(c.ScopeMap(ctx, registry, m.name))
	})
}

func (m *scopeMaps) update() *cobra.Command {
	var add, remove ruleList
	var description string
	cmd := &cobra.Command{
		Use:   "update",
		Short: "Allow more or less in a scope map; what is not given stays as it is.",
		Example: "  dockbell scope-map update -r contoso -n web-ci --add-repository team/api content/read --remove-repository team/web content/write\n" +
			"  dockbell scope-map update -r contoso -n web-ci --description \"For the builds of team web.\"",
	}
	define := func(cmd *cobra.Command) {
		flags := cmd.Flags()
		alias(flags, map[string]string{"add": "add-repository", "add-repo": "add-repository", "remove": "remove-repository", "remove-repo": "remove-repository"})
		flags.Var(&add, "add-repository", "what is allowed, too, "+ruleForm)
		flags.Var(&remove, "remove-repository", "what is allowed no more, as `repository action...`")
		flags.StringVar(&description, "description", "", "`text` for people, up to 256 characters")
		gatewayFlags(flags, "add-gateway", "remove-gateway")
	}
	return m.command(cmd, []string{"name"}, define, func(ctx context.Context, c *connected, registry string) error {
		var change controlclient.ScopeMapWrite
		if cmd.Flag("description").Changed {
			change.Description = &description
		}
		if add.actions == nil && remove.actions == nil && change.Description == nil {
			return Usage("say what is to change: --add-repository, --remove-repository or --description")
		}
		if add.actions != nil || remove.actions != nil {
			current, err := c.ScopeMap(ctx, registry, m.name)
			if err != nil {
				return err
			}
			if change.Actions, err = m.changed(current.Properties.Actions, add.actions, remove.actions); err != nil {
				return err
			}
		}
		return m.printOne(c.PatchScopeMap(ctx, registry, m.name, change))
	})
}

// changed returns the actions there are with some added and some removed.
func (m *scopeMaps) changed(current, add, remove []string) ([]string, error) {
	for _, action := range remove {
		if slices.Contains(add, action) {
			return nil, Usage("%s is to be added and removed: choose one", strings.TrimPrefix(action, "repositories/"))
		}
		if !slices.Contains(current, action) {
			m.env.warn("scope map %s did not allow %s", m.name, strings.TrimPrefix(action, "repositories/"))
		}
	}
	changed := slices.DeleteFunc(slices.Clone(current), func(action string) bool { return slices.Contains(remove, action) })
	for _, action := range add {
		if !slices.Contains(changed, action) {
			changed = append(changed, action)
		}
	}
	if len(changed) == 0 {
		return nil, Usage("nothing would be left in scope map %s: delete it with dockbell scope-map delete", m.name)
	}
	return changed, nil
}

func (m *scopeMaps) delete() *cobra.Command {
	var sure assent
	cmd := &cobra.Command{
		Use:     "delete",
		Short:   "Delete a scope map that no token has.",
		Example: "  dockbell scope-map delete -r contoso -n web-ci\n  dockbell scope-map delete -r contoso -n web-ci --yes",
	}
	return m.command(cmd, []string{"name"}, sure.flags, func(ctx context.Context, c *connected, registry string) error {
		if !sure.yes {
			if err := m.env.confirm("this deletes scope map "+m.name+" of registry "+registry, "go on", "scope map "+m.name+" was not deleted"); err != nil {
				return err
			}
		}
		existed, err := c.DeleteScopeMap(ctx, registry, m.name)
		if err != nil {
			return err
		}
		m.deleted(registry, existed)
		return nil
	})
}

func (m *scopeMaps) printOne(one controlclient.ScopeMap, err error) error {
	if err != nil {
		return err
	}
	return m.out.print(scopeMapView(one), scopeMapTable(one))
}

// scopeMapView has the type of the resource and that of the scope map, by az's
// names.
func scopeMapView(m controlclient.ScopeMap) map[string]any {
	whole := decodedObject(m.Raw)
	view := lifted(m.Raw, m.ID)
	view["type"], view["typePropertiesType"] = whole["type"], view["type"]
	addNulls(view, "description", "systemData")
	return view
}

func scopeMapTable(all ...controlclient.ScopeMap) table {
	t := table{header: []string{"NAME", "TYPE", "CREATION DATE", "DESCRIPTION"}}
	for _, m := range all {
		p := m.Properties
		t.rows = append(t.rows, []string{m.Name, p.Type, toSecond(p.CreationDate), shortened(p.Description)})
	}
	return t
}

// shortened cuts a text for a table, as az does.
func shortened(text string) string {
	const enough = 57
	if runes := []rune(text); len(runes) > enough {
		return string(runes[:enough]) + "..."
	}
	return text
}

// sameSet reports whether two lists have the same elements.
func sameSet(a, b []string) bool {
	set := func(list []string) map[string]bool {
		s := map[string]bool{}
		for _, e := range list {
			s[e] = true
		}
		return s
	}
	return maps.Equal(set(a), set(b))
}
