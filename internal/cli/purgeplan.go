package cli

import (
	"cmp"
	"encoding/json"
	"regexp"
	"slices"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/registryclient"
)

// purgeFilter says which tags of which repositories a purge is about.
type purgeFilter struct {
	repository, tag *regexp.Regexp // the repository's matches whole names
	name            string         // of the one repository it means; empty: it may mean several
}

// parsePurgeFilter reads REPOSITORY:TAG, two regular expressions. A colon within
// brackets is not the one between them.
func parsePurgeFilter(text string) (f purgeFilter, err error) {
	repository, tag, ok := cutOutside(text)
	if !ok || repository == "" || tag == "" {
		return f, Usage("--filter %q is not repository:tag, two regular expressions: for example 'team/web:pr-.*', or '.*:.*' for all there is", text)
	}
	if f.repository, err = regexp.Compile("^(?:" + repository + ")$"); err != nil {
		return f, Usage("--filter %q: before the colon there is no regular expression: %v", text, err)
	}
	if f.tag, err = regexp.Compile(tag); err != nil {
		return f, Usage("--filter %q: after the colon there is no regular expression: %v", text, err)
	}
	if regexp.QuoteMeta(repository) == repository {
		f.name = repository
	}
	return f, nil
}

// cutOutside cuts at the first colon that is in no brackets of any kind.
func cutOutside(text string) (before, after string, found bool) {
	depth, class := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\':
			i++
		case class:
			class = c != ']'
		case c == '[':
			class = true
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ':' && depth <= 0:
			return text[:i], text[i+1:], true
		}
	}
	return "", "", false
}

// planTags returns the tags that match and are old enough, newest first, but for
// those that are kept.
func (p *purge) planTags(repository string, tags []registryclient.Tag) (all []purged) {
	tags = slices.Clone(tags)
	slices.SortStableFunc(tags, func(a, b registryclient.Tag) int {
		return cmp.Or(b.UpdatedAt.Compare(a.UpdatedAt), cmp.Compare(a.Name, b.Name))
	})
	kept := 0
	for _, t := range tags {
		wanted := slices.ContainsFunc(p.filters, func(f purgeFilter) bool {
			return f.repository.MatchString(repository) && f.tag.MatchString(t.Name)
		})
		if !wanted || !t.UpdatedAt.Before(p.before) {
			continue
		}
		d := purged{repository: repository, tag: t.Name, digest: t.Digest, updated: t.UpdatedAt, result: purgedWould}
		switch {
		case locked(t.Attributes):
			d.result = purgedLocked
		case kept < p.keep:
			kept++
			continue
		}
		all = append(all, d)
	}
	return all
}

// planManifests returns the manifests that no tag names once the tags that are to
// go are gone, and nothing else holds: an index before what it lists. content reads
// a manifest.
func (p *purge) planManifests(repository string, tags []registryclient.Tag, manifests []registryclient.Manifest, going []purged, content func(digest string) ([]byte, error)) (all []purged, err error) {
	goes := map[string]bool{}
	for _, d := range going {
		goes[d.tag] = d.result == purgedWould
	}
	tagged := map[string]bool{}
	for _, t := range tags {
		if !goes[t.Name] {
			tagged[t.Digest] = true
		}
	}
	there, candidates := map[string]bool{}, map[string]registryclient.Manifest{}
	for _, m := range manifests {
		there[m.Digest] = true
		if !tagged[m.Digest] && m.UpdatedAt.Before(p.before) && !locked(m.Attributes) {
			candidates[m.Digest] = m
		}
	}
	if len(candidates) == 0 {
		return nil, nil
	}
	// What holds what: the subject its referrers, the index what it lists.
	holds := map[string][]string{}
	for _, m := range manifests {
		_, candidate := candidates[m.Digest]
		index := isIndex(m.MediaType)
		if !candidate && !index {
			continue
		}
		var parsed struct {
			Subject   struct{ Digest string }
			Manifests []struct{ Digest string }
		}
		data, err := content(m.Digest)
		if fault.Is(err, fault.NotFound) {
			continue // it went meanwhile
		}
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(data, &parsed); err != nil {
			return nil, fault.Wrap(err, fault.Internal, "manifest %s@%s is no JSON, so what it holds is not known", repository, m.Digest)
		}
		if index {
			for _, child := range parsed.Manifests {
				holds[m.Digest] = append(holds[m.Digest], child.Digest)
			}
		}
		if s := parsed.Subject.Digest; s != "" && there[s] {
			holds[s] = append(holds[s], m.Digest)
		}
	}
	// Whatever stays keeps what it holds, and so on.
	var keep func(digest string)
	keep = func(digest string) {
		for _, held := range holds[digest] {
			if _, candidate := candidates[held]; candidate {
				delete(candidates, held)
				keep(held)
			}
		}
	}
	for _, m := range manifests {
		if _, goes := candidates[m.Digest]; !goes {
			keep(m.Digest)
		}
	}
	for _, indexes := range []bool{true, false} {
		for _, m := range manifests {
			if _, goes := candidates[m.Digest]; goes && isIndex(m.MediaType) == indexes {
				all = append(all, purged{repository: repository, digest: m.Digest, updated: m.UpdatedAt, result: purgedWould})
			}
		}
	}
	return all, nil
}

func isIndex(mediaType string) bool {
	return mediaType == oci.MediaTypeImageIndex || mediaType == oci.MediaTypeDockerManifestList
}
