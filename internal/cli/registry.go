package cli

import (
	"context"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dockbell/dockbell/internal/controlclient"
)

// tiers are those that a registry can have.
var tiers = []string{"Basic", "Standard", "Premium"}

// registries is what the registry commands share: the flags that all have.
type registries struct {
	env         Env
	conn        connection
	out         output
	name, group string
}

func registryCommand(env Env) *cobra.Command {
	r := &registries{env: env, conn: connection{env: env}, out: output{env: env}}
	group := &cobra.Command{
		Use:     "registry",
		Short:   "Make, change and show the registries of a server.",
		Example: "  dockbell registry create -n contoso --sku Standard\n  dockbell registry list",
		Args:    cobra.ArbitraryArgs,
		RunE:    runGroup,
	}
	group.AddCommand(r.create(), r.list(), r.show(), r.update(), r.delete(), r.showUsage(), r.checkName())
	return group
}

// command completes a registry command: run is called with the server.
func (r *registries) command(cmd *cobra.Command, required []string, define func(*cobra.Command), run func(context.Context, *connected) error) *cobra.Command {
	flags := cmd.Flags()
	flags.SortFlags = false
	Group(flags, "Which registry")
	if define != nil {
		define(cmd)
		Group(flags, "What it does")
	}
	return r.conn.command(cmd, &r.out, required, run)
}

// one is a command about one registry that exists.
func (r *registries) one(cmd *cobra.Command, required []string, define func(*cobra.Command), run func(context.Context, *connected, string) error) *cobra.Command {
	usage := "registry `name`"
	if !slices.Contains(required, "name") {
		usage += "; else DOCKBELL_REGISTRY, else the only one there is"
	}
	cmd.Flags().StringVarP(&r.name, "name", "n", "", usage)
	resourceGroupFlag(cmd)
	return r.command(cmd, required, define, within(&r.name, run))
}

// registrySettings are the flags that say what a registry is to be.
type registrySettings struct {
	sku       choiceValue
	admin     truth
	anonymous truth
	held      truth
	tags      pairList
}

func (s *registrySettings) flags(cmd *cobra.Command) {
	s.sku.allowed = tiers
	cmd.Flags().Var(&s.sku, "sku", "tier, which limits the number of webhooks (2, 10, 500) and replications (Premium)")
	s.admin.flag(cmd.Flags(), "admin-enabled", "whether the admin user may log in, see dockbell credential show")
	s.anonymous.flag(cmd.Flags(), "anonymous-pull-enabled", "whether everyone may pull, without credentials")
	s.held.flag(cmd.Flags(), "quarantine-enabled", "whether images are held back until they are marked as Passed, see dockbell manifest quarantine")
	cmd.Flags().Var(&s.tags, "tags", "labels, as `name=value`; \"\" clears")
}

// body returns what was given.
func (s *registrySettings) body() controlclient.RegistryWrite {
	w := controlclient.RegistryWrite{
		Tags:       s.tags.pairs,
		Properties: controlclient.RegistryProperties{AdminUserEnabled: s.admin.value, AnonymousPullEnabled: s.anonymous.value},
	}
	if s.held.value != nil {
		w.Properties.Policies = &controlclient.Policies{Quarantine: controlclient.NewPolicy(*s.held.value)}
	}
	if s.sku.value != "" {
		w.SKU = &controlclient.SKU{Name: s.sku.value}
	}
	return w
}

