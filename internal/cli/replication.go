package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dockbell/dockbell/internal/controlclient"
)

// replications is what the replication commands share.
type replications struct{ resources }

func replicationCommand(env Env) *cobra.Command {
	r := &replications{ofRegistry(env, "replication", "replication `name`")}
	group := &cobra.Command{
		Use:     "replication",
		Short:   "Say in which locations a Premium registry is to be.",
		Example: "  dockbell replication create -r contoso -l eastus\n  dockbell replication list -r contoso",
		Args:    cobra.ArbitraryArgs,
		RunE:    runGroup,
	}
	group.AddCommand(r.create(), r.list(), r.show(), r.update(), r.delete())
	return group
}

// replicationSettings are the flags that say what a replication is to be.
type replicationSettings struct {
	endpoint truth
	tags     pairList
}

func (s *replicationSettings) flags(cmd *cobra.Command) {
	s.endpoint.flag(cmd.Flags(), "region-endpoint-enabled", "whether requests may be routed there")
	cmd.Flags().Var(&s.tags, "tags", "labels, as `name=value`; \"\" clears")
}

func (s *replicationSettings) body() controlclient.ReplicationWrite {
	return controlclient.ReplicationWrite{Tags: s.tags.pairs, Properties: controlclient.ReplicationProperties{RegionEndpointEnabled: s.endpoint.value}}
}

func (r *replications) create() *cobra.Command {
	var s replicationSettings
	var location string
	zones := choiceValue{allowed: []string{"Enabled", "Disabled"}}
	cmd := &cobra.Command{
		Use:     "create",
		Short:   "Create a replication, or replace the settings of the one of that name.",
		Example: "  dockbell replication create -r contoso -l eastus",
	}
	define := func(cmd *cobra.Command) {
		cmd.Flags().StringVarP(&location, "location", "l", "", "`region` that the registry is to be in too")
		cmd.Flags().StringVarP(&r.name, "name", "n", "", "replication `name`, 5 to 50 letters and digits; else the location's")
		s.flags(cmd)
		cmd.Flags().Var(&zones, "zone-redundancy", "kept and answered, and of no effect")
	}
	return r.command(cmd, []string{"location"}, define, func(ctx context.Context, c *connected, registry string) error {
		def := s.body()
		def.Location = location
		if zones.value != "" {
			def.Properties.ZoneRedundancy = &zones.value
		}
		name := firstOf(r.name, strings.ToLower(strings.ReplaceAll(location, " ", "")))
		rep, err := c.PutReplication(ctx, registry, name, def)
		return r.printOne(rep, err)
	})
}

func (r *replications) list() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List where a registry is, its home first.",
		Example: "  dockbell replication list -r contoso -o table",
	}
	return r.command(cmd, nil, nil, func(ctx context.Context, c *connected, registry string) error {
		all, err := c.Replications(ctx, registry)
		if err != nil {
			return err
		}
		return r.out.print(views(all, replicationView), replicationTable(all...))
	})
}

func (r *replications) show() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show",
		Short:   "Show one replication.",
		Example: "  dockbell replication show -r contoso -n eastus",
	}
	return r.command(cmd, []string{"name"}, nil, func(ctx context.Context, c *connected, registry string) error {
		return r.printOne(c.Replication(ctx, registry, r.name))
	})
}

func (r *replications) update() *cobra.Command {
	var s replicationSettings
	cmd := &cobra.Command{
		Use:     "update",
		Short:   "Change a replication; what is not given stays as it is.",
		Example: "  dockbell replication update -r contoso -n eastus --region-endpoint-enabled false",
	}
	return r.command(cmd, []string{"name"}, s.flags, func(ctx context.Context, c *connected, registry string) error {
		return r.printOne(c.PatchReplication(ctx, registry, r.name, s.body()))
	})
}

func (r *replications) delete() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "delete",
		Short:   "Delete a replication that has no webhooks.",
		Example: "  dockbell replication delete -r contoso -n eastus",
	}
	return r.command(cmd, []string{"name"}, nil, func(ctx context.Context, c *connected, registry string) error {
		existed, err := c.DeleteReplication(ctx, registry, r.name)
		if err != nil {
			return err
		}
		r.deleted(registry, existed)
		return nil
	})
}

// printOne prints a replication, and says what it waits for.
func (r *replications) printOne(rep controlclient.Replication, err error) error {
	if err != nil {
		return err
	}
	if status := rep.Properties.Status; status.DisplayStatus != "Ready" {
		r.env.hint("%s: %s", strings.ToLower(status.DisplayStatus), status.Message)
	}
	return r.out.print(replicationView(rep), replicationTable(rep))
}

func replicationView(r controlclient.Replication) map[string]any { return lifted(r.Raw, r.ID) }

func replicationTable(all ...controlclient.Replication) table {
	t := table{header: []string{"NAME", "LOCATION", "PROVISIONING STATE", "STATUS", "REGION ENDPOINT ENABLED"}}
	for _, r := range all {
		p := r.Properties
		t.rows = append(t.rows, []string{r.Name, r.Location, p.ProvisioningState, p.Status.DisplayStatus, pythonBool(p.RegionEndpointEnabled)})
	}
	return t
}

// pythonBool writes true and false as az's tables do.
func pythonBool(b bool) string {
	if b {
		return "True"
	}
	return "False"
}
