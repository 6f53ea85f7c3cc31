package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/registryclient"
)

func (r *repositories) listDeleted() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list-deleted",
		Short: "List the repositories that hold nothing but what was deleted and can be restored.",
		Long: "List the repositories that hold nothing but what was deleted and can be restored.\n" +
			"What was deleted in another one is listed by dockbell manifest list-deleted.",
		Example: "  dockbell repository list-deleted -n contoso",
	}
	return r.command(cmd, r.registryFlags, nil, nil, func(ctx context.Context, c *registryclient.Client) error {
		names, err := c.DeletedRepositories(ctx)
		if err != nil {
			return err
		}
		t := autoTable(anys(names))
		t.empty = "no repository of which all was deleted can be restored"
		return r.out.print(anys(names), t)
	})
}

func (m *manifests) listDeleted() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list-deleted",
		Short:   "List the manifests of a repository that were deleted and can be restored.",
		Example: "  dockbell manifest list-deleted -r contoso -n team/web\n  dockbell manifest list-deleted contoso.azurecr.io/team/web --query '[].digest' -o tsv",
	}
	return m.about(cmd, wholeRepository, nil, nil, func(ctx context.Context, c *registryclient.Client) error {
		all, err := c.DeletedManifests(ctx, m.of.repository)
		if err != nil {
			return err
		}
		t := table{
			header: []string{"DIGEST", "TAGS", "DELETED", "BY", "EXPIRES", "MEDIA TYPE"},
			empty:  "repository " + m.of.repository + " has no deleted manifests that can be restored",
		}
		for _, d := range all {
			t.rows = append(t.rows, []string{m.out.digest(d.Digest), strings.Join(d.Tags, ","), m.out.when(d.DeletedAt), d.DeletedBy, m.out.until(d.ExpiresAt), d.MediaType})
		}
		return m.out.print(views(all, func(d registryclient.DeletedManifest) map[string]any { return decodedObject(d.Raw) }), t)
	})
}

func (m *manifests) listDeletedTags() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list-deleted-tags",
		Short:   "List the tags of a repository that were deleted and can be restored.",
		Example: "  dockbell manifest list-deleted-tags -r contoso -n team/web\n  dockbell manifest list-deleted-tags -r contoso -n team/web:1.0",
	}
	return m.about(cmd, maybeTagged, nil, nil, func(ctx context.Context, c *registryclient.Client) error {
		all, err := m.deletedTags(ctx, c)
		if err != nil {
			return err
		}
		t := table{
			header: []string{"TAG", "DIGEST", "DELETED", "BY", "EXPIRES"},
			empty:  m.of.String() + " has no deleted tags that can be restored",
		}
		for _, d := range all {
			t.rows = append(t.rows, []string{d.Name, m.out.digest(d.Digest), m.out.when(d.DeletedAt), d.DeletedBy, m.out.until(d.ExpiresAt)})
		}
		return m.out.print(views(all, func(d registryclient.DeletedTag) map[string]any { return decodedObject(d.Raw) }), t)
	})
}

// deletedTags returns those of the repository, or those of the tag if one was named.
func (m *manifests) deletedTags(ctx context.Context, c *registryclient.Client) (found []registryclient.DeletedTag, err error) {
	all, err := c.DeletedTags(ctx, m.of.repository)
	for _, t := range all {
		if m.of.tag == "" || t.Name == m.of.tag {
			found = append(found, t)
		}
	}
	return found, err
}

func (m *manifests) restore() *cobra.Command {
	var digest string
	var force bool
	var sure assent
	cmd := &cobra.Command{
		Use:   "restore",
		Short: "Restore a manifest or tag that was deleted.",
		Long: "Restore a manifest or tag that was deleted, and of an index the manifests that it lists.\n" +
			"By tag, that is what the tag named when it was deleted last. With --digest and a tag the manifest comes back with that\n" +
			"tag, and with --digest alone with all the tags that went with it.",
		Example: "  dockbell manifest restore -r contoso -n team/web:1.0\n" +
			"  dockbell manifest restore -r contoso -n team/web -d sha256:50b8560ad574c779908da71f7ce370c0a2471c098d44d1c8f6b513c5a55eeeb1",
	}
	define := func(cmd *cobra.Command) {
		cmd.Flags().StringVarP(&digest, "digest", "d", "", "`digest` of the manifest")
		cmd.Flags().BoolVarP(&force, "force", "f", false, "move a tag that is in use by another manifest")
		sure.flags(cmd)
	}
	given := func() error {
		if digest == "" && m.of.tag == "" {
			return Usage("say what to restore: a tag, as in %s:1.0, or a manifest, with --digest", m.of)
		}
		if digest == "" {
			return nil
		}
		if _, err := oci.ParseDigest(digest); err != nil {
			return Usage("%s", sentence(err))
		}
		return nil
	}
	return m.about(cmd, maybeTagged, define, given, func(ctx context.Context, c *registryclient.Client) (err error) {
		if digest == "" {
			if digest, err = m.lastDeleted(ctx, c, sure.yes); err != nil {
				return err
			}
		}
		done, err := c.Restore(ctx, m.of.repository, digest, m.of.tag, force)
		if err != nil {
			return err
		}
		return m.out.print(decodedObject(done.Raw), table{
			header: []string{"MANIFESTS RESTORED", "TAGS RESTORED"},
			rows:   [][]string{{fmt.Sprint(len(done.Manifests)), strings.Join(done.Tags, ",")}},
		})
	})
}

