package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/dockbell/dockbell/internal/controlclient"
)

func credentialCommand(env Env) *cobra.Command {
	r := &registries{env: env, conn: connection{env: env}, out: output{env: env}}
	group := &cobra.Command{
		Use:     "credential",
		Short:   "Show and renew the passwords of a registry's admin user.",
		Example: "  dockbell credential show -n contoso",
		Args:    cobra.ArbitraryArgs,
		RunE:    runGroup,
	}
	show := &cobra.Command{
		Use:     "show",
		Short:   "Show user name and passwords, in clear.",
		Example: "  dockbell credential show -n contoso --query 'passwords[0].value' -o tsv",
	}
	renew := &cobra.Command{
		Use:     "renew",
		Short:   "Make one of the two passwords anew and show both, in clear; the old one ends at once.",
		Example: "  dockbell credential renew -n contoso --password-name password2",
	}
	which := choiceValue{allowed: []string{"password", "password2"}}
	define := func(cmd *cobra.Command) { cmd.Flags().Var(&which, "password-name", "which of the two") }
	group.AddCommand(
		r.one(show, nil, nil, func(ctx context.Context, c *connected, name string) error {
			return r.printCredentials(c.Credentials(ctx, name))
		}),
		r.one(renew, []string{"password-name"}, define, func(ctx context.Context, c *connected, name string) error {
			return r.printCredentials(c.RenewCredential(ctx, name, which.value))
		}),
	)
	return group
}

func (r *registries) printCredentials(found controlclient.Credentials, err error) error {
	if err != nil {
		return err
	}
	return r.out.print(generic(found), table{
		header: []string{"USERNAME", "PASSWORD", "PASSWORD2"},
		rows:   [][]string{{found.Username, found.Password("password"), found.Password("password2")}},
	})
}
