package cli

import (
	"github.com/spf13/cobra"
)

func registryCommand(env Env) *cobra.Command {
	conn, out := connection{env: env}, output{env: env}
	group := &cobra.Command{
		Use:     "registry",
		Short:   "Show the registries of a server.",
		Example: "  dockbell registry list",
		Args:    cobra.ArbitraryArgs,
		RunE:    runGroup,
	}

	list := &cobra.Command{
		Use:     "list",
		Short:   "List the registries you may manage.",
		Example: "  dockbell registry list -o table",
		Args:    NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := conn.connect()
			if err != nil {
				return err
			}
			all, err := c.Registries(cmd.Context())
			if err != nil {
				return c.explain(err)
			}
			return out.print(views(all, registryView), registryTable(all...))
		},
	}

	var name string
	show := &cobra.Command{
		Use:     "show",
		Short:   "Show one registry.",
		Example: "  dockbell registry show -n contoso --query loginServer -o tsv",
		Args:    NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := conn.connect()
			if err != nil {
				return err
			}
			name, err := c.registryName(cmd.Context(), name)
			if err != nil {
				return err
			}
			r, err := c.Registry(cmd.Context(), name)
			if err != nil {
				return c.explain(err)
			}
			return out.print(registryView(r), registryTable(r))
		},
	}
	show.Flags().StringVarP(&name, "name", "n", "", "registry `name`; else DOCKBELL_REGISTRY, else the only one there is")

	for _, cmd := range []*cobra.Command{list, show} {
		cmd.Flags().SortFlags = false
		resourceGroupFlag(cmd)
		Group(cmd.Flags(), "Which registry")
		out.flags(cmd.Flags())
		conn.flags(cmd.Flags())
		group.AddCommand(cmd)
	}
	return group
}

// resourceGroupFlag takes -g for the sake of command lines written for az. A
// server's registry names are unique, so the group adds nothing.
func resourceGroupFlag(cmd *cobra.Command) {
	cmd.Flags().StringP("resource-group", "g", "", "resource `group`: taken for command lines written for az, and not needed")
}
