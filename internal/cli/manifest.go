package cli

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/dockbell/dockbell/internal/registryclient"
)

// manifests is what the manifest commands share. As with az, their --name is that
// of an artifact or repository, which may be an argument too, then with the login
// server before it.
type manifests struct {
	contents
	name string // flag
	host string // login server of the argument; empty: there was none
	of   image  // what flag or argument name
}

func manifestCommand(env Env) *cobra.Command {
	m := &manifests{contents: contents{env: env, conn: connection{env: env}, out: output{env: env}}}
	group := &cobra.Command{
		Use:     "manifest",
		Short:   "Show, list, describe, lock, delete and restore manifests, and what refers to them.",
		Example: "  dockbell manifest list-metadata -r contoso -n team/web\n  dockbell manifest show contoso.azurecr.io/team/web:1.0",
		Args:    cobra.ArbitraryArgs,
		RunE:    runGroup,
	}
	group.AddCommand(m.show(), m.list(), m.delete(), m.listReferrers(), m.showMetadata("show-metadata"), m.listMetadata("list-metadata"), m.updateMetadata("update-metadata"), m.quarantine())
	// What the metadata commands were called at first.
	first := &cobra.Command{
		Use:     "metadata",
		Short:   "The same as show-metadata, list-metadata and update-metadata.",
		Example: "  dockbell manifest list-metadata -r contoso -n team/web",
		Hidden:  true,
		Args:    cobra.ArbitraryArgs,
		RunE:    runGroup,
	}
	first.AddCommand(m.showMetadata("show"), m.listMetadata("list"), m.updateMetadata("update"))
	group.AddCommand(first, m.listDeleted(), m.listDeletedTags(), m.restore())
	return group
}

// ofManifest completes a command about one manifest: run is called with the
// registry, after read (nil for nothing to read).
func (m *manifests) ofManifest(cmd *cobra.Command, define func(*cobra.Command), read func() error, run func(context.Context, *registryclient.Client) error) *cobra.Command {
	return m.about(cmd, artifact, define, read, run)
}

// ofRepository completes a command about the manifests of a repository.
func (m *manifests) ofRepository(cmd *cobra.Command, l *listing, run func(context.Context, *registryclient.Client) error) *cobra.Command {
	return m.about(cmd, wholeRepository, l.flags, nil, run)
}

// target is what --name or the argument of a command stands for.
type target struct {
	argument, usage string // in help
	parse           func(string) (image, error)
}

var (
	artifact        = target{"ARTIFACT", "the artifact, as `name:tag`, name@digest, or name for its tag latest", parseImage}
	wholeRepository = target{"REPOSITORY", "`name` of the repository", parseRepository}
	maybeTagged     = target{"REPOSITORY", "the repository, as `name`, or name:tag for one tag of it", parseMaybeTagged}
)

func (m *manifests) about(cmd *cobra.Command, what target, define func(*cobra.Command), read func() error, run func(context.Context, *registryclient.Client) error) *cobra.Command {
	cmd.Use += " [LOGIN-SERVER/" + what.argument + "]"
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return Usage("%s takes one argument, and %q is the second", cmd.CommandPath(), args[1])
		}
		return nil
	}
	which := func(cmd *cobra.Command) {
		flags := cmd.Flags()
		flags.StringVarP(&m.name, "name", "n", "", what.usage)
		registryFlag(flags, &m.registry)
		azFlags(cmd)
	}
	readAll := func() (err error) {
		name, args := m.name, cmd.Flags().Args()
		if (name == "") == (len(args) == 0) {
			return Usage("say what the command is for once: as an argument like contoso.azurecr.io/hello-world, or with -r contoso -n hello-world")
		}
		if name == "" {
			if m.host, name, err = cutHost(args[0]); err != nil {
				return err
			}
		}
		if m.of, err = what.parse(name); err == nil && read != nil {
			err = read()
		}
		return err
	}
	return m.anywhere(cmd, which, define, readAll, func(ctx context.Context, c *connected) error {
		registry, err := m.find(ctx, c)
		if err != nil {
			return err
		}
		return run(ctx, registry)
	})
}

func (m *manifests) find(ctx context.Context, c *connected) (*registryclient.Client, error) {
	if m.host != "" {
		return c.contentsAt(ctx, m.host)
	}
	return c.contents(ctx, m.registry)
}

func (m *manifests) show() *cobra.Command {
	var raw bool
	cmd := &cobra.Command{
		Use:     "show",
		Short:   "Print a manifest.",
		Example: "  dockbell manifest show -r contoso -n team/web:1.0\n  dockbell manifest show contoso.azurecr.io/team/web:1.0 --raw | sha256sum",
	}
	define := func(cmd *cobra.Command) {
		cmd.Flags().BoolVar(&raw, "raw", false, "byte for byte, so that its digest can be checked")
	}
	return m.ofManifest(cmd, define, nil, func(ctx context.Context, c *registryclient.Client) error {
		content, err := c.Content(ctx, m.of.repository, m.of.reference())
		if err != nil {
			return err
		}
		if raw {
			_, err := m.env.Stdout.Write(content)
			return err
		}
		return m.out.print(decodedObject(content), m.out.contentTable(content))
	})
}

