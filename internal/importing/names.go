package importing

import (
	"slices"
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

// ParseSource reads an image of a source: repository:tag, repository@digest, or
// repository for its tag latest. It fails with fault.Invalid.
func ParseSource(text string) (repo oci.Repository, ref oci.Reference, err error) {
	name, rest, byDigest := strings.Cut(text, "@")
	if byDigest {
		name, _, _ = strings.Cut(name, ":") // as docker takes name:tag@digest: the digest counts
		ref.Digest, err = oci.ParseDigest(rest)
	} else {
		var tag string
		var tagged bool
		if name, tag, tagged = strings.Cut(text, ":"); !tagged {
			tag = "latest"
		}
		ref.Tag, err = oci.ParseTag(tag)
	}
	if err == nil {
		repo, err = oci.ParseRepository(name)
	}
	if err != nil {
		return "", oci.Reference{}, fault.Wrap(err, fault.Invalid, "%.200q is no image to import: use repository:tag or repository@digest, for example library/alpine:3: %s", text, fault.As(err).Message).
			WithCode("InvalidImportSource")
	}
	return repo, ref, nil
}

// maxTargets is how many tags and repositories one import may have.
const maxTargets = 100

// ParseTargets reads where an image is to be: tags, as repository:tag or repository
// for its tag latest, and repositories in which it has none. It fails with
// fault.Invalid.
func ParseTargets(tags, untagged []string) (targets []Target, err error) {
	refuse := func(err error, text string) error {
		return fault.Wrap(err, fault.Invalid, "%.200q is no place for an image: use repository:tag, for example base/alpine:3: %s", text, fault.As(err).Message).
			WithCode("InvalidImportTarget")
	}
	if n := len(tags) + len(untagged); n == 0 || n > maxTargets {
		return nil, fault.New(fault.Invalid, "the import has %d target tags and repositories: name 1 to %d", n, maxTargets).WithCode("InvalidImportTarget")
	}
	of := func(name string) (*Target, error) {
		repo, err := oci.ParseRepository(name)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(targets, func(t Target) bool { return t.Repository == repo })
		if i < 0 {
			i = len(targets)
			targets = append(targets, Target{Repository: repo})
		}
		return &targets[i], nil
	}
	for _, text := range tags {
		name, tag, tagged := strings.Cut(text, ":")
		if !tagged {
			tag = "latest"
		}
		parsed, err := oci.ParseTag(tag)
		if err != nil {
			return nil, refuse(err, text)
		}
		t, err := of(name)
		if err != nil {
			return nil, refuse(err, text)
		}
		if !slices.Contains(t.Tags, parsed) {
			t.Tags = append(t.Tags, parsed)
		}
	}
	for _, text := range untagged {
		if _, err := of(text); err != nil {
			return nil, refuse(err, text)
		}
	}
	return targets, nil
}
