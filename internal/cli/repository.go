package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dockbell/dockbell/internal/registryclient"
)

// repositories is what the repository commands share. As with az, their --name is
// the registry's.
type repositories struct {
	contents
	repository, image string // flags
	of                image  // what they name
}

func repositoryCommand(env Env) *cobra.Command {
	r := &repositories{contents: contents{env: env, conn: connection{env: env}, out: output{env: env}}}
	group := &cobra.Command{
		Use:     "repository",
		Short:   "List, describe, lock and delete what a registry holds.",
		Example: "  dockbell repository list -n contoso\n  dockbell repository delete -n contoso --image team/web:1.0",
		Args:    cobra.ArbitraryArgs,
		RunE:    runGroup,
	}
	group.AddCommand(r.list(), r.show(), r.showTags(), r.showManifests(), r.update(), r.untag(), r.delete(), r.purge(), r.listDeleted())
	return group
}

// registryFlags names the registry.
func (r *repositories) registryFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&r.registry, "name", "n", "", "registry `name`; else DOCKBELL_REGISTRY, else the only one there is")
	flags.StringVarP(&r.registry, "registry", "r", "", "the same `name`, as other commands have it")
	azFlags(cmd)
}

// azFlags takes what command lines written for az may have and nothing here needs.
func azFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	resourceGroupFlag(cmd)
	flags.String("suffix", "", "tenant suffix: taken for command lines written for az, and not needed")
	flags.Lookup("resource-group").Hidden = true
	flags.Lookup("suffix").Hidden = true
}

// ofRepository names a repository.
func (r *repositories) ofRepository(cmd *cobra.Command) {
	cmd.Flags().StringVar(&r.repository, "repository", "", "`name` of the repository")
	r.registryFlags(cmd)
}

// ofImage names an image.
func (r *repositories) ofImage(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&r.image, "image", "t", "", "the image, as `name:tag`, name@digest, or name for its tag latest")
	r.registryFlags(cmd)
}

// ofEither names one or the other.
func (r *repositories) ofEither(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&r.image, "image", "t", "", "an image, as `name:tag`, name@digest, or name for its tag latest")
	cmd.Flags().StringVar(&r.repository, "repository", "", "a whole repository, by its `name`")
	r.registryFlags(cmd)
}

// readEither reads what --image or --repository names.
func (r *repositories) readEither() (err error) {
	switch {
	case (r.image == "") == (r.repository == ""):
		return Usage("say either which image, with --image, or which repository, with --repository")
	case r.image != "":
		r.of, err = parseImage(r.image)
	default:
		r.of, err = parseRepository(r.repository)
	}
	return err
}

// readRepository reads what --repository names.
func (r *repositories) readRepository(cmd *cobra.Command) func() error {
	return func() (err error) {
		if err := require(cmd, "repository"); err != nil {
			return err
		}
		r.of, err = parseRepository(r.repository)
		return err
	}
}

func (r *repositories) list() *cobra.Command {
	var top number[int]
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the repositories of a registry.",
		Example: "  dockbell repository list -n contoso\n  dockbell repository list -n contoso --top 10 -o tsv",
	}
	define := func(cmd *cobra.Command) { topFlag(cmd.Flags(), &top) }
	return r.command(cmd, r.registryFlags, define, nil, func(ctx context.Context, c *registryclient.Client) error {
		names, err := c.Repositories(ctx, top.get())
		if err != nil {
			return err
		}
		t := autoTable(anys(names))
		t.empty = "there is no repository to list: docker push " + c.LoginServer() + "/hello-world:latest makes one"
		return r.out.print(anys(names), t)
	})
}

func (r *repositories) show() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show",
		Short:   "Show what is known of a repository or image, and what may be done with it.",
		Example: "  dockbell repository show -n contoso --repository team/web\n  dockbell repository show -n contoso --image team/web:1.0",
	}
	return r.command(cmd, r.ofEither, nil, r.readEither, func(ctx context.Context, c *registryclient.Client) error {
		return r.describe(ctx, c, r.of)
	})
}

func (r *repositories) update() *cobra.Command {
	var a attributes
	cmd := &cobra.Command{
		Use:   "update",
		Short: "Lock or unlock a repository or image.",
		Long: "Lock or unlock a repository or image: say what may be done with it, by anyone; what is not given stays as it is.\n" +
			"What holds for a repository holds for everything in it.",
		Example: "  dockbell repository update -n contoso --image team/web:1.0 --write-enabled false\n  dockbell repository update -n contoso --repository team/web --delete-enabled false --write-enabled true",
	}
	read := func() error {
		if err := r.readEither(); err != nil {
			return err
		}
		return a.given()
	}
	return r.command(cmd, r.ofEither, a.flags, read, func(ctx context.Context, c *registryclient.Client) error {
		return r.lock(ctx, c, r.of, a.change())
	})
}

