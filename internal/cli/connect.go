package cli

import (
	"context"
	"net/url"
	"strings"

	"github.com/spf13/pflag"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

// connection is how the commands of a group find their server.
type connection struct {
	env                        Env
	server, username, password string // flags
}

func (c *connection) flags(flags *pflag.FlagSet) {
	flags.StringVar(&c.server, "server", "", "`URL` of the server; else DOCKBELL_SERVER, else that of dockbell login")
	flags.StringVarP(&c.username, "username", "u", "", "user `name`; else DOCKBELL_USERNAME, else that of dockbell login")
	flags.StringVarP(&c.password, "password", "p", "", "`password`; else DOCKBELL_PASSWORD, else that of dockbell login")
	Group(flags, "Server")
}

// connected is a connection that knows its server.
type connected struct {
	*controlclient.Client
	env       Env
	server    *url.URL
	anonymous bool
}

// connect finds server and credentials. A stored password is used for the server
// and user it was stored for only.
func (c *connection) connect() (*connected, error) {
	stored, err := c.env.loadLogin()
	if err != nil {
		return nil, err
	}
	address := firstOf(c.server, c.env.Getenv("DOCKBELL_SERVER"), stored.Server)
	if address == "" {
		return nil, fault.New(fault.Invalid, "no server is named: dockbell login http://localhost:5000 -u dockbell, or use --server or DOCKBELL_SERVER")
	}
	server, err := parseServer(address)
	if err != nil {
		return nil, err
	}
	username := firstOf(c.username, c.env.Getenv("DOCKBELL_USERNAME"))
	password := firstOf(c.password, c.env.Getenv("DOCKBELL_PASSWORD"))
	if server.String() == stored.Server && (username == "" || username == stored.Username) {
		username = stored.Username
		password = firstOf(password, stored.Password)
	}
	switch {
	case username != "" && password == "":
		return nil, Usage("there is no password for user %s at %s: use DOCKBELL_PASSWORD, --password, or dockbell login", username, server)
	case username == "" && password != "":
		return nil, Usage("the password has no user name: use --username or DOCKBELL_USERNAME")
	}
	return &connected{
		Client:    controlclient.New(server, username, password, c.env.HTTP),
		env:       c.env,
		server:    server,
		anonymous: username == "",
	}, nil
}

// explain adds to a refusal what only the client knows.
func (c *connected) explain(err error) error {
	if !fault.Is(err, fault.Unauthenticated) {
		return err
	}
	if c.anonymous {
		return fault.Wrap(err, fault.Unauthenticated, "no credentials: dockbell login %s -u dockbell (the password is in dockbell-data/admin-credentials)", c.server)
	}
	return fault.Wrap(err, fault.Unauthenticated, "%s does not know this user and password: dockbell login %s -u dockbell (the password is in dockbell-data/admin-credentials)", c.server, c.server)
}

// registryName returns the registry a command is for: the one given, without the
// suffix of a login server, else DOCKBELL_REGISTRY, else the only one there is.
func (c *connected) registryName(ctx context.Context, given string) (string, error) {
	given = firstOf(given, c.env.Getenv("DOCKBELL_REGISTRY"))
	if name, suffix, ok := strings.Cut(given, "."); ok {
		c.env.warn("the login server suffix .%s is not part of the registry's name: using %s", suffix, name)
		given = name
	}
	if given != "" {
		return given, nil
	}
	all, err := c.Registries(ctx)
	if err != nil {
		return "", c.explain(err)
	}
	if len(all) == 1 {
		return all[0].Name, nil
	}
	var names []string
	for _, r := range all {
		names = append(names, r.Name)
	}
	return "", Usage("%s has several registries: choose one of %s with --registry or DOCKBELL_REGISTRY", c.server, strings.Join(names, ", "))
}
