package cli

import (
	"context"
	"slices"

	"github.com/spf13/cobra"
)

// resources is what the commands about one kind of a registry's resources share:
// the flags that all of them have.
type resources struct {
	env  Env
	conn connection
	out  output

	kind, nameUsage string
	registry, name  string    // flags
	source          *sourceID // a flag, too; nil: there is none
}

// ofRegistry returns what the commands about a kind of resources share; usage is
// what help says of their name.
func ofRegistry(env Env, kind, usage string) resources {
	return resources{env: env, conn: connection{env: env}, out: output{env: env}, kind: kind, nameUsage: usage}
}

// command completes a command: it adds the shared flags, --name if that is among
// the required ones, and those define adds (nil for none); run is called with the
// server and the registry.
func (r *resources) command(cmd *cobra.Command, required []string, define func(*cobra.Command), run func(context.Context, *connected, string) error) *cobra.Command {
	flags := cmd.Flags()
	flags.SortFlags = false
	r.whichFlags(cmd, slices.Contains(required, "name"))
	if define != nil {
		define(cmd)
		Group(flags, "What it does")
	}
	return r.conn.command(cmd, &r.out, required, within(&r.registry, func(ctx context.Context, c *connected, registry string) error {
		if err := r.source.check(ctx, c, registry); err != nil {
			return err
		}
		return run(ctx, c, registry)
	}))
}

// whichFlags adds the flags that say which resource, or which registry's
// resources, a command is for.
func (r *resources) whichFlags(cmd *cobra.Command, one bool) {
	flags := cmd.Flags()
	registryFlag(flags, &r.registry)
	if r.source != nil {
		r.source.registry = &r.registry
		flags.Var(r.source, "source-resource-id", "the registry by its ARM id, as az has it")
	}
	if one {
		flags.StringVarP(&r.name, "name", "n", "", r.nameUsage)
	}
	resourceGroupFlag(cmd)
	Group(flags, "Which "+r.kind)
}

// deleted says what became of a resource that was to be deleted.
func (r *resources) deleted(registry string, existed bool) {
	if existed {
		r.env.hint("deleted %s %s of registry %s", r.kind, r.name, registry)
	} else {
		r.env.hint("registry %s had no %s %s: nothing was deleted", registry, r.kind, r.name)
	}
}