func (r *repositories) showTags() *cobra.Command {
	var l listing
	var detail bool
	cmd := &cobra.Command{
		Use:     "show-tags",
		Short:   "List the tags of a repository.",
		Example: "  dockbell repository show-tags -n contoso --repository team/web\n  dockbell repository show-tags -n contoso --repository team/web --top 10 --orderby time_desc --detail",
	}
	define := func(cmd *cobra.Command) {
		l.flags(cmd)
		cmd.Flags().BoolVar(&detail, "detail", false, "all that is known of each, not only its name")
	}
	return r.command(cmd, r.ofRepository, define, r.readRepository(cmd), func(ctx context.Context, c *registryclient.Client) error {
		tags, err := c.Tags(ctx, r.of.repository, l.wanted())
		if err != nil {
			return err
		}
		value, t := views(tags, tagView), r.out.tagTable(tags...)
		if !detail {
			for i, tag := range tags {
				value[i] = tag.Name
			}
			t = autoTable(value)
		}
		t.empty = "repository " + r.of.repository + " has no tags to list"
		return r.out.print(value, t)
	})
}

func (r *repositories) showManifests() *cobra.Command {
	var l listing
	var detail bool
	cmd := &cobra.Command{
		Use:   "show-manifests",
		Short: "List the manifests of a repository, as dockbell manifest list-metadata does.",
		Example: "  dockbell repository show-manifests -n contoso --repository team/web --orderby time_desc\n" +
			"  dockbell repository show-manifests -n contoso --repository team/web --query '[?!tags].digest' -o tsv",
	}
	define := func(cmd *cobra.Command) {
		l.flags(cmd)
		cmd.Flags().BoolVar(&detail, "detail", false, "all that is known of each, not only digest, tags and time")
	}
	return r.command(cmd, r.ofRepository, define, r.readRepository(cmd), func(ctx context.Context, c *registryclient.Client) error {
		all, err := c.Manifests(ctx, r.of.repository, l.wanted())
		if err != nil {
			return err
		}
		view := manifestView
		if !detail {
			view = briefManifestView
		}
		return r.printManifests(r.of.repository, all, view)
	})
}

// briefManifestView is what az showed of a manifest at first.
func briefManifestView(m registryclient.Manifest) map[string]any {
	whole := manifestView(m)
	brief := map[string]any{"digest": m.Digest, "tags": anys(m.Tags), "timestamp": ""}
	if at, ok := whole["lastUpdateTime"]; ok {
		brief["timestamp"] = at
	}
	return brief
}

func (r *repositories) untag() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "untag",
		Short:   "Remove a tag; the manifest that it names stays.",
		Example: "  dockbell repository untag -n contoso --image team/web:1.0",
	}
	read := func() (err error) {
		if err = require(cmd, "image"); err == nil {
			r.of, err = parseImage(r.image)
		}
		if err == nil && r.of.tag == "" {
			err = Usage("%s has no tag to remove: write name:tag, or delete the manifest with dockbell repository delete", r.of)
		}
		return err
	}
	return r.command(cmd, r.ofImage, nil, read, func(ctx context.Context, c *registryclient.Client) error {
		if err := c.Untag(ctx, r.of.repository, r.of.tag); err != nil {
			return err
		}
		r.env.hint("removed tag %s; its manifest stays", r.of)
		return nil
	})
}

func (r *repositories) delete() *cobra.Command {
	var sure assent
	cmd := &cobra.Command{
		Use:   "delete",
		Short: "Delete an image with all its tags, or a repository with everything in it.",
		Long: "Delete an image with all its tags, or a repository with everything in it.\n" +
			"By tag or digest, the manifest goes, and with it every tag that names it: dockbell repository untag removes one tag alone.",
		Example: "  dockbell repository delete -n contoso --image team/web:1.0\n" +
			"  dockbell repository delete -n contoso --image team/web@sha256:50b8560ad574c779908da71f7ce370c0a2471c098d44d1c8f6b513c5a55eeeb1\n" +
			"  dockbell repository delete -n contoso --repository team/web --yes",
	}
	return r.command(cmd, r.ofEither, sure.flags, r.readEither, func(ctx context.Context, c *registryclient.Client) error {
		if r.image != "" {
			return r.deleteManifest(ctx, c, r.of, sure.yes)
		}
		return r.deleteRepository(ctx, c, r.of.repository, sure.yes)
	})
}

func (r *repositories) deleteRepository(ctx context.Context, c *registryclient.Client, repository string, yes bool) error {
	if !yes {
		found, err := c.Repository(ctx, repository)
		if err != nil {
			return err
		}
		told := fmt.Sprintf("repository %s holds %s with %s", repository, counted(found.ManifestCount, "manifest"), counted(found.TagCount, "tag"))
		if err := r.env.confirm(told, "delete it with all of that", "repository "+repository+" was not deleted"); err != nil {
			return err
		}
	}
	gone, err := c.DeleteRepository(ctx, repository)
	if err != nil {
		return err
	}
	return r.out.print(decodedObject(gone.Raw), table{
		header: []string{"MANIFESTS DELETED", "TAGS DELETED"},
		rows:   [][]string{{fmt.Sprint(len(gone.Manifests)), fmt.Sprint(len(gone.Tags))}},
	})
}

// counted says a number of things.
func counted(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprint(n, " ", thing, "s")
}
