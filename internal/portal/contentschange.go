package portal

import (
	"net/http"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

func init() {
	for word, text := range map[string]string{
		"repository-deleted": "The repository is deleted.",
		"manifest-deleted":   "The manifest is deleted.",
		"untagged":           "The tag is removed. Its manifest is still there.",
		"locked":             "It is locked now.",
		"unlocked":           "It is unlocked now.",
		"marked":             "It is marked.",
	} {
		done[word] = text
	}
}

// warning is what is said before something is done: what follows from it.
type warning struct {
	Title, Text string
	Points      []string // what follows, one by one
	Do, Tag     string   // of the form
	Button      string
	Danger      bool
	TypeName    string // what has to be typed; empty: nothing
	Typed       string
	Problem     string
	At          string // where the form goes
	Back        string
}

// confirm shows the page that asks before something is done.
func (p *portal) confirm(w http.ResponseWriter, h holding, do, tag, problem string) error {
	c, err := h.warning(do, tag)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if problem != "" {
		c.Problem, c.Typed, status = problem, h.PostFormValue("name"), http.StatusBadRequest
	}
	crumbs := []crumb{{"Repositories", h.path("repositories")}, {string(h.repo), h.repositoryPath(string(h.repo), "")}}
	return p.render(w, h.Request, h.visit, status, "contentschange", page{Title: c.Title, Section: "repositories", Crumbs: crumbs, Body: c})
}

// noSuchChange is the error for what cannot be done with a thing, or by the visitor.
func noSuchChange() error {
	return fault.New(fault.Denied, "that cannot be done here, or not by you: ask for a role that has it, and look whether a lock forbids it")
}

// warning returns what is said before something is done with what the path
// names.
func (h *holding) warning(do, tag string) (c warning, err error) {
	ctx := h.Context()
	c.At, c.Do, c.Tag = h.repositoryPath(string(h.repo), string(h.ref.Digest)), do, tag
	c.Back = c.At
	name := string(h.repo)
	if h.ref.Digest == "" {
		d, err := h.DescribeRepository(ctx, h.repo)
		if err != nil {
			return c, unseen(err, "repository "+name)
		}
		if do == "delete" && h.mayDelete() {
			c.Title, c.Button, c.Danger, c.TypeName = "Delete repository "+name, "Delete the repository", true, name
			c.Text = "Everything in it goes: " + countOf(d.TagCount, "tag") + " and " + countOf(d.ManifestCount, "manifest") + "."
			c.Points = []string{"Whoever runs these images can pull them no more.", "Each manifest rings the webhooks that wait for delete."}
			return c, nil
		}
		return h.lockWarning(c, "repository "+name)
	}
	d, err := h.DescribeManifest(ctx, h.repo, h.ref.Digest)
	if err != nil {
		return c, unseen(err, "manifest "+string(h.ref.Digest)+" in "+name)
	}
	switch {
	case do == "delete" && h.mayDelete():
		c.Title, c.Button, c.Danger = "Delete manifest "+short(string(d.Digest)), "Delete the manifest", true
		c.Text = "The manifest " + string(d.Digest) + " goes from " + name + "."
		if len(d.Tags) > 0 {
			c.Points = append(c.Points, "With it "+countOf(int64(len(d.Tags)), "tag")+": "+tagText(d.Tags)+".")
		}
		if len(d.References) > 0 {
			c.Points = append(c.Points, "The "+countOf(int64(len(d.References)), "manifest")+" that it lists stay.")
		}
		c.Points = append(c.Points, "It rings the webhooks that wait for delete.")
		return c, nil
	case do == "untag" && h.mayDelete():
		t, err := oci.ParseTag(tag)
		if err == nil {
			_, err = h.DescribeTag(ctx, h.repo, t)
		}
		if err != nil {
			return c, unseen(err, "tag "+clip(tag)+" in "+name)
		}
		c.Title, c.Button, c.Danger = "Remove tag "+tag, "Remove the tag", true
		c.Text = name + ":" + tag + " names nothing any more."
		c.Points = []string{"The manifest stays, and can be pulled by its digest."}
		if len(d.Tags) == 1 && h.reg.Properties.Policies.Retention.Status == "enabled" {
			c.Points = append(c.Points, "It has no other tag: retention deletes it after "+days(h.reg.Properties.Policies.Retention.Days)+".")
		}
		return c, nil
	}
	return h.lockWarning(c, "manifest "+short(string(d.Digest)))
}

// lockWarning is that of locks, which both can have.
func (h *holding) lockWarning(c warning, what string) (warning, error) {
	switch {
	case c.Do == "lock" && h.mayLock():
		c.Title, c.Button = "Lock "+what, "Lock"
		c.Text = "Nobody can overwrite or delete it until it is unlocked, whatever their role."
		if h.ref.Digest == "" {
			c.Text = "Nobody can push to it, or overwrite or delete anything in it until it is unlocked, whatever their role."
		}
		c.Points = []string{"It can still be pulled."}
		return c, nil
	case c.Do == "unlock" && h.mayLock():
		c.Title, c.Button = "Unlock "+what, "Unlock"
		c.Text = "Whoever has the role for it can push, overwrite, delete and pull it again, and it is in lists."
		return c, nil
	}
	return c, noSuchChange()
}

// tagText names tags, as many as fit into a sentence.
func tagText(tags []oci.Tag) (text string) {
	const most = 10
	for i, tag := range tags {
		if i == most {
			return text + " and " + count(len(tags)-most) + " more"
		}
		if i > 0 {
			text += ", "
		}
		text += string(tag)
	}
	return text
}

// changeContents does what a form asks for with what the path names.
func changeContents(p *portal, w http.ResponseWriter, v *visit) error {
	h, err := p.holding(v)
	if err != nil {
		return err
	}
	ctx, do := v.Context(), v.PostFormValue("do")
	manifest := h.ref.Digest != ""
	here := h.repositoryPath(string(h.repo), string(h.ref.Digest))
	all := func(on bool) oci.AttributesChange { return oci.AttributesChange{Delete: &on, Write: &on} }
	switch {
	case h.ref.Tag != "":
		return noSuchChange()
	case do == "delete" && manifest:
		if err := h.DeleteManifest(ctx, h.repo, h.ref.Digest); err != nil {
			return h.refused(err)
		}
		return back(w, v, h.repositoryPath(string(h.repo), ""), "manifest-deleted")
	case do == "delete":
		if v.PostFormValue("name") != string(h.repo) {
			return p.confirm(w, h, do, "", "Type the name as it is here: "+string(h.repo)+".")
		}
		if _, err := h.DeleteRepository(ctx, h.repo); err != nil {
			return h.refused(err)
		}
		return back(w, v, v.path("repositories"), "repository-deleted")
	case do == "untag" && manifest:
		tag, err := oci.ParseTag(v.PostFormValue("tag"))
		if err != nil {
			return unseen(err, "tag "+clip(v.PostFormValue("tag")))
		}
		if named, err := h.DescribeTag(ctx, h.repo, tag); err != nil {
			return h.refused(err)
		} else if named.Digest != h.ref.Digest {
			return fault.New(fault.Conflict, "tag %s names another manifest by now: look at it first", tag)
		}
		if _, err := h.DeleteTag(ctx, h.repo, tag); err != nil {
			return h.refused(err)
		}
		return back(w, v, here, "untagged")
	case do == "lock" || do == "unlock":
		change := all(do == "unlock")
		if do == "unlock" {
			change.Read, change.List = change.Delete, change.Delete
		}
		if manifest {
			_, err = h.SetManifestAttributes(ctx, h.repo, h.ref.Digest, change)
		} else {
			_, err = h.SetRepositoryAttributes(ctx, h.repo, change)
		}
		if err != nil {
			return h.refused(err)
		}
		return back(w, v, here, do+"ed")
	case do == "mark" && manifest:
		state, err := oci.ParseQuarantineState(v.PostFormValue("state"))
		if err != nil {
			return err
		}
		if _, err := h.SetQuarantine(ctx, h.repo, h.ref.Digest, oci.QuarantineChange{State: state}); err != nil {
			return h.refused(err)
		}
		return back(w, v, here, "marked")
	}
	return noSuchChange()
}

// refused makes the registry's refusal one for a page: who is logged in is not asked
// to log in, and what is hidden from them is not told of.
func (h *holding) refused(err error) error {
	if fault.Is(err, fault.Unauthenticated) || fault.Is(err, fault.Denied) {
		if _, hidden := h.DescribeRepository(h.Context(), h.repo); hidden != nil {
			return unseen(hidden, "repository "+string(h.repo))
		}
		if fault.As(err).Code != oci.CodeDisallowed {
			return noSuchChange()
		}
	}
	return err
}
