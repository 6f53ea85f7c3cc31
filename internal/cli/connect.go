package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

// connection is how the commands of a group find their server.
type connection struct {
	env                        Env
	server, username, password string // flags

	// storedUser has no flags for user and password: those of the command are
	// about another server.
	storedUser bool
}

func (c *connection) flags(flags *pflag.FlagSet) {
	flags.StringVar(&c.server, "server", "", "`URL` of the server; else DOCKBELL_SERVER, else that of dockbell login")
	if c.storedUser {
		Group(flags, "Server")
		return
	}
	flags.StringVarP(&c.username, "username", "u", "", "user `name`; else DOCKBELL_USERNAME, else that of dockbell login")
	flags.StringVarP(&c.password, "password", "p", "", "`password`; else DOCKBELL_PASSWORD, else that of dockbell login")
	Group(flags, "Server")
}

// connected is a connection that knows its server.
type connected struct {
	*controlclient.Client
	env                Env
	server             *url.URL
	http               *http.Client
	username, password string // no username: no credentials
	stored             login  // the login stored for this server, or none
}

// found is a server, before anyone asks it anything.
type found struct {
	server *url.URL
	ca     string // PEM file of the authorities its certificate must be from; empty: the system's
	http   *http.Client
	stored login // the login stored for this server, or none
}

// find returns the server that a command is for, and how to reach it.
func (c *connection) find() (found, error) {
	stored, err := c.env.loadLogin()
	if err != nil {
		return found{}, err
	}
	address := firstOf(c.server, c.env.Getenv("DOCKBELL_SERVER"), stored.Server)
	if address == "" {
		return found{}, fault.New(fault.Invalid, "no server is named: dockbell login http://localhost:5000 -u dockbell, or use --server or DOCKBELL_SERVER")
	}
	server, err := parseServer(address)
	if err != nil {
		return found{}, err
	}
	if server.String() != stored.Server {
		stored = login{}
	}
	f := found{server: server, ca: firstOf(c.env.Getenv("DOCKBELL_CA"), stored.CA), stored: stored}
	f.http, err = c.env.trusting(f.ca)
	return f, err
}

// trusting returns a client for servers whose certificate is from an authority in
// a PEM file; without one, from one that the system trusts.
func (env Env) trusting(ca string) (*http.Client, error) {
	if ca == "" {
		return env.HTTP, nil
	}
	text, err := readFile(ca, maxPEM)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the certificate authority's file %s: name another with --ca of dockbell login, or DOCKBELL_CA", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fault.New(fault.Invalid, "%s holds no certificate in PEM form: a server with --tls self-signed keeps it in tls/ca.pem of its data folder", ca)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	client := *env.HTTP
	client.Transport = transport
	return &client, nil
}

// connect finds server and credentials. A stored password is used for the server
// and user it was stored for only; a person who names a user is asked for one.
func (c *connection) connect() (*connected, error) {
	f, err := c.find()
	if err != nil {
		return nil, err
	}
	server, stored := f.server, f.stored
	username := firstOf(c.username, c.env.Getenv("DOCKBELL_USERNAME"))
	password := firstOf(c.password, c.env.Getenv("DOCKBELL_PASSWORD"))
	if stored.Server != "" && (username == "" || username == stored.Username) {
		username = stored.Username
		password = firstOf(password, stored.Password)
	}
	if username != "" && password == "" && c.env.ReadPassword != nil {
		if password, err = c.env.ReadPassword(); err != nil {
			return nil, fmt.Errorf("the password cannot be read: %w", err)
		}
	}
	switch {
	case username != "" && password == "":
		return nil, Usage("there is no password for user %s at %s: use DOCKBELL_PASSWORD, --password, or dockbell login", username, server)
	case username == "" && password != "":
		return nil, Usage("the password has no user name: use --username or DOCKBELL_USERNAME")
	}
	return &connected{
		Client:   controlclient.New(server, username, password, f.http),
		env:      c.env,
		server:   server,
		http:     f.http,
		username: username,
		password: password,
		stored:   stored,
	}, nil
}

// explain adds to a refusal what only the client knows.
func (c *connected) explain(err error) error {
	if !fault.Is(err, fault.Unauthenticated) {
		return err
	}
	if c.username == "" {
		return fault.Wrap(err, fault.Unauthenticated, "no credentials: dockbell login %s -u dockbell (the password is in dockbell-data/admin-credentials)", c.server)
	}
	return fault.Wrap(err, fault.Unauthenticated, "%s does not know user %s with this password: dockbell login %s -u dockbell (whose password is in dockbell-data/admin-credentials)", c.server, c.username, c.server)
}

// command completes a command with the flags for its output and its server, which
// run is called with. It takes no arguments unless it says which.
func (conn *connection) command(cmd *cobra.Command, out *output, required []string, run func(context.Context, *connected) error) *cobra.Command {
	out.flags(cmd.Flags())
	conn.flags(cmd.Flags())
	if cmd.Args == nil {
		cmd.Args = NoArgs
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := require(cmd, required...); err != nil {
			return err
		}
		c, err := conn.connect()
		if err != nil {
			return err
		}
		return c.explain(run(cmd.Context(), c))
	}
	return cmd
}

// within is run with the registry that a flag names, as registryName says.
func within(flag *string, run func(context.Context, *connected, string) error) func(context.Context, *connected) error {
	return func(ctx context.Context, c *connected) error {
		registry, err := c.registryName(ctx, *flag)
		if err != nil {
			return err
		}
		return run(ctx, c, registry)
	}
}

// registryFlag names the registry that a command is for, as registryName says.
func registryFlag(flags *pflag.FlagSet, registry *string) {
	flags.StringVarP(registry, "registry", "r", "", "registry `name`; else DOCKBELL_REGISTRY, else the only one there is")
}

// registryName returns the registry a command is for: the one given, without the
// suffix of a login server, else DOCKBELL_REGISTRY, else the only one there is.
func (c *connected) registryName(ctx context.Context, given string) (string, error) {
	if name := c.named(given); name != "" {
		return name, nil
	}
	all, err := c.Registries(ctx)
	if err != nil {
		return "", c.explain(err)
	}
	only, err := c.only(all)
	return only.Name, err
}

// named returns the name of the registry that is given, or that the environment
// says; none if neither does.
func (c *connected) named(given string) string {
	given = firstOf(given, c.env.Getenv("DOCKBELL_REGISTRY"))
	name, suffix, ok := strings.Cut(given, ".")
	if ok {
		c.env.warn("the login server suffix .%s is not part of the registry's name: using %s", suffix, name)
	}
	return name
}

// only returns the registry there is, if there is one.
func (c *connected) only(all []controlclient.Registry) (controlclient.Registry, error) {
	if len(all) == 1 {
		return all[0], nil
	}
	var names []string
	for _, r := range all {
		names = append(names, r.Name)
	}
	return controlclient.Registry{}, Usage("%s has several registries: choose one of %s with --registry or DOCKBELL_REGISTRY", c.server, strings.Join(names, ", "))
}