func (r *registries) create() *cobra.Command {
	var s registrySettings
	var location string
	cmd := &cobra.Command{
		Use:     "create",
		Short:   "Create a registry, or replace the settings of the one of that name.",
		Example: "  dockbell registry create -n contoso --sku Standard\n  dockbell registry create -n contoso -g team --sku Premium -l westeurope --admin-enabled true --tags team=web",
	}
	cmd.Flags().StringVarP(&r.name, "name", "n", "", "registry `name`, 5 to 50 letters and digits")
	cmd.Flags().StringVarP(&r.group, "resource-group", "g", "", "resource `group` that it is in; else the server's default one")
	define := func(cmd *cobra.Command) {
		cmd.Flags().StringVarP(&location, "location", "l", "", "`region` that is its home; else that of the resource group, or of the registries there are")
		s.flags(cmd)
	}
	return r.command(cmd, []string{"name", "sku"}, define, func(ctx context.Context, c *connected) (err error) {
		def := s.body()
		if def.Location = location; location == "" {
			if def.Location, err = c.homeOf(ctx, r.group); err != nil {
				return err
			}
		}
		made, err := c.PutRegistry(ctx, r.group, r.name, def)
		if err != nil {
			return err
		}
		c.hintHosts(ctx, made)
		return r.out.print(registryView(made), registryTable(made))
	})
}

// homeOf returns the location for a registry in a group that was given none.
func (c *connected) homeOf(ctx context.Context, group string) (string, error) {
	if group != "" {
		g, err := c.Group(ctx, group)
		return g.Location, err
	}
	all, err := c.Registries(ctx)
	if err != nil {
		return "", err
	}
	home := ""
	for _, r := range all {
		if home != "" && home != r.Location {
			return "", Usage("the registries of this server are in several places: say with --location where this one is to be")
		}
		home = r.Location
	}
	if home == "" {
		return "", Usage("there is no registry to take the location from: say with --location where this one is to be")
	}
	return home, nil
}

// hintHosts tells what the hosts file needs where the name of a registry's login
// server has no address.
func (c *connected) hintHosts(ctx context.Context, r controlclient.Registry) {
	host, _, err := net.SplitHostPort(r.Properties.LoginServer)
	if err != nil {
		host = r.Properties.LoginServer
	}
	if _, err := c.env.LookupHost(ctx, host); err == nil {
		return
	}
	address := c.server.Hostname()
	if found, err := c.env.LookupHost(ctx, address); err == nil && len(found) > 0 {
		address = found[0]
	}
	c.env.warn("the name %s has no address here: add this line to the hosts file\n%s %s", host, address, host)
}

func (r *registries) list() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the registries you may see.",
		Example: "  dockbell registry list -o table",
	}
	cmd.Flags().StringVarP(&r.group, "resource-group", "g", "", "those in this resource `group` only")
	return r.command(cmd, nil, nil, func(ctx context.Context, c *connected) error {
		all, err := c.Registries(ctx)
		if r.group != "" {
			all, err = c.RegistriesIn(ctx, r.group)
		}
		if err != nil {
			return err
		}
		return r.out.print(views(all, registryView), registryTable(all...))
	})
}

func (r *registries) show() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show",
		Short:   "Show one registry.",
		Example: "  dockbell registry show -n contoso --query loginServer -o tsv",
	}
	return r.one(cmd, nil, nil, func(ctx context.Context, c *connected, name string) error {
		found, err := c.Registry(ctx, name)
		if err != nil {
			return err
		}
		return r.out.print(registryView(found), registryTable(found))
	})
}

func (r *registries) update() *cobra.Command {
	var s registrySettings
	cmd := &cobra.Command{
		Use:     "update",
		Short:   "Change a registry; what is not given stays as it is.",
		Example: "  dockbell registry update -n contoso --sku Premium\n  dockbell registry update -n contoso --admin-enabled false --tags \"\"",
	}
	return r.one(cmd, nil, s.flags, func(ctx context.Context, c *connected, name string) error {
		changed, err := c.PatchRegistry(ctx, name, s.body())
		if err != nil {
			return err
		}
		return r.out.print(registryView(changed), registryTable(changed))
	})
}

