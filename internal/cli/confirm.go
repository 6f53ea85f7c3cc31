package cli

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dockbell/dockbell/internal/fault"
)

// assent is the flag by which a command that cannot be undone does not ask.
type assent struct{ yes bool }

func (a *assent) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&a.yes, "yes", "y", false, "do not ask")
}

// confirm asks a person whether to do what cannot be undone. told says what goes,
// act what is done on yes, as an order, and kept what holds on no, which is an
// error: so is that there is nobody to ask.
func (env Env) confirm(told, act, kept string) error {
	if env.ReadPassword == nil { // no terminal to ask on
		return Usage("%s: add --yes to %s", told, act)
	}
	fmt.Fprintf(env.Stderr, "%s. %s%s? [y/N] ", told, strings.ToUpper(act[:1]), act[1:])
	line, _ := bufio.NewReader(env.Stdin).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return fault.New(fault.Conflict, "%s", kept)
}
