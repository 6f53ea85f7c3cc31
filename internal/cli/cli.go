// Package cli is the client side of the program dockbell: the commands that talk
// to a server, with the flags, defaults and JSON of az acr.
//
// It owns command lines and what they print; requests are for package
// controlclient, and commands that run a server are added to Root from outside.
// Invariants: what a command was asked for goes to standard output, and nothing
// else does; an error is one line on standard error; a stored password is sent
// to the server it was stored for and to no other.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/dockbell/dockbell/internal/fault"
)

// The exit codes.
const (
	exitDone    = 0
	exitRefused = 1 // refused or failed
	exitUsage   = 2 // wrong usage
)

// Env is what commands know of the process they run in.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	StdoutTerminal bool
	StderrTerminal bool

	// ReadPassword asks for a password without showing it; nil when there is
	// no terminal to ask on.
	ReadPassword func() (string, error)

	Getenv    func(string) string
	ConfigDir string // where the login is kept, as os.UserConfigDir has it; empty: nowhere
	HTTP      *http.Client

	// LookupHost returns the addresses of a name, as net.Resolver's does.
	LookupHost func(ctx context.Context, name string) ([]string, error)

	Version string
}

// requestTimeout bounds one request to the server. No command here does long
// work.
const requestTimeout = 60 * time.Second

// OSEnv returns the environment of this process.
func OSEnv(version string) Env {
	dir, err := os.UserConfigDir()
	if err == nil {
		dir = filepath.Join(dir, "dockbell")
	}
	env := Env{
		Stdin:          os.Stdin,
		Stdout:         os.Stdout,
		Stderr:         os.Stderr,
		StdoutTerminal: term.IsTerminal(int(os.Stdout.Fd())),
		StderrTerminal: term.IsTerminal(int(os.Stderr.Fd())),
		Getenv:         os.Getenv,
		ConfigDir:      dir,
		HTTP:           &http.Client{Timeout: requestTimeout},
		LookupHost:     net.DefaultResolver.LookupHost,
		Version:        version,
	}
	if stdin := int(os.Stdin.Fd()); term.IsTerminal(stdin) {
		env.ReadPassword = func() (string, error) {
			fmt.Fprint(os.Stderr, "password: ")
			password, err := term.ReadPassword(stdin)
			fmt.Fprintln(os.Stderr)
			return string(password), err
		}
	}
	return env
}

// Root returns the command dockbell with the client commands and more. A command
// of more should take its arguments with NoArgs or return Usage errors, so that
// wrong usage exits with 2.
func Root(env Env, more ...*cobra.Command) *cobra.Command {
	root := &cobra.Command{
		Use:           "dockbell",
		Short:         "A container registry that rings: its server and its client.",
		Example:       "  dockbell serve\n  dockbell login http://localhost:5000 -u dockbell\n  dockbell webhook create -r dockbell -n deployhook --uri http://127.0.0.1:9000/hook --actions push delete",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE:          runGroup,
	}
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.SetFlagErrorFunc(flagError)
	root.SetHelpFunc(help)
	root.AddCommand(more...)
	root.AddCommand(
		loginCommand(env),
		logoutCommand(env),
		registryCommand(env),
		servicePrincipalCommand(env),
		signingKeyCommand(env),
		azEnvCommand(env),
		repositoryCommand(env),
		manifestCommand(env),
		importCommand(env),
		credentialCommand(env),
		tokenCommand(env),
		scopeMapCommand(env),
		replicationCommand(env),
		configCommand(env),
		webhookCommand(env),
		subscriptionCommand(env),
		eventsCommand(env),
		auditCommand(env),
		listenCommand(env),
		applyCommand(env),
		statusCommand(env),
		gcCommand(env),
		versionCommand(env),
	)
	return root
}

// Execute runs root with the arguments after the program's name and returns the
// exit code: 0 done, 1 refused or failed, 2 wrong usage. Why it is not 0 is
// written to the command's standard error, in one line.
func Execute(ctx context.Context, root *cobra.Command, args []string) int {
	err := execute(ctx, root, args)
	if err == nil {
		return exitDone
	}
	fmt.Fprintln(root.ErrOrStderr(), "error: "+sentence(err))
	var usage *usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitRefused
}

func execute(ctx context.Context, root *cobra.Command, args []string) error {
	cmd, _, err := root.Find(args)
	if err != nil {
		return &usageError{err.Error()}
	}
	args, err = gather(cmd, args)
	if err != nil {
		return err
	}
	root.SetArgs(args) // never nil, which cobra would take for os.Args
	return root.ExecuteContext(ctx)
}

// sentence returns what of err is for people, in one line. A fault's cause is
// for logs; other errors come from the operating system and are all there is.
func sentence(err error) string {
	message := err.Error()
	var f *fault.Error
	if errors.As(err, &f) {
		message = f.Message
	}
	return strings.Join(strings.Fields(message), " ")
}

// usageError is an error of whoever typed the command.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

// Usage returns an error that makes Execute return 2.
func Usage(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// NoArgs refuses arguments that belong to no flag.
func NoArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return Usage("%q belongs to no flag of %s: see %s --help", args[0], cmd.CommandPath(), cmd.CommandPath())
	}
	return nil
}

// runGroup is what a command does that only holds other commands.
func runGroup(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return Usage("%s has no command %q%s: see %s --help", cmd.CommandPath(), args[0], didYouMean(args[0], names), cmd.CommandPath())
}

func versionCommand(env Env) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this program.",
		Example: "  dockbell version",
		Args:    NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(env.Stdout, "dockbell "+env.Version)
			return err
		},
	}
}