func (r *registries) delete() *cobra.Command {
	var sure assent
	cmd := &cobra.Command{
		Use:     "delete",
		Short:   "Delete a registry with its images and webhooks.",
		Example: "  dockbell registry delete -n contoso\n  dockbell registry delete -n contoso --yes",
	}
	return r.one(cmd, []string{"name"}, sure.flags, func(ctx context.Context, c *connected, name string) error {
		if !sure.yes {
			if err := r.confirm(ctx, c, name); err != nil {
				return err
			}
		}
		existed, err := c.DeleteRegistry(ctx, name)
		if err != nil {
			return err
		}
		if existed {
			r.env.hint("deleted registry %s", name)
		} else {
			r.env.hint("there was no registry %s: nothing was deleted", name)
		}
		return nil
	})
}

// confirm asks whether a registry is to be deleted with what it holds.
func (r *registries) confirm(ctx context.Context, c *connected, name string) error {
	usages, err := c.Usages(ctx, name)
	if err != nil {
		return err
	}
	return r.env.confirm("registry "+name+" holds "+heldWords(usages), "delete it with that", "registry "+name+" was not deleted")
}

// heldWords says what a registry holds.
func heldWords(usages []controlclient.Usage) string {
	words := []string{}
	for _, u := range usages {
		switch {
		case u.Name == "Size":
			words = append(words, bytesWord(u.CurrentValue))
		case u.Name == "Webhooks" && u.CurrentValue == 1:
			words = append(words, "1 webhook")
		case u.Name == "Webhooks":
			words = append(words, strconv.FormatInt(u.CurrentValue, 10)+" webhooks")
		case u.Name == "Tokens" && u.CurrentValue == 1:
			words = append(words, "1 token")
		case u.Name == "Tokens" && u.CurrentValue > 1:
			words = append(words, strconv.FormatInt(u.CurrentValue, 10)+" tokens")
		}
	}
	return strings.Join(words, " and ")
}

// bytesWord says a number of bytes with as much of it as matters.
func bytesWord(n int64) string {
	const unit = 1024
	if n < unit {
		return strconv.FormatInt(n, 10) + " bytes"
	}
	value, prefix := float64(n), -1
	for value >= unit && prefix < 3 {
		value, prefix = value/unit, prefix+1
	}
	return strconv.FormatFloat(value, 'f', 1, 64) + " " + "KMGT"[prefix:prefix+1] + "iB"
}

func (r *registries) showUsage() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show-usage",
		Short:   "Show how much of what its tier allows a registry has.",
		Example: "  dockbell registry show-usage -n contoso -o table",
	}
	return r.one(cmd, nil, nil, func(ctx context.Context, c *connected, name string) error {
		usages, err := c.Usages(ctx, name)
		if err != nil {
			return err
		}
		t := table{header: []string{"NAME", "LIMIT", "CURRENT VALUE", "UNIT"}}
		all := make([]any, len(usages))
		for i, u := range usages {
			all[i] = generic(u)
			t.rows = append(t.rows, []string{u.Name, strconv.FormatInt(u.Limit, 10), strconv.FormatInt(u.CurrentValue, 10), u.Unit})
		}
		return r.out.print(map[string]any{"value": all}, t)
	})
}

func (r *registries) checkName() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "check-name",
		Short:   "Tell whether a registry can have a name.",
		Example: "  dockbell registry check-name -n contoso",
	}
	cmd.Flags().StringVarP(&r.name, "name", "n", "", "the `name`")
	return r.command(cmd, []string{"name"}, nil, func(ctx context.Context, c *connected) error {
		a, err := c.CheckName(ctx, r.name)
		if err != nil {
			return err
		}
		view := map[string]any{"nameAvailable": a.NameAvailable, "reason": nil, "message": nil}
		if !a.NameAvailable {
			view["reason"], view["message"] = a.Reason, a.Message
		}
		return r.out.print(view, autoTable(view))
	})
}

// resourceGroupFlag takes -g for the sake of command lines written for az. A
// server's registry names are unique, so the group adds nothing.
func resourceGroupFlag(cmd *cobra.Command) {
	cmd.Flags().StringP("resource-group", "g", "", "resource `group`: taken for command lines written for az, and not needed")
}
