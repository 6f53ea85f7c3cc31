package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/registryclient"
)

// purge is one run of dockbell repository purge.
type purge struct {
	repositories *repositories
	filters      []purgeFilter
	before       time.Time // what was updated since stays
	keep         int       // so many of the newest tags that would go, in each repository
	untagged     bool
	dryRun, yes  bool
}

func (r *repositories) purge() *cobra.Command {
	p := purge{repositories: r}
	var filters []string
	var ago span
	var keep number[int]
	var sure assent
	cmd := &cobra.Command{
		Use:   "purge",
		Short: "Delete tags by name and age, and what no tag names any more.",
		Long: "Delete tags by name and age, and with --untagged the manifests that no tag names any more. What is locked stays, and so do manifests\n" +
			"that an index lists or whose subject stays. The flags are those of acr purge: the repository's expression matches whole names, the\n" +
			"tag's is looked for anywhere in the tag, unless it has ^ and $.",
		Example: "  dockbell repository purge -n contoso --filter 'team/web:^pr-' --ago 30d --dry-run\n" +
			"  dockbell repository purge -n contoso --filter '.*:.*' --ago 90d --keep 5 --untagged --yes",
	}
	define := func(cmd *cobra.Command) {
		flags := cmd.Flags()
		flags.StringArrayVar(&filters, "filter", nil, "`repository:tag`, two regular expressions; may be given more than once")
		flags.Var(&ago, "ago", "what was updated within this time stays: 30d, 2d6h, 0s")
		flags.Var(&keep, "keep", "of the tags that would go, so many of the newest stay in each repository")
		flags.BoolVar(&p.untagged, "untagged", false, "delete manifests without a tag, too")
		flags.BoolVar(&p.dryRun, "dry-run", false, "delete nothing, and say what would go")
		sure.flags(cmd)
	}
	read := func() error {
		if err := require(cmd, "filter", "ago"); err != nil {
			return err
		}
		for _, text := range filters {
			f, err := parsePurgeFilter(text)
			if err != nil {
				return err
			}
			p.filters = append(p.filters, f)
		}
		p.before, p.keep, p.yes = time.Now().Add(-ago.Duration), keep.get(), sure.yes
		return nil
	}
	return r.command(cmd, r.registryFlags, define, read, p.run)
}

// purged is one thing that a purge is about, and what became of it.
type purged struct {
	repository string
	tag        string // empty: the manifest itself
	digest     string
	updated    time.Time
	result     string
}

// What becomes of things.
const (
	purgedDeleted = "deleted"
	purgedWould   = "would be deleted" // if it were no dry run
	purgedLocked  = "locked"
	purgedGone    = "gone" // before this run came to it
	purgedInUse   = "in use"
)

func (d purged) String() string {
	if d.tag != "" {
		return d.repository + ":" + d.tag
	}
	return d.repository + "@" + d.digest
}

func (p *purge) run(ctx context.Context, c *registryclient.Client) error {
	names, err := p.names(ctx, c)
	if err != nil {
		return err
	}
	env := p.repositories.env
	look := progress{env: env}
	var all []purged
	for i, name := range names {
		if len(names) > 1 && env.StderrTerminal { // scripts hear of what is deleted
			look.show(float64(i)/float64(len(names)), fmt.Sprintf("looking at repository %d of %d: %s", i+1, len(names), name))
		}
		some, err := p.lookAt(ctx, c, name)
		if err != nil {
			look.end()
			return err
		}
		all = append(all, some...)
	}
	look.end()
	if p.dryRun {
		return p.print(c, all)
	}
	if tags, manifests, in := toGo(all); tags+manifests > 0 && !p.yes {
		told := fmt.Sprintf("this deletes %s and %s in %s of %s (--dry-run lists them)",
			counted(tags, "tag"), counted(manifests, "manifest"), plural(in, "repository", "repositories"), c.LoginServer())
		if err := env.confirm(told, "delete them", "nothing was deleted"); err != nil {
			return err
		}
	}
	failed := p.delete(ctx, c, all)
	return errors.Join(failed, p.print(c, all))
}

// plural says a number of things whose plural has no s alone.
func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", many)
}

// toGo says how much of it is to go, and in how many repositories.
func toGo(all []purged) (tags, manifests, repositories int64) {
	in := map[string]bool{}
	for _, d := range all {
		switch {
		case d.result != purgedWould:
			continue
		case d.tag != "":
			tags++
		default:
			manifests++
		}
		in[d.repository] = true
	}
	return tags, manifests, int64(len(in))
}