// lastDeleted returns the digest that a tag was deleted from last, after it was asked
// whether that is the one.
func (m *manifests) lastDeleted(ctx context.Context, c *registryclient.Client, yes bool) (string, error) {
	found, err := m.deletedTags(ctx, c)
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", fault.New(fault.NotFound, "%s is no deleted tag that can be restored: dockbell manifest list-deleted-tags -n %s tells which are", m.of, m.of.repository)
	}
	last := found[len(found)-1].Digest
	if len(found) > 1 && !yes {
		told := fmt.Sprintf("%s was deleted from %d manifests, last from %s", m.of, len(found), last)
		if err := m.env.confirm(told, "restore that one", "nothing was restored: --digest says which"); err != nil {
			return "", err
		}
	}
	return last, nil
}

// maxSoftDelete is what the policy can say at the most, in days.
const maxSoftDelete = 90

func softDeleteCommand(env Env) *cobra.Command {
	group := &cobra.Command{
		Use:     "soft-delete",
		Short:   "Say whether what is deleted can be restored, and how long.",
		Example: "  dockbell config soft-delete show -r contoso\n  dockbell config soft-delete update -r contoso --status enabled --days 30",
		Args:    cobra.ArbitraryArgs,
		RunE:    runGroup,
	}
	r := &registries{env: env, conn: connection{env: env}, out: output{env: env}}
	policy := policyShown{"softDeletePolicy", "retentionDays"}
	show := &cobra.Command{
		Use:     "show",
		Short:   "Show the policy.",
		Example: "  dockbell config soft-delete show -r contoso",
	}
	update := &cobra.Command{
		Use:   "update",
		Short: "Change the policy; what is not given stays as it is.",
		Long: "Change the policy; what is not given stays as it is. While it is enabled, what is deleted can be restored for so\n" +
			"many days, and counts as usage. What was deleted before it was switched off goes after the days that it says then.",
		Example: "  dockbell config soft-delete update -r contoso --status enabled --days 30",
	}
	status := choiceValue{allowed: []string{"enabled", "disabled"}}
	var days int
	var sure assent
	define := func(cmd *cobra.Command) {
		cmd.Flags().Var(&status, "status", "whether what is deleted can be restored")
		cmd.Flags().IntVar(&days, "days", 0, "for so many `days`, 1 to 90")
		sure.flags(cmd)
	}
	group.AddCommand(
		r.policy(show, policy, nil, nil, func(ctx context.Context, c *connected, name string) (controlclient.Registry, error) {
			return c.Registry(ctx, name)
		}),
		r.policy(update, policy, nil, define, func(ctx context.Context, c *connected, name string) (none controlclient.Registry, err error) {
			var p controlclient.SoftDeletePolicy
			if status.value != "" {
				p.Status = &status.value
			}
			if update.Flags().Changed("days") {
				if days < 1 || days > maxSoftDelete {
					return none, Usage("--days %d is out of range: use 1 to %d", days, maxSoftDelete)
				}
				p.Days = &days
			}
			if p == (controlclient.SoftDeletePolicy{}) {
				return none, Usage("nothing is to change: give --status, --days, or both")
			}
			found, err := c.Registry(ctx, name)
			if err != nil {
				return none, err
			}
			if err := r.warnOfLess(policy.of(found), p, sure.yes); err != nil {
				return none, err
			}
			return c.PatchRegistry(ctx, name, controlclient.RegistryWrite{Properties: controlclient.RegistryProperties{
				Policies: &controlclient.Policies{SoftDelete: &p},
			}})
		}),
	)
	return group
}

// warnOfLess says what a change of the policy means for what was deleted already, and
// asks where it may be purged at once.
func (r *registries) warnOfLess(now map[string]any, change controlclient.SoftDeletePolicy, yes bool) error {
	if now["status"] == "enabled" && change.Status != nil && *change.Status == "disabled" {
		r.env.warn("what was deleted already is purged as before, after the days that the policy says")
	}
	before, _ := now["retentionDays"].(float64)
	if change.Days == nil || *change.Days >= int(before) || yes {
		return nil
	}
	told := fmt.Sprintf("what was deleted more than %d days ago is purged within the hour, though until now it was kept for %d", *change.Days, int(before))
	return r.env.confirm(told, "change the policy", "the policy was not changed")
}
