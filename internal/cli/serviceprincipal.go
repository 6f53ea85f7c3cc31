package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dockbell/dockbell/internal/controlclient"
)

// roleNames are the roles that a service principal can have.
var roleNames = []string{"Owner", "Contributor", "Reader", "AcrPull", "AcrPush", "AcrDelete", "AcrQuarantineReader", "AcrQuarantineWriter"}

// servicePrincipals is what these commands share.
type servicePrincipals struct {
	env  Env
	conn connection
	out  output
	name string
}

func servicePrincipalCommand(env Env) *cobra.Command {
	p := &servicePrincipals{env: env, conn: connection{env: env}, out: output{env: env}}
	group := &cobra.Command{
		Use:     "service-principal",
		Short:   "Make and end accounts for programs.",
		Example: "  dockbell service-principal create --name ci-build --role AcrPush -r contoso\n  dockbell service-principal list",
		Args:    cobra.ArbitraryArgs,
		RunE:    runGroup,
	}
	group.AddCommand(p.create(), p.list(), p.reset(), p.delete())
	return group
}

// command completes a command: run is called with the server.
func (p *servicePrincipals) command(cmd *cobra.Command, required []string, run func(context.Context, *connected) error) *cobra.Command {
	flags := cmd.Flags()
	flags.SortFlags = false
	Group(flags, "Which service principal")
	return p.conn.command(cmd, &p.out, required, run)
}

func (p *servicePrincipals) create() *cobra.Command {
	roles := wordList{allowed: roleNames}
	var registry string
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make an account for a program, and print its password this once.",
		Example: "  dockbell service-principal create --name ci-build --role AcrPush -r contoso -o json\n" +
			"  dockbell service-principal create --name terraform --role Owner",
	}
	flags := cmd.Flags()
	flags.StringVarP(&p.name, "name", "n", "", "`name` of the account, 1 to 64 letters, digits, dashes, underscores and dots")
	flags.Var(&roles, "role", "what it may do, separated by blanks: "+strings.Join(roleNames, " "))
	flags.StringVarP(&registry, "registry", "r", "", "registry `name` that the roles are for; else all registries of the server")
	return p.command(cmd, []string{"name", "role"}, func(ctx context.Context, c *connected) error {
		scope := ""
		if registry != "" {
			name, err := c.registryName(ctx, registry)
			if err != nil {
				return err
			}
			r, err := c.Registry(ctx, name)
			if err != nil {
				return err
			}
			scope = r.ID
		}
		var assignments []controlclient.RoleAssignment
		for _, role := range roles.words {
			assignments = append(assignments, controlclient.RoleAssignment{Role: role, Scope: scope})
		}
		made, err := c.CreateServicePrincipal(ctx, p.name, assignments)
		if err != nil {
			return err
		}
		p.env.hint("the password is shown this once; its user name is the appId: docker login -u %s", made.AppID)
		return p.printCredential(made)
	})
}

// printCredential prints what az ad sp create-for-rbac does.
func (p *servicePrincipals) printCredential(made controlclient.ServicePrincipal) error {
	value := map[string]any{
		"appId": made.AppID, "displayName": made.DisplayName, "password": made.Password, "tenant": made.Tenant,
	}
	return p.out.print(value, table{
		header: []string{"APP ID", "DISPLAY NAME", "PASSWORD", "TENANT"},
		rows:   [][]string{{made.AppID, made.DisplayName, made.Password, made.Tenant}},
	})
}

func (p *servicePrincipals) list() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the accounts for programs that you may manage.",
		Example: "  dockbell service-principal list -o table",
	}
	return p.command(cmd, nil, func(ctx context.Context, c *connected) error {
		all, err := c.ServicePrincipals(ctx)
		if err != nil {
			return err
		}
		return p.out.print(views(all, servicePrincipalView), p.out.servicePrincipalTable(all))
	})
}

// nameFlag names an account that exists.
func (p *servicePrincipals) nameFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&p.name, "name", "n", "", "`name` of the account, or its appId")
}

func (p *servicePrincipals) reset() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "reset",
		Short:   "Give an account a new password; the old one and its tokens end at once.",
		Example: "  dockbell service-principal reset --name ci-build",
	}
	p.nameFlag(cmd)
	return p.command(cmd, []string{"name"}, func(ctx context.Context, c *connected) error {
		made, err := c.ResetServicePrincipal(ctx, p.name)
		if err != nil {
			return err
		}
		p.env.hint("the password is shown this once; the old one and its tokens are refused from now on")
		return p.printCredential(made)
	})
}

func (p *servicePrincipals) delete() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "delete",
		Short:   "Delete an account; its tokens end at once.",
		Example: "  dockbell service-principal delete --name ci-build",
	}
	p.nameFlag(cmd)
	return p.command(cmd, []string{"name"}, func(ctx context.Context, c *connected) error {
		return c.DeleteServicePrincipal(ctx, p.name)
	})
}

func servicePrincipalView(p controlclient.ServicePrincipal) map[string]any {
	roles := []any{}
	for _, as := range p.RoleAssignments {
		roles = append(roles, map[string]any{"role": as.Role, "scope": as.Scope})
	}
	return map[string]any{
		"appId": p.AppID, "createdAt": moment3339(p.CreatedAt), "displayName": p.DisplayName,
		"passwordCreatedAt": moment3339(p.PasswordCreatedAt), "roleAssignments": roles, "tenant": p.Tenant,
	}
}

func (o *output) servicePrincipalTable(all []controlclient.ServicePrincipal) table {
	t := table{
		header: []string{"DISPLAY NAME", "APP ID", "ROLES", "PASSWORD MADE"},
		empty:  "no service principals: dockbell service-principal create --name ci-build --role AcrPush makes one",
	}
	for _, p := range all {
		var roles []string
		for _, as := range p.RoleAssignments {
			// Of a registry's id the name says enough.
			where := "everywhere"
			if _, registry, ok := strings.Cut(as.Scope, "/registries/"); ok {
				where = registry
			}
			roles = append(roles, as.Role+" "+where)
		}
		t.rows = append(t.rows, []string{p.DisplayName, p.AppID, strings.Join(roles, ", "), o.when(p.PasswordCreatedAt)})
	}
	return t
}
