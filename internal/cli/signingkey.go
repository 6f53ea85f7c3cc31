package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/dockbell/dockbell/internal/controlclient"
)

func signingKeyCommand(env Env) *cobra.Command {
	group := &cobra.Command{
		Use:     "signing-key",
		Short:   "Show and replace the keys that sign tokens.",
		Example: "  dockbell signing-key list\n  dockbell signing-key rotate",
		Args:    cobra.ArbitraryArgs,
		RunE:    runGroup,
	}
	group.AddCommand(signingKeyList(env), signingKeyRotate(env))
	return group
}

func signingKeyList(env Env) *cobra.Command {
	conn, out := connection{env: env}, output{env: env}
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the keys whose tokens are good, in the order in which they sign.",
		Example: "  dockbell signing-key list",
	}
	return conn.command(cmd, &out, nil, func(ctx context.Context, c *connected) error {
		keys, err := c.SigningKeys(ctx)
		if err != nil {
			return err
		}
		return out.print(views(keys, signingKeyView), signingKeyTable(keys))
	})
}

func signingKeyRotate(env Env) *cobra.Command {
	conn, out := connection{env: env}, output{env: env}
	var revoke bool
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Have another key sign tokens; those signed before stay good.",
		Long: "Have another key sign tokens, five minutes from now. Tokens that were signed before stay good until they\n" +
			"expire. With --revoke it signs at once, and every token signed before is refused: all clients log in again.",
		Example: "  dockbell signing-key rotate\n  dockbell signing-key rotate --revoke",
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().BoolVar(&revoke, "revoke", false, "end every token at once, because a key may be in the wrong hands")
	Group(cmd.Flags(), "What it does")
	return conn.command(cmd, &out, nil, func(ctx context.Context, c *connected) error {
		key, made, err := c.RotateSigningKey(ctx, revoke)
		if err != nil {
			return err
		}
		switch {
		case revoke:
			env.hint("every token signed before is refused from now on, on other nodes of the server within fifteen seconds: docker login, az login")
		case made:
			env.hint("the key signs from %s on; what was signed before stays good until it expires", key.SignsFrom.UTC().Format(time.RFC3339))
		default:
			env.hint("this key waits to sign already, so none was made")
		}
		return out.print(signingKeyView(key), signingKeyTable([]controlclient.SigningKey{key}))
	})
}

func signingKeyView(k controlclient.SigningKey) map[string]any {
	return map[string]any{
		"createdAt": moment3339(k.CreatedAt), "id": k.ID, "signsFrom": moment3339(k.SignsFrom), "state": k.State, "verifiesUntil": moment3339(k.VerifiesUntil),
	}
}

// signingKeyTable has times in full: some are still to come.
func signingKeyTable(keys []controlclient.SigningKey) table {
	t := table{header: []string{"ID", "STATE", "SIGNS FROM", "VERIFIES UNTIL"}}
	full := func(at time.Time) string {
		if at.IsZero() {
			return ""
		}
		return at.UTC().Format(time.RFC3339)
	}
	for _, k := range keys {
		t.rows = append(t.rows, []string{k.ID, k.State, full(k.SignsFrom), full(k.VerifiesUntil)})
	}
	return t
}
