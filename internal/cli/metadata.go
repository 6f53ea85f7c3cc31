package cli

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dockbell/dockbell/internal/registryclient"
)

// attributes are the flags that lock and unlock what a registry holds.
type attributes struct{ delete, list, read, write truth }

func (a *attributes) flags(cmd *cobra.Command) {
	a.delete.flag(cmd.Flags(), "delete-enabled", "whether it may be deleted")
	a.list.flag(cmd.Flags(), "list-enabled", "whether it is in lists")
	a.read.flag(cmd.Flags(), "read-enabled", "whether it may be pulled")
	a.write.flag(cmd.Flags(), "write-enabled", "whether it may be pushed to or deleted")
}

// given refuses a command line with none of them.
func (a *attributes) given() error {
	if a.change() == (registryclient.Attributes{}) {
		return Usage("say what is to change: --delete-enabled, --list-enabled, --read-enabled or --write-enabled, each true or false")
	}
	return nil
}

// change returns the change on the wire.
func (a *attributes) change() registryclient.Attributes {
	return registryclient.Attributes{Delete: a.delete.value, List: a.list.value, Read: a.read.value, Write: a.write.value}
}

// listing are the flags that say which part of a list is wanted, and how sorted.
type listing struct {
	top   number[int]
	order choiceValue
}

func (l *listing) flags(cmd *cobra.Command) {
	l.order.allowed = []string{"time_asc", "time_desc"}
	topFlag(cmd.Flags(), &l.top)
	cmd.Flags().Var(&l.order, "orderby", "by the time of the last change; else by name")
}

func topFlag(flags *pflag.FlagSet, top *number[int]) {
	top.from = 1
	flags.Var(top, "top", "at most so many")
}

// wanted returns the part on the wire.
func (l *listing) wanted() registryclient.Listing {
	return registryclient.Listing{Top: l.top.get(), Order: strings.ReplaceAll(l.order.value, "_", "")}
}

// describe prints what is known of a repository or image.
func (o *contents) describe(ctx context.Context, c *registryclient.Client, of image) error {
	switch {
	case of.tag != "":
		return o.printTag(c.Tag(ctx, of.repository, of.tag))
	case of.digest != "":
		return o.printManifest(c.Manifest(ctx, of.repository, of.digest))
	}
	return o.printRepository(c.Repository(ctx, of.repository))
}

// lock changes what may be done with a repository or image, and prints it.
func (o *contents) lock(ctx context.Context, c *registryclient.Client, of image, a registryclient.Attributes) error {
	switch {
	case of.tag != "":
		return o.printTag(c.SetTagAttributes(ctx, of.repository, of.tag, a))
	case of.digest != "":
		return o.printManifest(c.SetManifestAttributes(ctx, of.repository, of.digest, a))
	}
	return o.printRepository(c.SetRepositoryAttributes(ctx, of.repository, a))
}

// deleteManifest deletes the manifest that a tag or digest names, after it was said
// what goes with it.
func (o *contents) deleteManifest(ctx context.Context, c *registryclient.Client, of image, yes bool) (err error) {
	if of.digest == "" {
		if of.digest, err = c.Digest(ctx, of.repository, of.tag); err != nil {
			return err
		}
	}
	tags, err := c.TagsOf(ctx, of.repository, of.digest)
	if err != nil {
		return err
	}
	told := "this deletes manifest " + of.digest
	if len(tags) > 0 {
		names := make([]string, len(tags))
		for i, t := range tags {
			names[i] = image{repository: of.repository, tag: t.Name}.String()
		}
		told += " and all the following images: " + strings.Join(names, ", ")
	}
	if yes {
		o.env.warn("%s", told)
	} else if err := o.env.confirm(told, "go on", "manifest "+of.digest+" was not deleted"); err != nil {
		return err
	}
	return c.DeleteManifest(ctx, of.repository, of.digest)
}

func (o *contents) printRepository(r registryclient.Repository, err error) error {
	if err != nil {
		return err
	}
	return o.out.print(decodedObject(r.Raw), table{
		header: []string{"IMAGE NAME", "MANIFEST COUNT", "TAG COUNT", "CREATED TIME", "LAST UPDATE TIME", "DISABLED"},
		rows: [][]string{{
			r.Name, strconv.FormatInt(r.ManifestCount, 10), strconv.FormatInt(r.TagCount, 10), o.out.when(r.CreatedAt), o.out.when(r.UpdatedAt), disabledWords(r.Attributes),
		}},
	})
}

func (o *contents) printTag(t registryclient.Tag, err error) error {
	if err != nil {
		return err
	}
	return o.out.print(tagView(t), o.out.tagTable(t))
}

func (o *contents) printManifest(m registryclient.Manifest, err error) error {
	if err != nil {
		return err
	}
	return o.out.print(manifestView(m), o.out.manifestTable(m))
}

// printManifests prints the manifests of a repository.
func (o *contents) printManifests(repository string, all []registryclient.Manifest, view func(registryclient.Manifest) map[string]any) error {
	t := o.out.manifestTable(all...)
	t.empty = "repository " + repository + " has no manifests to list"
	return o.out.print(views(all, view), t)
}

func tagView(t registryclient.Tag) map[string]any { return decodedObject(t.Raw) }

func manifestView(m registryclient.Manifest) map[string]any { return decodedObject(m.Raw) }

func (o *output) tagTable(tags ...registryclient.Tag) table {
	t := table{header: []string{"NAME", "DIGEST", "CREATED TIME", "LAST UPDATE TIME", "DISABLED"}}
	for _, tag := range tags {
		t.rows = append(t.rows, []string{tag.Name, o.digest(tag.Digest), o.when(tag.CreatedAt), o.when(tag.UpdatedAt), disabledWords(tag.Attributes)})
	}
	return t
}

func (o *output) manifestTable(manifests ...registryclient.Manifest) table {
	t := table{header: []string{"DIGEST", "TAGS", "OS", "ARCHITECTURE", "IMAGE SIZE", "CREATED TIME", "LAST UPDATE TIME", "DISABLED", "MEDIA TYPE"}}
	for _, m := range manifests {
		t.rows = append(t.rows, []string{
			o.digest(m.Digest), strings.Join(m.Tags, ","), m.OS, m.Architecture, bytesWord(m.ImageSize),
			o.when(m.CreatedAt), o.when(m.UpdatedAt), disabledWords(m.Attributes), m.MediaType,
		})
	}
	return t
}

// digest prints a digest, shortened unless the table is a wide one.
func (o *output) digest(digest string) string {
	if o.format.value == wide {
		return digest
	}
	return shortDigest(digest)
}

// disabledWords says what may not be done.
func disabledWords(a registryclient.Attributes) string {
	var words []string
	for _, e := range []struct {
		word    string
		enabled *bool
	}{{"delete", a.Delete}, {"list", a.List}, {"read", a.Read}, {"write", a.Write}} {
		if e.enabled != nil && !*e.enabled {
			words = append(words, e.word)
		}
	}
	return strings.Join(words, ",")
}
