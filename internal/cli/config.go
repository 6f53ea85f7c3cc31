package cli

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/dockbell/dockbell/internal/controlclient"
)

// configCommand holds the policies of a registry, as az acr config does.
func configCommand(env Env) *cobra.Command {
	group := &cobra.Command{
		Use:     "config",
		Short:   "Show and change the policies of a registry.",
		Example: "  dockbell config retention update -r contoso --status enabled --days 30 --type UntaggedManifests",
		Args:    cobra.ArbitraryArgs,
		RunE:    runGroup,
	}
	group.AddCommand(retentionCommand(env), softDeleteCommand(env))
	return group
}

// maxRetention is what a policy can say at the most, in days.
const maxRetention = 365

func retentionCommand(env Env) *cobra.Command {
	group := &cobra.Command{
		Use:     "retention",
		Short:   "Say when manifests without a tag are removed.",
		Example: "  dockbell config retention show -r contoso\n  dockbell config retention update -r contoso --status enabled --days 30 --type UntaggedManifests",
		Args:    cobra.ArbitraryArgs,
		RunE:    runGroup,
	}
	r := &registries{env: env, conn: connection{env: env}, out: output{env: env}}
	policy := policyShown{"retentionPolicy", "days"}
	show := &cobra.Command{
		Use:     "show",
		Short:   "Show the policy.",
		Example: "  dockbell config retention show -r contoso",
	}
	update := &cobra.Command{
		Use:   "update",
		Short: "Change the policy; what is not given stays as it is.",
		Long: "Change the policy; what is not given stays as it is. It removes manifests that have had no tag for so many\n" +
			"days, unless an index lists them, what they refer to is there, or they are locked. Registries of tier Premium have it.",
		Example: "  dockbell config retention update -r contoso --status enabled --days 30 --type UntaggedManifests",
	}
	status := choiceValue{allowed: []string{"enabled", "disabled"}}
	kind := choiceValue{allowed: []string{"UntaggedManifests"}}
	var days int
	define := func(cmd *cobra.Command) {
		cmd.Flags().Var(&status, "status", "whether it removes anything")
		cmd.Flags().IntVar(&days, "days", 0, "`days` without a tag, 0 to 365; 0 is an hour")
		cmd.Flags().Var(&kind, "type", "what it removes")
	}
	group.AddCommand(
		r.policy(show, policy, nil, nil, func(ctx context.Context, c *connected, name string) (controlclient.Registry, error) {
			return c.Registry(ctx, name)
		}),
		r.policy(update, policy, []string{"type"}, define, func(ctx context.Context, c *connected, name string) (controlclient.Registry, error) {
			var p controlclient.RetentionPolicy
			if status.value != "" {
				p.Status = &status.value
			}
			if update.Flags().Changed("days") {
				if days < 0 || days > maxRetention {
					return controlclient.Registry{}, Usage("--days %d is out of range: use 0 to %d", days, maxRetention)
				}
				p.Days = &days
			}
			if p == (controlclient.RetentionPolicy{}) {
				return controlclient.Registry{}, Usage("nothing is to change: give --status, --days, or both")
			}
			return c.PatchRegistry(ctx, name, controlclient.RegistryWrite{Properties: controlclient.RegistryProperties{
				Policies: &controlclient.Policies{Retention: &p},
			}})
		}),
	)
	return group
}

// policyShown is a policy as a registry has it: the member it is in, and the one of that
// which has the days.
type policyShown struct{ member, days string }

// of returns the policy of a registry.
func (p policyShown) of(found controlclient.Registry) map[string]any {
	policies, _ := registryView(found)["policies"].(map[string]any)
	policy, _ := policies[p.member].(map[string]any)
	return policy
}

// policy is a command about a policy of the registry that do returns. required are flags
// that az requires.
func (r *registries) policy(cmd *cobra.Command, shown policyShown, required []string, define func(*cobra.Command), do func(context.Context, *connected, string) (controlclient.Registry, error)) *cobra.Command {
	registryFlag(cmd.Flags(), &r.name)
	resourceGroupFlag(cmd)
	return r.command(cmd, required, define, within(&r.name, func(ctx context.Context, c *connected, name string) error {
		found, err := do(ctx, c, name)
		if err != nil {
			return err
		}
		policy := shown.of(found)
		days, _ := policy[shown.days].(float64)
		text := func(member string) string { s, _ := policy[member].(string); return s }
		return r.out.print(policy, table{
			header: []string{"STATUS", "DAYS", "LAST UPDATED"},
			rows:   [][]string{{text("status"), strconv.Itoa(int(days)), text("lastUpdatedTime")}},
		})
	}))
}