func (m *manifests) list() *cobra.Command {
	var l listing
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "Print the manifests of a repository; list-metadata says more of them.",
		Example: "  dockbell manifest list -r contoso -n team/web",
	}
	return m.ofRepository(cmd, &l, func(ctx context.Context, c *registryclient.Client) error {
		all, err := c.Manifests(ctx, m.of.repository, l.wanted())
		if err != nil {
			return err
		}
		contents, values := [][]byte{}, []any{}
		for _, one := range all {
			content, err := c.Content(ctx, m.of.repository, one.Digest)
			if err != nil {
				return err
			}
			contents, values = append(contents, content), append(values, decoded(content))
		}
		t := m.out.contentTable(contents...)
		t.empty = "repository " + m.of.repository + " has no manifests to list"
		return m.out.print(values, t)
	})
}

// contentTable says of manifests what az does.
func (o *output) contentTable(contents ...[]byte) table {
	t := table{header: []string{"MEDIA TYPE", "ARTIFACT TYPE", "SUBJECT DIGEST"}}
	for _, content := range contents {
		var m struct {
			MediaType    string `json:"mediaType"`
			ArtifactType string `json:"artifactType"`
			Subject      struct {
				Digest string `json:"digest"`
			} `json:"subject"`
		}
		_ = json.Unmarshal(content, &m) // what cannot be read is left out, as by az
		t.rows = append(t.rows, []string{m.MediaType, m.ArtifactType, o.digest(m.Subject.Digest)})
	}
	return t
}

func (m *manifests) delete() *cobra.Command {
	var sure assent
	cmd := &cobra.Command{
		Use:     "delete",
		Short:   "Delete a manifest, and with it all tags that name it.",
		Example: "  dockbell manifest delete -r contoso -n team/web:1.0\n  dockbell manifest delete contoso.azurecr.io/team/web:1.0 --yes",
	}
	return m.ofManifest(cmd, sure.flags, nil, func(ctx context.Context, c *registryclient.Client) error {
		return m.deleteManifest(ctx, c, m.of, sure.yes)
	})
}

func (m *manifests) listReferrers() *cobra.Command {
	var artifactType string
	var recursive bool
	cmd := &cobra.Command{
		Use:     "list-referrers",
		Short:   "List what refers to a manifest: signatures, attestations, bills of materials.",
		Example: "  dockbell manifest list-referrers -r contoso -n team/web:1.0\n  dockbell manifest list-referrers -r contoso -n team/web:1.0 --artifact-type application/spdx+json --recursive",
	}
	define := func(cmd *cobra.Command) {
		cmd.Flags().StringVar(&artifactType, "artifact-type", "", "those of this `type` only")
		cmd.Flags().BoolVar(&recursive, "recursive", false, "and what refers to those, and so on")
	}
	return m.ofManifest(cmd, define, nil, func(ctx context.Context, c *registryclient.Client) error {
		digest := m.of.digest
		if digest == "" {
			var err error
			if digest, err = c.Digest(ctx, m.of.repository, m.of.tag); err != nil {
				return err
			}
		}
		all, err := c.Referrers(ctx, m.of.repository, digest, artifactType)
		if err != nil {
			return err
		}
		for i := 0; recursive && i < len(all); i++ {
			further, err := c.Referrers(ctx, m.of.repository, all[i].Digest, "")
			if err != nil {
				return err
			}
			all = append(all, further...)
		}
		t := table{header: []string{"DIGEST", "ARTIFACT TYPE", "MEDIA TYPE", "SIZE"}, empty: "nothing refers to " + m.of.String()}
		values := []any{}
		for _, r := range all {
			t.rows = append(t.rows, []string{m.out.digest(r.Digest), r.ArtifactType, r.MediaType, strconv.FormatInt(r.Size, 10)})
			values = append(values, decoded(r.Raw))
		}
		return m.out.print(map[string]any{"manifests": values}, t)
	})
}

func (m *manifests) showMetadata(use string) *cobra.Command {
	cmd := &cobra.Command{
		Use:     use,
		Short:   "Show what is known of a tag or manifest, and what may be done with it.",
		Example: "  dockbell manifest show-metadata -r contoso -n team/web:1.0",
	}
	return m.ofManifest(cmd, nil, nil, func(ctx context.Context, c *registryclient.Client) error {
		return m.describe(ctx, c, m.of)
	})
}

func (m *manifests) listMetadata(use string) *cobra.Command {
	var l listing
	cmd := &cobra.Command{
		Use:   use,
		Short: "List the manifests of a repository, with what is known of each.",
		Example: "  dockbell manifest list-metadata -r contoso -n team/web --orderby time_desc --top 10\n" +
			"  dockbell manifest list-metadata contoso.azurecr.io/team/web --query '[?!tags].digest' -o tsv",
	}
	return m.ofRepository(cmd, &l, func(ctx context.Context, c *registryclient.Client) error {
		all, err := c.Manifests(ctx, m.of.repository, l.wanted())
		if err != nil {
			return err
		}
		return m.printManifests(m.of.repository, all, manifestView)
	})
}

func (m *manifests) updateMetadata(use string) *cobra.Command {
	var a attributes
	cmd := &cobra.Command{
		Use:   use,
		Short: "Lock or unlock a tag or manifest.",
		Long: "Lock or unlock a tag or manifest: say what may be done with it, by anyone; what is not given stays as it is.\n" +
			"A whole repository is locked by dockbell repository update.",
		Example: "  dockbell manifest update-metadata -r contoso -n team/web:1.0 --write-enabled false",
	}
	return m.ofManifest(cmd, a.flags, a.given, func(ctx context.Context, c *registryclient.Client) error {
		return m.lock(ctx, c, m.of, a.change())
	})
}