// names returns the repositories that the filters mean. Those that are named by
// name need not be listed, which not everybody may.
func (p *purge) names(ctx context.Context, c *registryclient.Client) (names []string, err error) {
	several := slices.ContainsFunc(p.filters, func(f purgeFilter) bool { return f.name == "" })
	var all []string
	if several {
		if all, err = c.Repositories(ctx, 0); err != nil {
			return nil, err
		}
	}
	for _, f := range p.filters {
		if f.name != "" {
			names = append(names, f.name)
			continue
		}
		for _, name := range all {
			if f.repository.MatchString(name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// lookAt returns what is to go of a repository, tags first.
func (p *purge) lookAt(ctx context.Context, c *registryclient.Client, name string) ([]purged, error) {
	repository, err := c.Repository(ctx, name)
	if err != nil {
		return nil, err
	}
	env := p.repositories.env
	if locked(repository.Attributes) {
		env.warn("repository %s is locked: nothing in it is deleted", name)
		return nil, nil
	}
	tags, err := c.Tags(ctx, name, registryclient.Listing{})
	if err != nil {
		return nil, err
	}
	all := p.planTags(name, tags)
	if !p.untagged {
		return all, nil
	}
	manifests, err := c.Manifests(ctx, name, registryclient.Listing{})
	if err != nil {
		return nil, err
	}
	// What is hidden may hold anything: a tag its manifest, an index its parts.
	if repository.TagCount > int64(len(tags)) || repository.ManifestCount > int64(len(manifests)) {
		env.warn("repository %s has tags or manifests that are not listed (listEnabled is false), or is being pushed to: its untagged manifests stay", name)
		return all, nil
	}
	untagged, err := p.planManifests(name, tags, manifests, all, func(digest string) ([]byte, error) { return c.Content(ctx, name, digest) })
	return append(all, untagged...), err
}

// locked reports whether something may not be deleted.
func locked(a registryclient.Attributes) bool {
	off := func(b *bool) bool { return b != nil && !*b }
	return off(a.Delete) || off(a.Write)
}

// delete deletes what would be, and notes what became of each. It ends at the
// first error that is no refusal of one thing.
func (p *purge) delete(ctx context.Context, c *registryclient.Client, all []purged) error {
	bar := progress{env: p.repositories.env}
	defer bar.end()
	tags, manifests, _ := toGo(all)
	total, done := tags+manifests, int64(0)
	for i := range all {
		d := &all[i]
		if d.result != purgedWould {
			continue
		}
		bar.show(float64(done)/float64(total), fmt.Sprintf("%d of %d: %s", done+1, total, d))
		err := p.deleteOne(ctx, c, d)
		var f *fault.Error
		switch {
		case err == nil:
		case errors.As(err, &f) && f.Code == oci.CodeDisallowed:
			d.result = purgedLocked
		case fault.Is(err, fault.NotFound):
			d.result = purgedGone
		default:
			for j := range all {
				if all[j].result == purgedWould {
					all[j].result = "not deleted"
				}
			}
			return err
		}
		done++
	}
	if total > 0 {
		bar.show(1, fmt.Sprintf("%d of %d", done, total))
	}
	return nil
}

// deleteOne looks at a manifest once more: one that was given a tag since stays.
func (p *purge) deleteOne(ctx context.Context, c *registryclient.Client, d *purged) error {
	if d.tag != "" {
		d.result = purgedDeleted
		return c.Untag(ctx, d.repository, d.tag)
	}
	now, err := c.Manifest(ctx, d.repository, d.digest)
	if err != nil {
		return err
	}
	if len(now.Tags) > 0 {
		d.result = purgedInUse
		return nil
	}
	d.result = purgedDeleted
	return c.DeleteManifest(ctx, d.repository, d.digest)
}

// print says what became of everything.
func (p *purge) print(c *registryclient.Client, all []purged) error {
	out := &p.repositories.out
	t := table{header: []string{"IMAGE", "DIGEST", "UPDATED", "RESULT"}, empty: "nothing in " + c.LoginServer() + " matches and is old enough"}
	values := make([]any, len(all))
	for i, d := range all {
		name := d.repository
		if d.tag != "" {
			name += ":" + d.tag
		}
		t.rows = append(t.rows, []string{name, out.digest(d.digest), out.when(d.updated), d.result})
		view := map[string]any{"repository": d.repository, "digest": d.digest, "tag": nil, "lastUpdateTime": moment3339(d.updated), "result": d.result}
		if d.tag != "" {
			view["tag"] = d.tag
		}
		values[i] = view
	}
	return out.print(values, t)
}
