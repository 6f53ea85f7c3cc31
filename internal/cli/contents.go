package cli

import (
	"context"
	"net"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/registryclient"
)

// contents is what the commands about a registry's images share.
type contents struct {
	env      Env
	conn     connection
	out      output
	registry string
}

// command completes a command about images: which adds the flags that say about
// which, and define the others (nil for none). read looks at them (nil for not at
// all) before anything is asked of the server; then run is called with the
// registry that --registry names.
func (o *contents) command(cmd *cobra.Command, which, define func(*cobra.Command), read func() error, run func(context.Context, *registryclient.Client) error) *cobra.Command {
	return o.anywhere(cmd, which, define, read, func(ctx context.Context, c *connected) error {
		registry, err := c.contents(ctx, o.registry)
		if err != nil {
			return err
		}
		return run(ctx, registry)
	})
}

// anywhere is command, for a run that finds its registry itself.
func (o *contents) anywhere(cmd *cobra.Command, which, define func(*cobra.Command), read func() error, run func(context.Context, *connected) error) *cobra.Command {
	flags := cmd.Flags()
	flags.SortFlags = false
	which(cmd)
	Group(flags, "Which images")
	if define != nil {
		define(cmd)
		Group(flags, "What it does")
	}
	if read != nil {
		cmd.PreRunE = func(*cobra.Command, []string) error { return read() }
	}
	return o.conn.command(cmd, &o.out, nil, run)
}

// contents returns the images of the registry that a command names, else of the
// only one there is.
func (c *connected) contents(ctx context.Context, given string) (*registryclient.Client, error) {
	server, err := c.loginServer(ctx, c.named(given))
	if err != nil {
		return nil, err
	}
	return c.contentsOf(server), nil
}

// contentsAt returns the images of the registry at a login server, as image names
// begin with it.
func (c *connected) contentsAt(ctx context.Context, host string) (*registryclient.Client, error) {
	if strings.EqualFold(host, c.server.Host) || nameless(host) {
		return c.contentsOf(host), nil
	}
	name, _, _ := strings.Cut(host, ".")
	server, err := c.loginServer(ctx, name)
	if err != nil {
		return nil, err
	}
	if !strings.EqualFold(host, server) {
		c.env.warn("the login server of registry %s is %s, not %s: using that", name, server, host)
	}
	return c.contentsOf(server), nil
}

// nameless reports whether a host stands for the default registry of whatever
// server it leads to.
func nameless(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || strings.EqualFold(host, "localhost")
}

// contentsOf asks the server that the command is for, whatever address the name
// of the login server has, if any.
func (c *connected) contentsOf(loginServer string) *registryclient.Client {
	return registryclient.New(c.server, loginServer, c.username, c.password, c.http)
}

// loginServer returns the login server of a registry, empty for the one that the
// server's own address means. As with az, user and password of the command line
// are for the images, and a stored login finds the registry; but who may use
// images need not be known to the control plane at all.
func (c *connected) loginServer(ctx context.Context, registry string) (string, error) {
	control := c.Client
	if c.stored.Username != "" && c.stored.Username != c.username {
		control = controlclient.New(c.server, c.stored.Username, c.stored.Password, c.http)
	}
	if registry == "" {
		all, err := control.Registries(ctx)
		if hidden(err) || err == nil && len(all) == 0 {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		only, err := c.only(all)
		return only.Properties.LoginServer, err
	}
	found, err := control.Registry(ctx, registry)
	if !hidden(err) {
		return found.Properties.LoginServer, err
	}
	cloud, err := control.Cloud(ctx)
	return registry + cloud.Suffixes.ACRLoginServer, err
}

// hidden reports whether the control plane does not show something to a user.
func hidden(err error) bool {
	return fault.Is(err, fault.Unauthenticated) || fault.Is(err, fault.Denied)
}
