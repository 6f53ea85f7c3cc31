package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

// login is what dockbell login keeps for the commands that follow.
type login struct {
	Server   string `json:"server"` // scheme, host and port
	Username string `json:"username"`
	Password string `json:"password"`
	CA       string `json:"ca,omitempty"` // PEM file of the authorities its certificate must be from
}

const loginFile = "login.json"

// loadLogin returns the stored login, or the zero login if there is none.
func (env Env) loadLogin() (login, error) {
	var l login
	if env.ConfigDir == "" {
		return l, nil
	}
	path := filepath.Join(env.ConfigDir, loginFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return l, fmt.Errorf("the stored login cannot be read: %w", err)
	}
	if err := json.Unmarshal(text, &l); err != nil {
		return l, fmt.Errorf("%s is damaged (%w): log in again with dockbell login", path, err)
	}
	return l, nil
}

// storeLogin keeps l readable by its owner only.
func (env Env) storeLogin(l login) error {
	if env.ConfigDir == "" {
		return errors.New("there is no place to keep the login: set HOME, or use DOCKBELL_SERVER, DOCKBELL_USERNAME and DOCKBELL_PASSWORD instead")
	}
	if err := os.MkdirAll(env.ConfigDir, 0o700); err != nil {
		return fmt.Errorf("the login cannot be kept: %w", err)
	}
	text, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	// A new file in the old one's place, so that its mode is certain.
	f, err := os.CreateTemp(env.ConfigDir, loginFile+".*")
	if err != nil {
		return fmt.Errorf("the login cannot be kept: %w", err)
	}
	_, err = f.Write(append(text, '\n'))
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(env.ConfigDir, loginFile))
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("the login cannot be kept: %w", err)
	}
	return nil
}

func loginCommand(env Env) *cobra.Command {
	var username, password, ca string
	var passwordStdin bool
	cmd := &cobra.Command{
		Use:     "login URL",
		Short:   "Log in to a server and keep the login for the commands that follow.",
		Example: "  dockbell login http://localhost:5000 -u dockbell\n  dockbell login https://registry.example.com -u dockbell --password-stdin < password.txt\n  dockbell login https://localhost:5000 -u dockbell --ca dockbell-data/tls/ca.pem",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return Usage("login needs one address: dockbell login http://localhost:5000 -u dockbell")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			server, err := parseServer(args[0])
			if err != nil {
				return err
			}
			username, password := firstOf(username, env.Getenv("DOCKBELL_USERNAME")), firstOf(password, env.Getenv("DOCKBELL_PASSWORD"))
			if username == "" {
				return Usage("login needs a user name: dockbell login %s -u dockbell", server)
			}
			if passwordStdin && cmd.Flag("password").Changed {
				return Usage("give the password once: with --password or with --password-stdin")
			}
			if passwordStdin {
				password, err = readLine(env.Stdin)
			} else if password == "" && env.ReadPassword != nil {
				password, err = env.ReadPassword()
			}
			if err != nil {
				return fmt.Errorf("the password cannot be read: %w", err)
			}
			if password == "" {
				return Usage("login needs a password: with --password-stdin, -p or DOCKBELL_PASSWORD")
			}
			ca := firstOf(ca, env.Getenv("DOCKBELL_CA"))
			if ca != "" {
				if ca, err = filepath.Abs(ca); err != nil {
					return fmt.Errorf("--ca: %w", err)
				}
			}
			return env.login(cmd.Context(), server, login{Username: username, Password: password, CA: ca})
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVarP(&username, "username", "u", "", "user `name`, also DOCKBELL_USERNAME")
	flags.StringVarP(&password, "password", "p", "", "`password`, also DOCKBELL_PASSWORD; asked for when it is missing")
	flags.BoolVar(&passwordStdin, "password-stdin", false, "read the password from standard input")
	flags.StringVar(&ca, "ca", "", "PEM `file` of the authority that the server's certificate must be from, in place of the system's; also DOCKBELL_CA")
	return cmd
}

// login asks the server whether it knows l's user and password, and keeps l if it
// does.
func (env Env) login(ctx context.Context, server *url.URL, l login) error {
	if server.Scheme == "http" && !loopback(server.Hostname()) {
		env.warn("%s is not encrypted: everyone on the way can read the password", server)
	}
	hc, err := env.trusting(l.CA)
	if err != nil {
		return err
	}
	client := controlclient.New(server, l.Username, l.Password, hc)
	registries, err := client.Registries(ctx)
	if fault.Is(err, fault.Unauthenticated) {
		return fault.Wrap(err, fault.Unauthenticated, "%s does not know user %s with this password (the operator's is in the file admin-credentials of the server's data folder)", server, l.Username)
	}
	if err != nil {
		return err
	}
	if len(registries) == 0 {
		return fault.New(fault.Denied, "%s has no registry that user %s may manage", server, l.Username)
	}
	l.Server = server.String()
	if err := env.storeLogin(l); err != nil {
		return err
	}
	var names []string
	for _, r := range registries {
		names = append(names, r.Name)
	}
	env.hint("logged in to %s as %s: %s", server, l.Username, strings.Join(names, ", "))
	env.hint("next: dockbell webhook list -r %s", registries[0].Name)
	return nil
}

func logoutCommand(env Env) *cobra.Command {
	return &cobra.Command{
		Use:     "logout",
		Short:   "Forget the stored login.",
		Example: "  dockbell logout",
		Args:    NoArgs,
		RunE: func(*cobra.Command, []string) error {
			err := os.Remove(filepath.Join(env.ConfigDir, loginFile))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("the stored login cannot be removed: %w", err)
			}
			return nil
		},
	}
}

// parseServer reads a server's address. Without a scheme it is http for this
// machine and https for others.
func parseServer(s string) (*url.URL, error) {
	text := s
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(strings.TrimSuffix(text, "/"))
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, Usage("%q is no address of a server: give one like http://localhost:5000", s)
	}
	if u.User != nil {
		return nil, Usage("user and password do not go into the address: dockbell login %s://%s -u %s", u.Scheme, u.Host, u.User.Username())
	}
	if u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, Usage("%q goes beyond the server: use %s://%s", s, u.Scheme, u.Host)
	}
	if text != s && !loopback(u.Hostname()) {
		u.Scheme = "https"
	}
	return &url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host)}, nil
}

// loopback reports whether host is this machine by its form.
func loopback(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// readLine returns the text of r without the line break at its end.
func readLine(r io.Reader) (string, error) {
	const maxPassword = 4096
	text, err := io.ReadAll(io.LimitReader(r, maxPassword))
	return strings.TrimRight(string(text), "\r\n"), err
}

// firstOf returns the first that is not empty.
func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// hint tells a person what happened and what is likely next; scripts are not
// told.
func (env Env) hint(format string, args ...any) {
	if env.StderrTerminal {
		fmt.Fprintf(env.Stderr, format+"\n", args...)
	}
}

// warn tells everyone.
func (env Env) warn(format string, args ...any) {
	fmt.Fprintf(env.Stderr, "warning: "+format+"\n", args...)
}
