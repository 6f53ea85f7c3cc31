package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/dockbell/dockbell/internal/registryclient"
)

// quarantineStates are those that a manifest can be given.
var quarantineStates = []string{"Passed", "Failed", "Quarantined"}

func (m *manifests) quarantine() *cobra.Command {
	var state choiceValue
	var details string
	cmd := &cobra.Command{
		Use:   "quarantine",
		Short: "Say what was found of an image in quarantine.",
		Long: "Say what was found of an image in quarantine: with Passed it can be pulled, and its tags move to it.\n" +
			"What holds for an index holds for what it lists, and for the signatures and other artifacts that refer to it.",
		Example: "  dockbell manifest quarantine -r contoso -n team/web@sha256:50b8560ad574c779908da71f7ce370c0a2471c098d44d1c8f6b513c5a55eeeb1 --state Passed\n" +
			`  dockbell manifest quarantine -r contoso -n team/web@sha256:50b8560ad574c779908da71f7ce370c0a2471c098d44d1c8f6b513c5a55eeeb1 --state Failed --details '{"state":"scan failed","link":"https://scanner.example/r/1"}'`,
	}
	define := func(cmd *cobra.Command) {
		state.allowed = quarantineStates
		cmd.Flags().Var(&state, "state", "what was decided")
		cmd.Flags().StringVar(&details, "details", "", "what was found, a `JSON` object of scanner, state, link and result; \"\" for nothing")
	}
	given := func() error {
		if state.value == "" && !cmd.Flags().Changed("details") {
			return Usage("say what was found: --state Passed, Failed or Quarantined, or --details")
		}
		if m.of.digest == "" {
			return Usage("%s is a tag, and a tag leads to nothing that is in quarantine: write name@sha256:…, the digest that the ring or the push told", m.of)
		}
		return nil
	}
	return m.ofManifest(cmd, define, given, func(ctx context.Context, c *registryclient.Client) error {
		mark := registryclient.Quarantine{State: state.value}
		if cmd.Flags().Changed("details") {
			mark.Details = &details
		}
		return m.printManifest(c.SetQuarantine(ctx, m.of.repository, m.of.digest, mark))
	})
}
