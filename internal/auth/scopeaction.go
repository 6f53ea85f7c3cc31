package auth

import (
	"slices"
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

// mapActions are what scope maps call the actions of scopes.
var mapActions = []struct{ words, action string }{
	{"content/read", Pull},
	{"content/write", Push},
	{"content/delete", Delete},
	{"metadata/read", MetadataRead},
	{"metadata/write", MetadataWrite},
}

// parseMapAction reads one action of a scope map: repositories/, a repository or a
// pattern of some, and what is allowed there, as in repositories/team/*/content/read.
// A pattern is * alone, or ends in /*. It fails with fault.Invalid.
func parseMapAction(text string) (rule, error) {
	refuse := func(why string) (rule, error) {
		return rule{}, fault.New(fault.Invalid, "action %.120q is not valid: %s", text, why).WithCode("InvalidParameter")
	}
	r, ok := splitMapAction(text)
	if ok {
		if why := patternProblem(r.pattern); why != "" {
			return refuse(why)
		}
		return r, nil
	}
	switch {
	case strings.HasPrefix(text, "gateway/"):
		return refuse("it is about a connected registry, and there are none here yet; leave it out")
	case !strings.HasPrefix(text, repositoryActions):
		return refuse("write it like repositories/team/web/content/read")
	}
	var all []string
	for _, m := range mapActions {
		all = append(all, m.words)
	}
	return refuse("it ends in one of " + strings.Join(all, ", ") + ", after the repository's name")
}

// repositoryActions is what all actions begin with.
const repositoryActions = "repositories/"

// splitMapAction takes an action apart, leaving the pattern as it is.
func splitMapAction(text string) (rule, bool) {
	rest, ok := strings.CutPrefix(text, repositoryActions)
	if !ok {
		return rule{}, false
	}
	for _, m := range mapActions {
		if pattern, ok := strings.CutSuffix(rest, "/"+m.words); ok {
			return rule{TypeRepository, pattern, m.action}, true
		}
	}
	return rule{}, false
}

func patternProblem(pattern string) string {
	if pattern == "*" {
		return ""
	}
	name := strings.TrimSuffix(pattern, "/*")
	if strings.Contains(name, "*") {
		return "a * stands alone, for all repositories, or at the end after a slash, as in team/*"
	}
	if _, err := oci.ParseRepository(name); err != nil {
		return fault.As(err).Message
	}
	return ""
}

// maxMapActions is how many actions a scope map has at most, as Azure's. Each names
// one repository, so of these there are no more.
const maxMapActions = 500

// parseMapActions returns actions without those that are there twice. It fails
// with fault.Invalid.
func parseMapActions(texts []string) ([]string, error) {
	var actions []string
	seen := map[string]bool{}
	for _, text := range texts {
		if _, err := parseMapAction(text); err != nil {
			return nil, err
		}
		if !seen[text] {
			seen[text] = true
			actions = append(actions, text)
		}
	}
	if len(actions) > maxMapActions {
		return nil, fault.New(fault.Invalid, "the scope map has %d actions: it may have %d; a pattern such as team/* stands for many repositories", len(actions), maxMapActions).
			WithCode("InvalidParameter")
	}
	return slices.Clip(actions), nil
}

// rulesOf returns what actions allow, which were checked when they were stored. One
// that this version does not know allows nothing.
func rulesOf(actions []string) []rule {
	rules := make([]rule, 0, len(actions))
	for _, text := range actions {
		if r, ok := splitMapAction(text); ok {
			rules = append(rules, r)
		}
	}
	return rules
}
